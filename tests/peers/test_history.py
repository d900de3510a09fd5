"""What is kept of a session that has ended: nothing."""

from __future__ import annotations

import pytest

from tests.peers.helpers import Client, first_id, refused, text


async def leave_history(client: Client) -> str:
    """Say something on a stream, and return the id of its first event."""
    async with client.calling("count", n=20) as events:
        position = await first_id(events)
        assert text((await events.rest())[-1]) == "counted"
    return position


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "fastmcp")
async def test_nothing_is_kept_of_sessions_that_were_deleted(server):
    async with server.clients(*[""] * 10) as clients:
        before = await clients[0].remote("count_events")
        for client in clients:
            await client.initialize()
            await leave_history(client)
            assert (await client.send("DELETE")).status_code == 200
        assert await clients[0].remote("count_events") <= before


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "fastmcp")
async def test_nothing_is_kept_of_sessions_that_were_left_behind(tight_server):
    async with tight_server.clients(*[""] * 10) as clients:
        # What other tests have left.
        await clients[0].idles()
        before = await clients[0].remote("count_events")
        for client in clients:
            await client.initialize()
            await leave_history(client)
        for client in clients:
            await client.has_ended()
        assert await clients[0].remote("count_events") <= before


@pytest.mark.flaw_of("rust-sdk")
async def test_a_stream_is_gone_with_its_session(server):
    async with server.client() as client:
        position = await leave_history(client)
        assert (await client.send("DELETE")).status_code == 200
        refused(await client.send("GET", last_event_id=position), 404)


@pytest.mark.flaw_of("typescript-sdk", "mcp-go")
async def test_what_is_kept_of_a_stream_is_bounded(server):
    async with server.client() as client:
        before = await client.remote("count_events")
        async with client.calling("count", n=3000) as events:
            await events.frame()
            while "result" not in await events.message():
                pass
            assert await client.remote("count_events") - before < 1100
