"""Calls in a handshake-era session: results, errors, and what is sent on the way."""

from __future__ import annotations

import json
import math

import mcp_types as types
import pytest
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from streamscope import MemoryEventLog
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, notification, peering, request, serving, talking


async def test_a_result():
    async with talking(Demo().server) as (_, peer):
        assert (await peer.ask(call("add", {"a": 1, "b": 2}, "id")))["id"] == "id"


@pytest.mark.parametrize("request_id", [0, -1, 1, "1", "", "ü", 2**53, 2**64, "x" * 1000], ids=lambda x: repr(x)[:30])
async def test_every_identifier_comes_back_as_it_was(request_id):
    async with talking(Demo().server) as (_, peer):
        body = await peer.ask(request("ping", request_id=request_id))
        assert body == {"jsonrpc": "2.0", "id": request_id, "result": {}}
        assert type(body["id"]) is type(request_id)


async def test_progress_comes_in_order_and_before_the_answer():
    async with talking(Demo().server) as (_, peer), peer.stream("POST", call("count", {"n": 100}, 7)) as events:
        messages = await events.rest()
        assert [message["params"]["progress"] for message in messages[:-1]] == list(range(1, 101))
        assert messages[0]["params"] == {"progressToken": 7, "progress": 1, "total": 100, "message": "step 1"}
        assert messages[-1]["result"]["content"][0]["text"] == "counted"


async def test_without_a_token_there_is_no_progress():
    async with talking(Demo().server, sse_delay=20) as (_, peer):
        response = await peer.post(request("tools/call", {"name": "count", "arguments": {"n": 3}}))
        assert response.headers["content-type"] == "application/json"
        assert response.json()["result"]["content"][0]["text"] == "counted"


async def test_a_log_entry_of_a_request_comes_on_its_stream():
    async with talking(Demo().server) as (_, peer), peer.stream("POST", call("log", {"text": "hello"})) as events:
        entry, body = await events.rest()
        assert (entry["method"], entry["params"]["data"]) == ("notifications/message", "hello")
        assert body["result"]["content"][0]["text"] == "logged"


async def test_errors_of_a_tool_are_results():
    async with talking(Demo().server) as (_, peer):
        for message in (call("fail", {"how": "tool"}), call("nowhere"), call("add", {"a": "x"})):
            assert (await peer.ask(message))["result"]["isError"] is True


async def test_errors_of_the_protocol_are_errors():
    async with talking(Demo().server, sse_delay=20) as (served, peer):
        body = await peer.ask(call("fail", {"how": "mcp"}))
        assert body["error"] == {"code": -32042, "message": "on purpose", "data": {"why": "a test"}}
        for message, code in [
            (request("no/such/method"), -32601),
            (request("tools/call", {"name": 7}), -32602),
            (request("tools/call"), -32602),
        ]:
            response = await peer.post(message)
            # In this era a 404 would say that the session is gone.
            assert response.status_code == 200
            assert response.json()["error"]["code"] == code
        assert len(served.sessions.list_sessions()) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_that_cannot_be_written_is_answered_all_the_same(streamed, caplog):
    async with talking(Demo().server, sse_delay=0 if streamed else 0.1) as (served, peer):
        body = await peer.ask(call("fail", {"how": "data"}))
        assert body["error"] == {"code": -32603, "message": "Internal server error"}
        assert served.sessions.streams.list_streams() == []
        assert "cannot be written" in caplog.text
        caplog.clear()


class Broken:
    """A low-level server, whose handlers the high-level one does not guard."""

    def __init__(self) -> None:
        self.server = Server("broken", on_list_tools=self.list_tools, on_call_tool=self.call_tool)

    async def list_tools(self, ctx, params):
        raise ZeroDivisionError("a secret")

    async def call_tool(self, ctx, params):
        match params.name:
            case "surrogate":
                raise MCPError(-32042, "\ud800")
            case "wrong":
                return 7
            case "group":
                raise ExceptionGroup("secrets", [ValueError("a secret")])
        return types.CallToolResult(content=[], structured_content={"x": math.nan, "y": "\udfff"})


@pytest.mark.parametrize("what", ["surrogate", "wrong", "group", "result"])
async def test_whatever_a_handler_does_its_caller_gets_one_answer(what, caplog):
    async with talking(Broken().server) as (served, peer):
        body = await peer.ask(call(what, request_id=3))
        assert (body["id"], body["error"]["code"]) == (3, -32603)
        assert "secret" not in json.dumps(body)
        assert "shutdown" not in json.dumps(body)
        assert served.sessions.streams.list_streams() == []
        caplog.clear()


async def test_an_exception_does_not_tell_its_secrets():
    async with talking(Broken().server) as (_, peer):
        body = await peer.ask(request("tools/list"))
        assert body["error"] == {"code": -32603, "message": "Internal server error"}


async def test_an_answer_that_is_larger_than_what_may_be_kept():
    log = MemoryEventLog(max_stream_bytes=1000)
    async with talking(Demo().server, log=log) as (_, peer):
        body = await peer.ask(request("tools/list", request_id=5))
        assert (body["id"], body["error"]["code"]) == (5, -32603)
        assert "too large" in body["error"]["message"]
        assert "result" in await peer.ask(request("ping"))


async def test_what_a_handler_leaves_behind_cannot_talk_any_more():
    demo = Demo()
    async with talking(demo.server) as (_, peer):
        assert (await peer.ask(call("leave")))["result"]["content"][0]["text"] == "left"
        demo.gates["late"].set()
        await demo.over["late"].wait()
        assert "back-channel" in demo.ended["late"]
        async with peer.listen() as events:
            await peer.ask(call("whisper", {"texts": ["now"]}))
            assert (await events.message())["params"]["data"] == "now"


async def test_notifications_that_nobody_handles_are_taken():
    async with talking(Demo().server) as (_, peer):
        for message in (
            notification("notifications/roots/list_changed"),
            notification("no/such/notification", {"x": 1}),
            notification("notifications/progress", {"progressToken": 1, "progress": 2}),
            notification("notifications/progress", {"progressToken": None, "progress": "x"}),
            notification("notifications/progress"),
        ):
            response = await peer.post(message)
            assert (response.status_code, response.content) == (202, b"")
            assert "content-type" not in response.headers


async def test_two_initializations_of_one_server_share_nothing():
    demo = Demo()
    async with serving(demo.server) as served, peering(served.url) as one, peering(served.url) as other:
        await one.initialize()
        await other.initialize()
        async with one.stream("POST", call("wait", {"name": "one"}, 1)) as events:
            assert "result" in await other.ask(call("add", {"a": 1, "b": 1}, 1))
            demo.gates["one"].set()
            assert (await events.message())["result"]["content"][0]["text"] == "one waited"
