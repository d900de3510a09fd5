"""What is refused, by which status, and what a refusal looks like."""

from __future__ import annotations

import gc
import json

import pytest

from streamscope import CloseReason, SessionId
from streamscope.mcp import HostPolicy
from streamscope.mcp._response import Response
from tests.mcp.demo import Demo
from tests.mcp.helpers import initialize, notification, peering, request, serving, talking
from tests.mcp.raw import Connection


def refused(response, status):
    """Check that a refusal is a JSON-RPC error, and return that."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"jsonrpc", "id", "error"}
    assert isinstance(body["error"]["code"], int)
    assert body["error"]["message"]
    return body


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_a_method_that_there_is_not(method):
    async with talking(Demo().server) as (_, peer):
        response = await peer.send(method)
        refused(response, 405)
        assert response.headers["allow"] == "GET, POST, DELETE"


async def test_head_is_no_get():
    async with talking(Demo().server) as (_, peer):
        response = await peer.send("HEAD")
        assert (response.status_code, response.content) == (405, b"")
        assert response.headers["allow"] == "GET, POST, DELETE"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_revision_without_sessions_has_only_post(method):
    async with talking(Demo().server) as (served, peer):
        response = await peer.send(method, mcp_protocol_version="2026-07-28")
        refused(response, 405)
        assert response.headers["allow"] == "POST"
        assert len(served.sessions.list_sessions()) == 1


async def test_no_session_is_named():
    async with talking(Demo().server) as (_, peer):
        del peer.headers["mcp-session-id"]
        for response in (
            await peer.post(request("ping")),
            await peer.post(notification("n")),
            await peer.post({"jsonrpc": "2.0", "id": 1, "result": {}}),
            await peer.send("GET"),
            await peer.send("DELETE"),
        ):
            assert "Mcp-Session-Id" in refused(response, 400)["error"]["message"]


@pytest.mark.parametrize("name", ["nonsense", "", "a b", "x" * 129, "x" * 5000, str(SessionId.new()), "a, a"], ids=len)
async def test_a_session_that_there_is_not(name):
    async with talking(Demo().server) as (_, peer):
        responses = [await peer.send(method, mcp_session_id=name) for method in ("GET", "DELETE")]
        responses += [await peer.post(message, mcp_session_id=name) for message in (request("ping"), notification("n"))]
        assert len({response.content for response in responses}) == 1
        for response in responses:
            refused(response, 404)


async def test_a_session_that_there_is_not_counts_before_all_else_that_is_wrong():
    async with talking(Demo().server) as (_, peer):
        for message, headers in [
            ({}, {}),
            ([], {}),
            (request("ping"), {"accept": "text/html"}),
            (request("ping"), {"content_type": "text/plain"}),
            (request("x" * 5_000_000), {}),
        ]:
            refused(await peer.post(message, mcp_session_id="nonsense", **headers), 404)


async def test_refusals_leave_nothing_behind():
    def responses():
        gc.collect()
        return sum(isinstance(thing, Response) for thing in gc.get_objects())

    async with talking(Demo().server) as (_, peer):
        before = responses()
        for _ in range(20):
            await peer.post(request("ping"), mcp_session_id="nonsense")
            await peer.post(request("ping"), accept="text/html")
            await peer.send("PUT")
            await peer.send("GET", last_event_id="nonsense")
        assert responses() <= before + 1


async def test_what_the_client_does_not_accept():
    async with talking(Demo().server) as (_, peer):
        for accept in ("application/json", "text/event-stream", "text/html", "*/*;q=0"):
            refused(await peer.post(request("ping"), accept=accept), 406)
        for accept in ("*/*", "application/*, text/*", "Application/JSON;q=0.5, text/event-stream"):
            assert (await peer.post(request("ping"), accept=accept)).status_code == 200


async def test_what_is_no_json():
    async with talking(Demo().server) as (_, peer):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json-seq"):
            refused(await peer.post(request("ping"), content_type=content_type), 415)
        for content_type in ("Application/JSON", "application/json; charset=utf-8"):
            assert (await peer.post(request("ping"), content_type=content_type)).status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 10_000, -32700),
        (b'{"jsonrpc": "2.0", "method": "m", "id": ' + b"9" * 10_000 + b"}", -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": null}', -32600),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": 1.5}', -32600),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": true}', -32600),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": 1, "params": []}', -32600),
        (b'{"jsonrpc": "1.0", "method": "ping", "id": 1}', -32600),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, bytes) else None,
)
async def test_a_body_that_is_no_message(body, code):
    async with talking(Demo().server) as (_, peer):
        made = peer.http.build_request(
            "POST", peer.url, content=body, headers={**peer.headers, "content-type": "application/json"}
        )
        assert refused(await peer.http.send(made), 400)["error"]["code"] == code
        assert "result" in await peer.ask(request("ping"))


async def test_a_refusal_names_the_request_where_it_can():
    async with talking(Demo().server) as (_, peer):
        assert refused(await peer.post({**request("ping", request_id="x"), "params": 1}), 400)["id"] == "x"
        assert refused(await peer.post({**request("ping", request_id=None), "params": 1}), 400)["id"] is None


@pytest.mark.parametrize("path", ["/", "/mcp2", "/mcp/x", "/other", "/mcp%2F/x"])
async def test_another_path(path):
    async with serving(Demo().server) as served, peering(served.url) as peer:
        peer.url = served.url.removesuffix("/mcp") + path
        for response in (await peer.post(initialize()), await peer.send("GET")):
            assert "/mcp" in refused(response, 404)["error"]["message"]


async def test_the_path_may_end_in_a_slash():
    async with serving(Demo().server, path="/a/b/") as served, peering(served.url) as peer:
        assert served.url.endswith("/a/b/")
        for url in (served.url, served.url.rstrip("/"), served.url + "?query=1"):
            peer.url = url
            assert (await peer.post(initialize())).status_code == 200


# Sizes


async def test_a_body_that_announces_too_much_is_not_waited_for():
    async with talking(Demo().server, max_body=1000) as (_, peer), Connection.to(peer) as connection:
        await connection.send_head("POST", {"content-length": "1001"})
        response = await connection.response()
        assert response.status == 413
        assert "1000 bytes" in response.json()["error"]["message"]
        # The rest of the body is not waited for either.
        assert await connection.rest() == b""


async def test_a_body_that_turns_out_too_large():
    async with talking(Demo().server, max_body=1000) as (_, peer), Connection.to(peer) as connection:
        await connection.send_head("POST", {"transfer-encoding": "chunked"})
        for _ in range(3):
            await connection.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert (await connection.response()).status == 413
        assert await connection.rest() == b""


async def test_a_body_that_is_just_small_enough():
    async with talking(Demo().server, max_body=1000) as (_, peer):
        message = request("ping", {"_meta": {"x": ""}})
        message["params"]["_meta"]["x"] = "x" * (1000 - len(json.dumps(message, separators=(",", ":"))))
        assert int(peer.build("POST", message).headers["content-length"]) == 1000
        assert (await peer.post(message)).status_code == 200
        message["params"]["_meta"]["x"] += "x"
        refused(await peer.post(message), 413)


async def test_a_body_that_does_not_come():
    async with talking(Demo().server, body_timeout=0.02) as (_, peer), Connection.to(peer) as connection:
        await connection.send_head("POST", {"content-length": "10"})
        await connection.send(b'{"json')
        response = await connection.response()
        assert response.status == 408
        assert response.headers["connection"] == "close"
        assert "0.02 seconds" in response.json()["error"]["message"]
        assert await connection.rest() == b""


# Hosts


async def test_a_loopback_server_lets_nobody_else_in():
    async with talking(Demo().server) as (served, peer):
        for host in ("evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example"):
            for method in ("POST", "GET", "DELETE", "OPTIONS"):
                refused(await peer.send(method, host=host), 421)
        # An HTTP server need not let a Host through that is none.
        assert (await peer.post(request("ping"), host="localhost:80.evil.example")).status_code in {400, 421}
        for origin in ("http://evil.example", "http://localhost:80.evil.example", "null"):
            refused(await peer.post(request("ping"), origin=origin), 403)
        for origin in ("http://localhost:3000", "https://127.0.0.1", "http://[::1]:9"):
            assert (await peer.post(request("ping"), origin=origin)).status_code == 200
        assert (await peer.post(request("ping"), host="localhost:1")).status_code == 200
        assert len(served.sessions.list_sessions()) == 1


async def test_hosts_of_ones_own():
    policy = HostPolicy(frozenset({"app.example"}), frozenset({"https://front.example"}))
    async with serving(Demo().server, hosts=policy) as served, peering(served.url) as peer:
        peer.headers["host"] = "app.example"
        await peer.initialize()
        assert (await peer.post(request("ping"), origin="https://front.example")).status_code == 200
        refused(await peer.post(request("ping"), host="localhost"), 421)


async def test_any_host_where_one_says_so():
    async with serving(Demo().server, hosts=HostPolicy()) as served, peering(served.url) as peer:
        peer.headers["host"] = "evil.example"
        await peer.initialize()


# Limits


async def test_a_session_too_many():
    async with (
        serving(Demo().server, max_sessions=2) as served,
        peering(served.url) as peer,
        peering(served.url) as first,
        peering(served.url) as second,
    ):
        for busy in (first, second):
            await busy.initialize()
        async with first.listen(), second.listen():
            await check_full(served, peer)
        # Now they are idle, and the one that has been so for longer makes room.
        await peer.initialize()
        assert [closed.reason for closed in served.sessions.recently_closed()] == [CloseReason.EVICTED]
        statuses = {(await busy.post(request("ping"))).status_code for busy in (first, second)}
        assert statuses == {200, 404}


async def test_a_session_too_many_where_none_is_evicted():
    async with (
        serving(Demo().server, max_sessions=2, evict_idle=False) as served,
        peering(served.url) as peer,
    ):
        first = peer.twin()
        await first.initialize()
        await peer.twin().initialize()
        await check_full(served, peer)
        await first.send("DELETE")
        await peer.initialize()


async def check_full(served, peer):
    response = await peer.post(initialize())
    assert "max_sessions=2 is reached" in refused(response, 503)["error"]["message"]
    assert int(response.headers["retry-after"]) > 0
    assert len(served.sessions.list_sessions()) == 2


async def test_a_flood_of_handshakes_evicts_only_what_was_never_used():
    async with serving(Demo().server, max_sessions=10) as served, peering(served.url) as peer:
        await peer.initialize()
        assert "result" in await peer.ask(request("ping"))
        for _ in range(30):
            assert (await peer.post(initialize(), mcp_session_id=None)).status_code == 200
        assert len(served.sessions.list_sessions()) == 10
        assert served.sessions.statistics().closed_sessions == {CloseReason.EVICTED: 21}
        assert "result" in await peer.ask(request("ping"))


async def test_a_request_too_many():
    demo = Demo()
    async with talking(demo.server, max_streams_per_session=1) as (_, peer):
        async with peer.stream(
            "POST", {**request("tools/call"), "params": {"name": "wait", "arguments": {"name": "x"}}}
        ) as events:
            response = await peer.post(request("ping"))
            assert "max_streams_per_session=1" in refused(response, 503)["error"]["message"]
            assert int(response.headers["retry-after"]) > 0
            assert refused(await peer.post(notification("notifications/initialized")), 503)
            demo.gates["x"].set()
            assert "result" in await events.answer()
        assert "result" in await peer.ask(request("ping"))
