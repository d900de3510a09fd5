"""The endpoint as one route of a Starlette application, and a server that stops cleanly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypercorn.trio
import trio
from hypercorn.config import Config
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamscope.mcp import HostPolicy, StreamableHTTPEndpoint

server = MCPServer("tides")
endpoint = StreamableHTTPEndpoint(
    server,
    hosts=HostPolicy(frozenset({"tides.example"})),
    idle_timeout=3600,
)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with endpoint:
        yield


async def health(_: Request) -> Response:  # noqa: ASYNC124 - a plain one gets a thread
    return JSONResponse({"sessions": endpoint.sessions.statistics().open_sessions})


routes = [Route("/mcp", endpoint), Route("/health", health)]
app = Starlette(routes=routes, lifespan=lifespan)


async def main(stop: trio.Event, config: Config) -> None:
    async def stopped() -> None:
        await stop.wait()
        # Hypercorn cuts the connections once this returns.
        await endpoint.close(grace=5)

    await hypercorn.trio.serve(
        app,  # type: ignore[arg-type]
        config,
        shutdown_trigger=stopped,
    )
