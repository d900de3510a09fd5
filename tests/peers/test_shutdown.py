"""How a server stops: everybody is told, and it does stop."""

from __future__ import annotations

import pytest

from tests.peers.helpers import Server
from tests.peers.test_listening import acknowledged, subscribing
from tests.peers.test_slow_readers import stalled


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp")
async def test_a_request_is_answered_when_the_server_stops(own_server: Server):
    async with own_server.client() as client:
        async with client.calling("wait", "caller", name="stopped") as events:
            await client.remote("until", name="stopped", state="running")
            own_server.process.terminate()
            message = await events.answer()
            assert message["id"] == "caller"
            assert message["error"]["message"]
        await own_server.has_stopped()


@pytest.mark.flaw_of("python-sdk", "fastmcp")
async def test_a_subscription_gets_its_result_when_the_server_stops(own_server: Server):
    async with own_server.clients("") as (client,):
        async with subscribing(client, "res://x", "caller") as events:
            assert await acknowledged(events)
            own_server.process.terminate()
            message = await events.answer()
            assert (message["id"], message["result"]["resultType"]) == ("caller", "complete")
        await own_server.has_stopped()


@pytest.mark.flaw_of("python-sdk")
async def test_a_listener_is_not_cut_but_ended_when_the_server_stops(own_server: Server):
    async with own_server.client() as client:
        async with client.listening() as events:
            own_server.process.terminate()
            assert await events.rest() == []
        assert await own_server.has_stopped() == 0


@pytest.mark.flaw_of("fastmcp", "go-sdk", "mcp-go")
async def test_a_listener_does_not_keep_a_server_from_stopping(own_server: Server):
    async with own_server.client() as client, client.listening():
        own_server.process.terminate()
        await own_server.has_stopped()


@pytest.mark.flaw_of("python-sdk")
async def test_a_reader_that_stalls_does_not_keep_a_server_from_stopping(own_server: Server):
    async with own_server.client() as client, stalled(client, "stopped"):
        own_server.process.terminate()
        await own_server.has_stopped()
