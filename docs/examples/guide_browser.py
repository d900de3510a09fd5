"""An endpoint that web pages of one other origin may use."""

from mcp.server import MCPServer
from starlette.middleware.cors import CORSMiddleware

from streamscope.mcp import HostPolicy, StreamableHTTPEndpoint

ORIGIN = "https://app.example"
endpoint = StreamableHTTPEndpoint(
    MCPServer("tides"),
    hosts=HostPolicy(frozenset({"tides.example"}), frozenset({ORIGIN})),
)
app = CORSMiddleware(
    endpoint,
    allow_origins=[ORIGIN],
    allow_methods=["GET", "POST", "DELETE"],
    allow_headers=["*"],
    expose_headers=["Mcp-Session-Id"],
)
