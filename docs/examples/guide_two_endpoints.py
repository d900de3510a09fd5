"""Two servers in one application, each with an endpoint and sessions of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from streamscope.mcp import StreamableHTTPEndpoint

tides = StreamableHTTPEndpoint(MCPServer("tides"))
weather = StreamableHTTPEndpoint(MCPServer("weather"), idle_timeout=300)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with tides, weather:
        yield


coast = [Route("/tides", tides), Route("/weather", weather)]
app = Starlette(routes=[Mount("/coast", routes=coast)], lifespan=lifespan)
