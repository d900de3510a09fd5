"""Behind a reverse proxy, which is believed when it says who the client is."""

from typing import Any

from hypercorn.middleware import ProxyFixMiddleware
from mcp.server import MCPServer

from streamscope.mcp import HostPolicy, StreamableHTTPEndpoint

endpoint = StreamableHTTPEndpoint(
    MCPServer("tides"),
    hosts=HostPolicy(frozenset({"tides.example"})),
)
# Its types are those of Hypercorn's applications; at run time any ASGI application will do.
app: Any = ProxyFixMiddleware(endpoint, trusted_hops=1)  # type: ignore[arg-type]  # see above
