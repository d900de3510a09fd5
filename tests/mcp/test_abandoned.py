"""What becomes of requests and sessions whose client was cut off."""

from __future__ import annotations

import pytest
import trio

from streamscope import CloseReason, EventId, SessionClosed, StreamClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, peering, serving, talking, until

WAIT = call("wait", {"name": "x"})


async def cut_off(peer) -> EventId:
    """Begin a call that waits, and lose its connection; return the last event that came."""
    async with peer.stream("POST", WAIT) as events:
        await events.frame()
        return events.position


@pytest.mark.parametrize("abandon_after", [0, 0.05])
async def test_a_request_is_cancelled(abandon_after):
    demo = Demo()
    async with talking(demo.server, abandon_after=abandon_after) as (served, peer):
        async with served.sessions.watch() as changes:
            position = await cut_off(peer)
            closed = await until(changes, StreamClosed)
            assert closed.reason is CloseReason.DISCONNECTED
        # Its answer says so, for a client that comes back after all.
        async with peer.listen(position) as events:
            assert (await events.answer())["error"]["data"] == {"reason": "disconnected"}
        assert "result" in await peer.ask(call("add", {"a": 1, "b": 2}))


async def test_by_default_it_goes_on():
    demo = Demo()
    async with talking(demo.server) as (_, peer):
        position = await cut_off(peer)
        await trio.sleep(0.1)
        demo.gates["x"].set()
        async with peer.listen(position) as events:
            assert "result" in await events.answer()


async def test_a_client_that_comes_back_in_time_saves_it():
    demo = Demo()
    async with talking(demo.server, abandon_after=5) as (_, peer):
        position = await cut_off(peer)
        async with peer.listen(position) as events:
            demo.gates["x"].set()
            assert "result" in await events.answer()


async def test_a_session_whose_listener_was_cut_off_ends_before_an_idle_one():
    async with (
        serving(Demo().server, lost_after=0.1) as served,
        peering(served.url) as lost,
        peering(served.url) as idle,
    ):
        for peer in (lost, idle):
            await peer.initialize()
        async with served.sessions.watch() as changes:
            async with lost.listen():
                pass
            closed = await until(changes, SessionClosed)
            assert (closed.session.session_id, closed.reason) == (lost.session_id, CloseReason.DISCONNECTED)
        assert [session.session_id for session in served.sessions.list_sessions()] == [idle.session_id]


async def test_a_sign_of_life_is_enough():
    async with talking(Demo().server, lost_after=0.2) as (served, peer):
        async with peer.listen():
            pass
        for _ in range(6):
            await trio.sleep(0.06)
            assert (
                await peer.post({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
            ).status_code == 202
        assert served.sessions.get_session(peer.session_id).reason is None
