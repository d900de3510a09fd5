"""The MCP server that every peer serves, as far as it is the official SDK's."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer


def build_server() -> MCPServer[Any]:
    """Return a server with one quick tool, that logs nothing unless something is wrong."""
    server = MCPServer("benchmark", log_level="WARNING")

    @server.tool()
    async def add(a: int, b: int) -> int:  # noqa: ASYNC124 - the SDK runs a sync tool in a thread
        """Add two numbers."""
        return a + b

    return server
