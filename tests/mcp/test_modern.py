"""Revision 2026-07-28: each request by itself, no session that a client would see."""

from __future__ import annotations

import json

import pytest
import trio

from streamscope import CloseReason, StreamClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import MODERN, envelope, notification, peering, request, serving, until


def tool(name, arguments=None, **rest):
    return "tools/call", {"name": name, "arguments": arguments or {}, **rest}


# A response begins with its first event, or when this has passed.
SOON = {"ping_interval": 0.05}


def modern_stream(peer, method, params, request_id=1):
    message, headers = envelope(method, params, request_id)
    return peer.stream("POST", message, **headers)


async def test_discover():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        response = await peer.modern("server/discover")
        assert response.status_code == 200
        assert "mcp-session-id" not in response.headers
        result = response.json()["result"]
        assert MODERN in result["supportedVersions"]
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "demo"


async def test_a_call():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        response = await peer.modern(*tool("add", {"a": 1, "b": 2}), request_id="id")
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body["id"] == "id"
        assert body["result"]["structuredContent"] == {"result": 3}
        assert body["result"]["resultType"] == "complete"


async def test_a_call_that_was_answered_has_completed():
    # Whoever sends the response must not be quicker with "disconnected" than the handler with its end.
    async with serving(Demo().server) as served, peering(served.url) as peer:
        async with served.sessions.watch() as changes:
            for _ in range(20):
                assert (await peer.modern(*tool("add", {"a": 1, "b": 2}))).status_code == 200
                assert (await until(changes, StreamClosed)).reason is CloseReason.COMPLETED


async def test_a_request_is_known_by_its_envelope_alone():
    # Its version header is missing, which is said, and not "no session".
    async with serving(Demo().server) as served, peering(served.url) as peer:
        message, headers = envelope(*tool("add", {"a": 1, "b": 2}))
        response = await peer.post(message, **{**headers, "mcp_protocol_version": None})
        assert response.status_code == 400
        assert "does not match" in response.json()["error"]["message"]


async def test_progress_is_streamed_without_identifiers():
    async with (
        serving(Demo().server) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("count", {"n": 3}), request_id=7) as events,
    ):
        assert events.response.headers["content-type"] == "text/event-stream"
        frames = [await events.frame() for _ in range(4)]
        assert {(frame.id, frame.retry, frame.event) for frame in frames} == {(None, None, "message")}
        messages = [json.loads(frame.data) for frame in frames]
        assert [message["params"]["progress"] for message in messages[:-1]] == [1, 2, 3]
        assert messages[-1]["result"]["content"][0]["text"] == "counted"
        assert await events.rest() == []


async def test_its_streams_belong_to_a_session_that_the_client_never_sees():
    demo = Demo()
    async with (
        serving(demo.server, **SOON) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("wait", {"name": "x"})) as events,
    ):
        (session,) = served.sessions.list_sessions()
        (stream,) = served.sessions.streams.list_streams()
        assert (stream.session_id, stream.kind) == (session.session_id, "post")
        assert stream.connection_info.startswith("127.0.0.1:")
        # Its identifier would be of no use to anybody.
        for response in (
            await peer.post(request("ping"), mcp_session_id=str(session.session_id)),
            await peer.send("GET", mcp_session_id=str(session.session_id)),
        ):
            assert response.status_code == 404
        demo.gates["x"].set()
        assert "result" in await events.answer()


async def test_all_requests_of_one_principal_share_a_session():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(peer.modern, "tools/list", None, number)
        assert len(served.sessions.list_sessions()) == 1


@pytest.mark.parametrize("end", ["idle", "killed"])
async def test_a_session_that_has_ended_is_replaced(end):
    async with serving(Demo().server) as served, peering(served.url) as peer:
        assert (await peer.modern("tools/list")).status_code == 200
        (session,) = served.sessions.list_sessions()
        opened = served.sessions.get_session(session.session_id)
        if end == "idle":
            opened.idle_timeout = 0.01
            await opened.wait_closed()
        else:
            opened.close(CloseReason.KILLED)
        assert (await peer.modern("tools/list")).status_code == 200
        (other,) = served.sessions.list_sessions()
        assert other.session_id != session.session_id


async def test_a_session_that_takes_its_time_to_end_is_not_waited_for():
    demo = Demo()

    async def slow() -> str:
        demo.started["slow"].set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await demo.gates["slow"].wait()
        return "never"

    demo.server.add_tool(slow)
    async with serving(demo.server) as served, peering(served.url) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.modern, *tool("slow"))
        await demo.started["slow"].wait()
        (session,) = served.sessions.list_sessions()
        served.sessions.get_session(session.session_id).close(CloseReason.KILLED)
        response = await peer.modern(*tool("add", {"a": 1, "b": 2}))
        assert response.status_code == 200
        demo.gates["slow"].set()


async def test_a_client_that_goes_away_cancels_its_request():
    demo = Demo()
    async with serving(demo.server, **SOON) as served, peering(served.url) as peer, served.sessions.watch() as changes:
        async with modern_stream(peer, *tool("wait", {"name": "x"})):
            pass
        await demo.over["x"].wait()
        assert demo.ended["x"] != "returned"
        assert (await until(changes, StreamClosed)).reason is CloseReason.DISCONNECTED
        assert served.sessions.streams.list_streams() == []


async def test_a_client_that_goes_away_before_anything_was_streamed_cancels_its_request():
    demo = Demo()
    async with serving(demo.server, sse_delay=0.1) as served, served.sessions.watch() as changes:
        with trio.move_on_after(30) as scope:
            async with peering(served.url) as peer, trio.open_nursery() as nursery:

                async def leave() -> None:
                    await demo.started["x"].wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(leave)
                await peer.modern(*tool("wait", {"name": "x"}))
        assert not scope.cancelled_caught
        await demo.over["x"].wait()
        assert (await until(changes, StreamClosed)).reason is CloseReason.DISCONNECTED


async def test_what_is_quiet_for_long_begins_with_a_comment():
    demo = Demo()
    async with (
        serving(demo.server, sse_delay=0, **SOON) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("wait", {"name": "x"})) as events,
    ):
        while not events.parser.comments:
            await events.chunk()
        demo.gates["x"].set()
        assert "result" in (await events.rest())[0]


async def test_the_server_cannot_ask():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        body = (await peer.modern(*tool("ask"))).json()
        ((code, message, _),) = body["result"]["structuredContent"]["result"]
        assert code == -32600
        assert "back-channel" in message


async def test_what_belongs_to_no_request_goes_nowhere():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        response = await peer.modern(*tool("whisper", {"texts": ["x"]}))
        assert response.json()["result"]["content"][0]["text"] == "whispered"


async def test_log_entries_only_for_who_asks():
    async with (
        serving(Demo().server) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("log", {"text": "hello"})) as events,
    ):
        entry, body = await events.rest()
        assert entry["params"]["data"] == "hello"
        assert "result" in body


async def test_errors_have_statuses_of_their_own():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        for method, params, status, code in [
            ("no/such/method", {}, 404, -32601),
            ("tools/call", {}, 400, -32602),
            ("initialize", {}, 404, -32601),
            ("ping", {}, 404, -32601),
            ("tools/call", {"name": "fail", "arguments": {"how": "mcp"}}, 200, -32042),
        ]:
            response = await peer.modern(method, params, request_id="x")
            assert (response.status_code, response.json()["error"]["code"]) == (status, code), method
            assert response.json()["id"] == "x"


async def test_notifications_are_taken():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        message, headers = envelope("notifications/cancelled", {"requestId": 1})
        del message["id"]
        response = await peer.post(message, **headers)
        assert (response.status_code, response.content) == (202, b"")
        assert (await peer.post(notification("n"), mcp_protocol_version=MODERN)).status_code == 202
        assert served.sessions.list_sessions() == []


async def test_answers_and_batches_are_not():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        message, headers = envelope("tools/list")
        for body in ({"jsonrpc": "2.0", "id": 1, "result": {}}, [message]):
            response = await peer.post(body, **headers)
            assert response.status_code == 400
            assert "neither batches nor answers" in response.json()["error"]["message"]


async def test_equal_identifiers_in_flight_have_each_their_answer():
    demo = Demo()
    async with (
        serving(demo.server, **SOON) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("wait", {"name": "one"})) as one,
        modern_stream(peer, *tool("wait", {"name": "two"})) as two,
    ):
        demo.gates["two"].set()
        assert (await two.answer())["result"]["content"][0]["text"] == "two waited"
        demo.gates["one"].set()
        assert (await one.answer())["result"]["content"][0]["text"] == "one waited"


async def test_a_server_that_stops_answers_first():
    demo = Demo()
    async with (
        serving(demo.server, **SOON) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("wait", {"name": "x"}), request_id="x") as events,
    ):
        served.stop.set()
        body = await events.answer()
        assert (body["id"], body["error"]["data"]) == ("x", {"reason": "shutdown"})


async def test_json_only_and_no_sessions_at_all():
    async with serving(Demo().server, json_response=True, stateless=True) as served, peering(served.url) as peer:
        peer.headers["accept"] = "application/json"
        response = await peer.modern(*tool("count", {"n": 3}))
        assert response.headers["content-type"] == "application/json"
        assert response.json()["result"]["content"][0]["text"] == "counted"


async def test_a_full_server_says_so():
    demo = Demo()
    async with (
        serving(demo.server, max_streams_per_session=1, **SOON) as served,
        peering(served.url) as peer,
        modern_stream(peer, *tool("wait", {"name": "x"})) as events,
    ):
        response = await peer.modern("tools/list")
        assert response.status_code == 503
        assert response.headers["retry-after"].isdigit()
        demo.gates["x"].set()
        assert "result" in await events.answer()
        assert (await peer.modern("tools/list")).status_code == 200
