"""The SDK's own client on Trio, over real sockets, in every mode that it has."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp
import mcp_types as types
import pytest
import trio
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError

from streamscope import CloseReason
from tests.mcp.demo import Demo
from tests.mcp.helpers import MODERN, serving
from tests.mcp.proxy import proxying

MODES = ["legacy", MODERN, "auto"]


@asynccontextmanager
async def connected(url: str, mode: str = "legacy", **options: Any) -> AsyncIterator[mcp.Client]:
    # A client of its own would load the trusted certificates, which takes longer than most tests.
    async with (
        httpx2.AsyncClient(timeout=None, verify=False) as http,
        mcp.Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


@asynccontextmanager
async def client_of(server: Any, mode: str = "legacy", client: dict[str, Any] | None = None, **options: Any):
    async with serving(server, **options) as served, connected(served.url, mode, **(client or {})) as connection:
        yield served, connection


def text(result: Any) -> str:
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"sse_delay": 0}, {"json_response": True}, {"stateless": True}], ids=str)
async def test_list_call_and_progress(mode, options):
    async with client_of(Demo().server, mode, **options) as (served, client):
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else MODERN)
        assert "add" in [tool.name for tool in (await client.list_tools()).tools]
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        heard = []

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        assert text(await client.call_tool("count", {"n": 5}, progress_callback=progress)) == "counted"
        expected = [] if "json_response" in options else [(n, 5, f"step {n}") for n in range(1, 6)]
        assert heard == expected
        kept = served.sessions.list_sessions()
        assert len(kept) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_errors(mode):
    async with client_of(Demo().server, mode) as (_, client):
        assert (await client.call_tool("fail", {"how": "tool"})).is_error
        with pytest.raises(MCPError, match="on purpose") as caught:
            await client.call_tool("fail", {"how": "mcp"})
        assert (caught.value.error.code, caught.value.error.data) == (-32042, {"why": "a test"})
        with pytest.raises(MCPError) as caught:
            await client.read_resource("test://nowhere")
        assert "result" not in str(caught.value)


async def test_its_session_ends_with_it():
    async with serving(Demo().server) as served:
        async with connected(served.url):
            assert len(served.sessions.list_sessions()) == 1
        assert served.sessions.list_sessions() == []
        assert served.sessions.recently_closed()[0].reason is CloseReason.TERMINATED


async def test_it_is_asked_and_answers():
    async def sampling(context, params):
        content = types.TextContent(type="text", text=params.messages[0].content.text[::-1])
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def elicitation(context, params):
        return types.ElicitResult(action="accept", content={"colour": "red"})

    async def roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///x")])

    callbacks = {"sampling_callback": sampling, "elicitation_callback": elicitation, "list_roots_callback": roots}
    async with client_of(Demo().server, client=callbacks) as (_, client):
        assert text(await client.call_tool("sample", {"text": "hello"})) == "olleh"
        assert text(await client.call_tool("elicit")) == "red"
        assert text(await client.call_tool("ping")) == "pong"
        assert (await client.call_tool("roots")).structured_content == {"result": ["file:///x"]}
        assert (await client.call_tool("ask")).structured_content == {"result": [["file:///x"]]}


async def test_it_says_what_it_cannot_do():
    async with client_of(Demo().server) as (_, client):
        ((code, _, _),) = (await client.call_tool("ask")).structured_content["result"]
        assert code == -32600


async def test_log_entries_come_with_a_request_and_without_one():
    entries, heard = trio.open_memory_channel[Any](10)

    async def logging(params):
        await entries.send(params.data)

    async with client_of(Demo().server, client={"logging_callback": logging}) as (_, client):
        await client.call_tool("log", {"text": "with"})
        assert await heard.receive() == "with"
        await client.call_tool("whisper", {"texts": ["without"]})
        assert await heard.receive() == "without"


async def test_many_calls_at_once():
    async with client_of(Demo().server) as (served, client), trio.open_nursery() as nursery:

        async def add(n: int) -> None:
            assert (await client.call_tool("add", {"a": n, "b": 1})).structured_content == {"result": n + 1}

        for n in range(50):
            nursery.start_soon(add, n)
    assert served.sessions.streams.list_streams() == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_is_cancelled(mode):
    demo = Demo()
    async with client_of(demo.server, mode) as (served, client):
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await demo.started["x"].wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave)
            await client.call_tool("wait", {"name": "x"})
        await demo.over["x"].wait()
        assert demo.ended["x"] != "returned"
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        kinds = [stream.kind for stream in served.sessions.streams.list_streams()]
        assert kinds == (["get"] if mode == "legacy" else [])


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_that_stops_says_so(mode):
    demo = Demo()
    async with client_of(demo.server, mode) as (served, client), trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(MCPError, match="shutdown") as caught:
                await client.call_tool("wait", {"name": "x"})
            assert caught.value.error.data == {"reason": "shutdown"}

        nursery.start_soon(caller)
        await demo.started["x"].wait()
        served.stop.set()


async def test_subscriptions():
    async with client_of(Demo().server, MODERN) as (served, client):
        async with client.listen(tools_list_changed=True) as subscription:
            await client.call_tool("change", {"what": "prompts"})
            await client.call_tool("change", {"what": "tools"})
            assert type(await anext(subscription)).__name__ == "ToolsListChanged"
        async with client.listen(tools_list_changed=True) as subscription:
            served.stop.set()
            # Ended on purpose, and so not lost.
            assert [event async for event in subscription] == []


async def test_a_subscription_that_is_cut_is_lost():
    async with (
        client_of(Demo().server, MODERN) as (served, client),
        client.listen(tools_list_changed=True) as subscription,
    ):
        (stream,) = served.sessions.streams.list_streams()
        served.sessions.streams.cancel_stream(stream.session_id, stream.stream_id)
        with pytest.raises(SubscriptionLost):
            await anext(subscription)


# Behind a proxy that cuts connections


async def shouting(total: int, allowance: Callable[[int], float], *, abrupt: bool) -> tuple[list[float], int]:
    """Call a tool that reports ``total`` steps, behind a proxy; return what was heard and the number of cuts."""
    demo = Demo()

    async def shout(ctx: Context[Any, Any]) -> str:
        for number in range(total):
            await ctx.report_progress(number)
            await trio.sleep(0.001)
        return "shouted"

    demo.server.add_tool(shout)
    heard: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with (
        serving(demo.server, retry=0.001) as served,
        proxying(served.url, allowance, abrupt=abrupt) as (proxy, url),
        connected(url) as client,
    ):
        assert text(await client.call_tool("shout", progress_callback=progress)) == "shouted"
    return heard, proxy.cuts


@pytest.mark.parametrize("seed", range(3))
async def test_it_loses_nothing_behind_a_proxy_that_ends_its_streams(seed):
    randomness = random.Random(seed)
    heard, cuts = await shouting(100, lambda _: randomness.randrange(1, 12), abrupt=False)
    assert heard == list(range(100))
    assert cuts > 5


async def test_it_loses_nothing_when_its_connection_is_cut():
    # Once: after the second time in a row this client gives up, or begins again where it began the last time.
    heard, cuts = await shouting(30, lambda cuts: math.inf if cuts else 7, abrupt=True)
    assert heard == list(range(30))
    assert cuts == 1
