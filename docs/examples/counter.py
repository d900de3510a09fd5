"""A tool that goes on while its client is away.

Serve it with ``streamscope serve docs/examples/counter.py:server``, call
``count``, and cut the connection in the middle. A client that comes back with
``Last-Event-ID`` gets the numbers that it has missed and then those that
follow. Nothing in the tool knows of this.

Deleting the session ends the tool: its ``finally`` runs before the DELETE is
answered, and the caller gets an error that says ``terminated``.
"""

from __future__ import annotations

import logging

import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

logger = logging.getLogger("counter")
server = MCPServer("counter")


@server.tool()
async def count(n: int, ctx: Context, interval: float = 1.0) -> str:
    """Count to n, a number each interval (in seconds), and report each as progress."""
    reached = 0
    try:
        for number in range(1, n + 1):
            await ctx.report_progress(number, n, f"{number} of {n}")
            reached = number
            await trio.sleep(interval)
    finally:
        logger.info("counted to %d of %d", reached, n)
    return f"counted to {reached}"
