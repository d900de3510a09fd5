"""A client that does not read what it has asked for hurts nobody but itself."""

from __future__ import annotations

import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.mcp.helpers import call
from tests.mcp.raw import Connection
from tests.peers.helpers import Client, Server


@asynccontextmanager
async def stalled(client: Client, name: str, n: int = 400) -> AsyncIterator[None]:
    """Have a call under way that says n times 100,000 bytes, to a connection that is not read any more."""
    async with Connection.to(client) as connection:
        await connection.post(call("flood", {"name": name, "n": n, "size": 100_000}, "stalled"))
        assert (await connection.response_head()).status == 200
        await client.remote("settled", name=name)
        yield


@pytest.mark.flaw_of("python-sdk", "rust-sdk", "fastmcp")
async def test_a_reader_that_stalls_holds_up_no_other_request_of_its_session(server):
    async with server.client() as client, stalled(client, "stall-1"):
        assert await client.ask_tool("add", a=1, b=2) == "3"


@pytest.mark.flaw_of("rust-sdk")
async def test_a_reader_that_stalls_holds_up_no_other_session(server):
    async with server.client() as client, stalled(client, "stall-2"):
        other = client.another()
        await other.initialize()
        assert await other.ask_tool("add", a=1, b=2) == "3"
        assert (await other.send("DELETE")).status_code == 200


@pytest.mark.flaw_of("rust-sdk")
async def test_a_session_whose_reader_stalls_can_be_ended(server):
    async with server.client() as client, stalled(client, "stall-3"):
        assert (await client.send("DELETE")).status_code == 200
        assert not await client.remote("has_session", session=client.session)


def memory(server: Server) -> int:
    """Bytes of memory that a server holds."""
    pages = int(Path(f"/proc/{server.process.popen.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.flaw_of("typescript-sdk")
async def test_what_a_reader_that_stalls_does_not_read_is_not_piled_up(server):
    async with server.client() as client:
        before = memory(server)
        async with stalled(client, "pile", n=800):
            assert memory(server) - before < 40_000_000


@pytest.mark.flaw_of("fastmcp")
async def test_many_listeners_hold_up_no_newcomer(server):
    async def open_one(client: Client, left: int) -> None:
        await client.initialize()
        if not left:
            assert await client.ask_tool("add", a=1, b=2) == "3"
            return
        async with client.listening():
            await open_one(client.another(), left - 1)

    async with server.clients("") as (client,):
        await open_one(client, 30)


@pytest.mark.flaw_of("mcp-go")
async def test_what_is_said_quickly_to_a_listener_is_not_dropped(server):
    async with server.client() as client, client.listening() as events:
        texts = [str(number) for number in range(500)]
        await client.ask_tool("whisper", texts=texts)
        assert [(await events.message())["params"]["data"] for _ in texts] == texts
