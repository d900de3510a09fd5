"""A server with one tool."""

import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

import streamscope.mcp

server = MCPServer("tides")


@server.tool()
async def next_tide(harbour: str, ctx: Context) -> str:
    """Say when the next high tide is."""
    for done in range(3):
        await ctx.report_progress(done, total=3, message="Asking the moon")
        await trio.sleep(0.2)
    return f"{harbour}: 14:05"


if __name__ == "__main__":
    trio.run(streamscope.mcp.serve, server)
