"""A server that closes a stream's connection on purpose: the client comes back for the rest (SEP-1699)."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver import Context

from tests.mcp.demo import Demo
from tests.mcp.helpers import call, peering, request, serving, talking


class Polling(Demo):
    """A demo whose tools hang up."""

    def __init__(self) -> None:
        super().__init__()
        self.server.add_tool(self.hang_up)
        self.server.add_tool(self.hang_up_listeners)

    async def hang_up(self, ctx: Context[Any, Any], before: int = 2, times: int = 1) -> str:
        for number in range(before):
            await ctx.report_progress(number)
        for _ in range(times):
            await ctx.close_sse_stream()
        await self.gates["go on"].wait()
        await ctx.report_progress(99)
        await ctx.report_progress(100)
        return "went on"

    async def hang_up_listeners(self, ctx: Context[Any, Any]) -> str:
        await ctx.close_standalone_sse_stream()
        return "hung up"


def progress(messages):
    return [message["params"]["progress"] for message in messages if "method" in message]


@pytest.mark.parametrize("before", [0, 1, 5])
@pytest.mark.parametrize("times", [1, 2])
async def test_what_was_said_until_then_is_sent_first(before, times):
    demo = Polling()
    async with talking(demo.server, retry=0.5) as (_, peer):
        async with peer.stream("POST", call("hang_up", {"before": before, "times": times}, "caller")) as events:
            # A client without a position could not come back.
            primed = await events.frame()
            assert (primed.retry, primed.id is not None) == (500, True)
            assert progress(await events.rest()) == list(range(before))
        async with peer.listen(events.last_id) as again:
            demo.gates["go on"].set()
            messages = await again.rest()
            assert progress(messages) == [99, 100]
            assert messages[-1]["id"] == "caller"


async def test_a_handler_may_be_quicker_than_its_response():
    demo = Polling()
    demo.gates["go on"].set()
    async with talking(demo.server) as (_, peer):
        async with peer.stream("POST", call("hang_up")) as events:
            messages = await events.rest()
        response = await peer.send("GET", last_event_id=events.last_id)
        if response.status_code == 200:
            async with peer.listen(events.last_id) as again:
                messages += await again.rest()
        assert progress(messages) == [0, 1, 99, 100]
        assert messages[-1]["result"]["content"][0]["text"] == "went on"


async def test_older_revisions_have_no_such_thing():
    demo = Polling()
    async with serving(demo.server) as served, peering(served.url) as peer:
        await peer.initialize("2025-06-18")
        demo.gates["go on"].set()
        async with peer.stream("POST", call("hang_up")) as events:
            messages = await events.rest()
            assert progress(messages) == [0, 1, 99, 100]
            assert messages[-1]["result"]["content"][0]["text"] == "went on"


async def test_where_nothing_is_streamed_there_is_nothing_to_close():
    demo = Polling()
    demo.gates["go on"].set()
    async with talking(demo.server, json_response=True) as (_, peer):
        response = await peer.post(call("hang_up"))
        assert response.json()["result"]["content"][0]["text"] == "went on"


async def test_listeners_come_back_too():
    async with talking(Polling().server) as (_, peer), peer.listen() as one, peer.listen() as other:
        await peer.ask(call("whisper", {"texts": ["before"]}))
        assert "result" in await peer.ask(call("hang_up_listeners"))
        assert await one.rest() == []
        assert [message["params"]["data"] for message in await other.rest()] == ["before"]
        await peer.ask(call("whisper", {"texts": ["after"]}))
        async with peer.listen(other.position) as again:
            assert (await again.message())["params"]["data"] == "after"


async def test_whose_connection_is_gone_already_is_not_hurt():
    demo = Polling()
    async with talking(demo.server, sse_delay=0) as (_, peer):
        async with peer.stream("POST", call("hang_up", {"before": 0})) as events:
            primed = await events.frame()
        demo.gates["go on"].set()
        async with peer.listen(primed.id) as again:
            assert progress(await again.rest()) == [99, 100]
        assert "result" in await peer.ask(request("ping"))
