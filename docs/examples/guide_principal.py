"""Sessions that belong to somebody: here, to whom a proxy says it has let in."""

from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer

from streamscope.mcp import StreamableHTTPEndpoint


def remote_user(scope: Mapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-remote-user":
            user: bytes = value
            return user.decode("latin-1")
    return None


server = MCPServer("tides")
app = StreamableHTTPEndpoint(
    server,
    principal=remote_user,
    max_sessions_per_principal=20,
)
