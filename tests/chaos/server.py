"""The server of the chaos run: a tool that counts, and says with each number whose it is."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("chaos", log_level="WARNING")


@server.tool()
async def count(label: str, n: int, ctx: Context[Any, Any]) -> str:
    """Count to a number."""
    for number in range(1, n + 1):
        await ctx.report_progress(number, n, label)
    return label
