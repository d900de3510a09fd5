"""Applications that endpoints are mounted in, and clients that use them there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.demo import Demo
from tests.mcp.helpers import Peer, call


def application(
    routes: Sequence[BaseRoute], *endpoints: StreamableHTTPEndpoint, middleware: Sequence[Middleware] = ()
) -> Starlette:
    """Make an application that runs some endpoints in its lifespan."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for endpoint in endpoints:
                await stack.enter_async_context(endpoint)
            yield

    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)


def endpoint_of(demo: Demo | None = None, **options: Any) -> StreamableHTTPEndpoint:
    return StreamableHTTPEndpoint((demo or Demo()).server, **options)


@asynccontextmanager
async def official(
    url: str, mode: str = "legacy", headers: dict[str, str] | None = None, auth: httpx2.Auth | None = None
) -> AsyncIterator[mcp.Client]:
    """Connect the SDK's own client."""
    # A client of its own would load the trusted certificates, which takes longer than most tests.
    async with (
        httpx2.AsyncClient(timeout=None, verify=False, headers=headers, auth=auth) as http,
        mcp.Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def adds(peer: Peer) -> bool:
    """Tell whether a session is served."""
    answer = await peer.ask(call("add", {"a": 1, "b": 2}))
    return "result" in answer and answer["result"]["structuredContent"] == {"result": 3}


async def official_adds(url: str, mode: str = "legacy", **options: Any) -> bool:
    """Tell whether the SDK's own client is served."""
    async with official(url, mode, **options) as client:
        return (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
