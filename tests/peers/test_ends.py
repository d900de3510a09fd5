"""How sessions end: their requests are answered, their tools end, and who is still at work is left alone."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.mcp.helpers import envelope, initialize
from tests.mcp.raw import Connection
from tests.peers.helpers import first_id, numbers, refused, text


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp")
async def test_a_request_whose_session_is_deleted_is_answered(server):
    async with server.client() as client:
        async with client.calling("wait", "caller", name="deleted") as events:
            await client.remote("until", name="deleted", state="running")
            assert (await client.send("DELETE")).status_code == 200
            message = await events.answer()
            assert message["id"] == "caller"
            assert message["error"]["message"]


@pytest.mark.flaw_of("go-sdk", "rust-sdk", "csharp-sdk")
async def test_a_tool_ends_with_its_session_which_does_not_wait_for_it(server):
    async with server.client() as client:
        async with client.calling("wait", name="ends"):
            await client.remote("until", name="ends", state="running")
            assert (await client.send("DELETE")).status_code == 200
            await client.remote("until", name="ends", state="cancelled")


@pytest.mark.flaw_of("go-sdk")
async def test_without_sessions_a_tool_ends_with_its_connection(server):
    async with server.clients("") as (client,):
        message, headers = envelope("tools/call", {"name": "speak", "arguments": {"name": "modern"}})
        await client.remote("say", name="modern", number=1)
        async with client.stream("POST", message, **headers) as events:
            assert numbers([await events.message()]) == [1]
        await client.remote("until", name="modern", state="cancelled")


@pytest.mark.flaw_of("mcp-go")
async def test_a_listener_ends_with_its_session(server):
    async with server.client() as client:
        async with client.listening() as events:
            assert (await client.send("DELETE")).status_code == 200
            assert await events.rest() == []


@pytest.mark.flaw_of("python-sdk", "rust-sdk", "go-sdk", "fastmcp")
async def test_a_tool_that_outlives_its_connection_is_not_idle(tight_server):
    async with tight_server.client() as client:
        async with client.calling("wait", "caller", name="outlives") as events:
            position = await first_id(events)
            await client.remote("until", name="outlives", state="running")
        await client.idles()
        await client.remote("go", name="outlives")
        async with client.listening(position) as again:
            message = await again.answer()
            assert (message["id"], text(message)) == ("caller", "outlives waited")


@pytest.mark.flaw_of("rust-sdk", "mcp-go")
async def test_a_tool_that_is_long_silent_is_not_idle(tight_server):
    async with tight_server.client() as client:
        async with client.calling("wait", "caller", name="silent") as events:
            await client.idles()
            await client.remote("go", name="silent")
            assert text(await events.answer()) == "silent waited"


@pytest.mark.flaw_of("go-sdk", "mcp-go", "rust-sdk")
async def test_who_listens_is_not_idle(tight_server):
    async with tight_server.client() as client:
        async with client.listening() as events:
            await client.idles()
            await client.ask_tool("whisper", texts=["still there?"])
            assert (await events.message())["params"]["data"] == "still there?"


@pytest.mark.flaw_of("typescript-sdk", "go-sdk")
async def test_a_session_that_is_left_behind_ends(tight_server):
    async with tight_server.clients(*[""] * 10) as clients:
        for client in clients:
            await client.initialize()
            async with client.listening():
                assert await client.ask_tool("add", a=1, b=2) == "3"
        for client in clients:
            await client.has_ended()
            assert (await client.send("GET")).status_code == 404


@pytest.mark.flaw_of("rust-sdk")
async def test_a_listener_that_has_crashed_does_not_keep_its_session(tight_server):
    async with tight_server.client() as client:
        async with Connection.to(client) as connection:
            await connection.send_head("GET", {})
            assert (await connection.response_head()).status == 200
            connection.reset()
        await client.has_ended()


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp")
async def test_one_client_cannot_take_all_sessions(tight_server):
    async with tight_server.clients("alice", "bob") as (alice, bob), AsyncExitStack() as stack:
        while (response := await alice.post(initialize())).status_code == 200:
            alice.headers["mcp-session-id"] = response.headers["mcp-session-id"]
            await stack.enter_async_context(alice.listening())
            del alice.headers["mcp-session-id"]
        refused(response, 429, 503)
        assert (await bob.post(initialize())).status_code == 200


@pytest.mark.flaw_of("python-sdk", "fastmcp")
async def test_idle_sessions_make_room_for_newcomers_and_busy_ones_do_not(slow_server):
    async with slow_server.clients(*[""] * 20) as (first, *others):
        await first.initialize()
        async with first.calling("wait", "caller", name="busy") as events:
            try:
                for client in others:
                    response = await client.post(initialize())
                    assert response.status_code == 200
                    client.headers["mcp-session-id"] = response.headers["mcp-session-id"]
                await first.remote("go", name="busy")
                assert text(await events.answer()) == "busy waited"
            finally:
                # For the sake of other tests.
                for client in (first, *others):
                    await client.send("DELETE")
