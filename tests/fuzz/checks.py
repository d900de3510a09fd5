"""What must be true of every response, whatever was asked."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND

from tests.fuzz.client import Client
from tests.fuzz.shots import messages, owed

LISTEN = "subscriptions/listen"
REFUSALS = {400, 403, 404, 405, 406, 408, 413, 415, 421, 503}


def key(request_id: Any) -> str:
    """Tell identifiers apart as JSON does: 1 is neither "1" nor true nor 1.0."""
    return json.dumps(request_id)


def check(client: Client) -> None:
    """Check the form of what a client got: also of what it got before it left."""
    shot = client.shot
    if client.status is None:
        assert client.left is not None, "no response"
        return
    if client.left is None:
        assert client.over, "the response has no end"
    elif shot.complete:
        assert endless(client), "the response has not come to its end in time"
    if client.status == 200 and client.streams:
        check_stream(client)
    elif client.over:
        check_whole(client)


def endless(client: Client) -> bool:
    """Whether a response goes on until its client leaves: that of a listener."""
    if not client.streams:
        return False
    asked = [message.get("method") for message in messages(client.shot.whole_body)]
    return client.shot.method == "GET" or asked == [LISTEN]


def check_whole(client: Client) -> None:
    """Check a response that came at once."""
    assert client.status is not None
    if client.status == 204:
        assert "content-length" not in client.headers
        assert not client.body
        return
    assert client.headers["content-length"] == str(len(client.body))
    if client.status in {200, 202} and not client.body:
        assert "content-type" not in client.headers
        return
    assert client.headers["content-type"] == "application/json"
    if client.status != 200:
        check_refusal(client)


def check_refusal(client: Client) -> None:
    """Check a response that is a refusal: a JSON-RPC error, and of the request if of any."""
    assert client.status in REFUSALS, client.status
    (body,) = client.messages()
    assert set(body) == {"jsonrpc", "id", "error"}
    assert body["jsonrpc"] == "2.0"
    check_error(body["error"])
    assert body["id"] is None or key(body["id"]) in map(key, asked_ids(client)), body
    assert ("allow" in client.headers) == (client.status == 405)
    assert ("retry-after" in client.headers) == (client.status == 503)


def check_error(error: dict[str, Any]) -> None:
    assert set(error) <= {"code", "message", "data"}
    assert type(error["code"]) is int
    assert isinstance(error["message"], str)


def asked_ids(client: Client) -> list[Any]:
    """Every identifier that a request has, also of a message that was refused."""
    return [message.get("id") for message in messages(client.shot.whole_body)]


def check_stream(client: Client) -> None:
    """Check a response that is a stream of events: they are JSON-RPC messages, in order, none twice."""
    frames = client.frames()
    ids = [frame.id.rpartition(".") for frame in frames if frame.id is not None]
    # Of one stream, and counted one by one.
    assert len({stream for stream, _, _ in ids}) <= 1
    numbers = [int(number) for _, _, number in ids]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert all(frame.event == "message" for frame in frames)
    # Only the first may be for nothing but a position.
    assert all(frame.data for frame in frames[1:])
    for message in client.messages():
        assert message["jsonrpc"] == "2.0"
        if "method" in message:
            assert isinstance(message["method"], str)
        else:
            assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})


def check_answers(client: Client) -> None:
    """Check that each request of a POST that was accepted was answered once, and that nothing else was."""
    if client.shot.method != "POST" or client.status is None:
        return
    expected = owed(client.shot.whole_body)
    if client.status == 202:
        assert not expected
        assert not client.body
        return
    if client.status != 200:
        return
    assert expected, "an answer to nothing"
    if endless(client):
        assert len(client.answers) <= 1
        return
    assert Counter(key(answer["id"]) for answer in client.answers) == Counter(map(key, expected))
    for answer in client.answers:
        if "error" in answer:
            check_error(answer["error"])
        else:
            assert isinstance(answer["result"], dict)


def check_accepted(client: Client) -> None:
    """Check that a request that is sound was not refused. In 2026-07-28, errors of handlers have statuses, too."""
    if client.status in {400, 404}:
        assert b"mcp-method" in dict(client.shot.headers)
        (answer,) = client.answers
        assert [answer["id"]] == owed(client.shot.whole_body)
        assert answer["error"]["code"] in {METHOD_NOT_FOUND, INVALID_PARAMS}
    else:
        assert client.status in {200, 202}
