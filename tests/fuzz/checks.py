"""What must be true of every response, whatever was asked."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND

from streamscope.mcp._endpoint import CLIENT_CLOSED_REQUEST
from tests.fuzz.responses import Response
from tests.fuzz.shots import Shot, messages, owed

LISTEN = "subscriptions/listen"
REFUSALS = {400, 403, 404, 405, 406, 408, 413, 415, 421, 503}


def key(request_id: Any) -> str:
    """Tell identifiers apart as JSON does: 1 is neither "1" nor true nor 1.0."""
    return json.dumps(request_id)


def check(response: Response) -> None:
    """Check the form of what a client got: also of what it got before it left."""
    shot = response.shot
    if response.status is None:
        assert not shot.stays, "no response"
        return
    if response.left is None:
        assert response.over, "the response has no end"
    elif shot.stays:
        assert endless(response), "the response has not come to its end in time"
    if response.status == 200 and response.streams:
        check_stream(response)
    elif response.over:
        check_whole(response)


def endless(response: Response) -> bool:
    """Whether a response goes on until its client leaves: that of a listener."""
    return response.streams and listens(response.shot)


def listens(shot: Shot) -> bool:
    """Whether a request asks for what is endless."""
    return shot.method == "GET" or [message.get("method") for message in messages(shot.whole_body)] == [LISTEN]


def check_whole(response: Response) -> None:
    """Check a response that came at once."""
    assert response.status is not None
    if response.status == CLIENT_CLOSED_REQUEST:
        # Nobody reads it: it is for what stands between the endpoint and its server.
        assert response.left is not None
        assert not response.body
        return
    if response.status == 204:
        assert "content-length" not in response.headers
        assert not response.body
        return
    if response.shot.method == "HEAD" and not response.body:
        # RFC 9110, section 9.3.2: where the HTTP server has left the body out, the headers tell of it still.
        assert response.headers["content-length"].isdigit()
        return
    assert response.headers["content-length"] == str(len(response.body))
    if response.status in {200, 202} and not response.body:
        assert "content-type" not in response.headers
        return
    assert response.headers["content-type"] == "application/json"
    if response.status != 200:
        check_refusal(response)


def check_refusal(response: Response) -> None:
    """Check a response that is a refusal: a JSON-RPC error, and of the request if of any."""
    assert response.status in REFUSALS, response.status
    (body,) = response.messages()
    assert set(body) == {"jsonrpc", "id", "error"}
    assert body["jsonrpc"] == "2.0"
    check_error(body["error"])
    assert body["id"] is None or key(body["id"]) in map(key, asked_ids(response)), body
    assert ("allow" in response.headers) == (response.status == 405)
    assert ("retry-after" in response.headers) == (response.status == 503)


def check_error(error: dict[str, Any]) -> None:
    assert set(error) <= {"code", "message", "data"}
    assert type(error["code"]) is int
    assert isinstance(error["message"], str)


def asked_ids(response: Response) -> list[Any]:
    """Every identifier that a request has, also of a message that was refused."""
    return [message.get("id") for message in messages(response.shot.whole_body)]


def check_stream(response: Response) -> None:
    """Check a response that is a stream of events: they are JSON-RPC messages, in order, none twice."""
    frames = response.frames()
    ids = [frame.id.rpartition(".") for frame in frames if frame.id is not None]
    # Of one stream, and counted one by one.
    assert len({stream for stream, _, _ in ids}) <= 1
    numbers = [int(number) for _, _, number in ids]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert all(frame.event == "message" for frame in frames)
    # Only the first may be for nothing but a position.
    assert all(frame.data for frame in frames[1:])
    for message in response.messages():
        assert message["jsonrpc"] == "2.0"
        if "method" in message:
            assert isinstance(message["method"], str)
        else:
            assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})


def check_answers(response: Response) -> None:
    """Check that each request of a POST that was accepted was answered once, and that nothing else was."""
    if response.shot.method != "POST" or response.status is None:
        return
    expected = owed(response.shot.whole_body)
    if response.status == 202:
        assert not expected
        assert not response.body
        return
    if response.status != 200:
        return
    assert expected, "an answer to nothing"
    if endless(response):
        assert len(response.answers) <= 1
        return
    assert Counter(key(answer["id"]) for answer in response.answers) == Counter(map(key, expected))
    for answer in response.answers:
        if "error" in answer:
            check_error(answer["error"])
        else:
            assert isinstance(answer["result"], dict)


def check_accepted(response: Response) -> None:
    """Check that a request that is sound was not refused. In 2026-07-28, errors of handlers have statuses, too."""
    if response.status in {400, 404}:
        assert b"mcp-method" in dict(response.shot.headers)
        (answer,) = response.answers
        assert [answer["id"]] == owed(response.shot.whole_body)
        assert answer["error"]["code"] in {METHOD_NOT_FOUND, INVALID_PARAMS}
    else:
        assert response.status in {200, 202}
