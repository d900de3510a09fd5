"""The server of the demo: tools that take their time."""

from __future__ import annotations

from typing import Any, Final, final

import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

SCORE: Final = "demo://score"


@final
class DemoServer:
    """An MCP server whose tools tell what became of them."""

    def __init__(self) -> None:
        self.cleaned_up = 0
        """Calls of ``work`` that were ended, and have cleaned up after themselves."""
        self.server = MCPServer("streamscope-demo", log_level="WARNING")
        for tool in (count, self.work, announce, publish):
            self.server.add_tool(tool)

    async def work(self, ctx: Context[Any, Any]) -> str:
        """Work without end, and report progress."""
        done = 0
        try:
            while True:
                done += 1
                await ctx.report_progress(done, message="still at it")
                await trio.sleep(0.15)
        finally:
            # As a tool would that has something to put away, it takes a moment.
            with trio.CancelScope(shield=True, relative_deadline=1):
                await trio.sleep(0.1)
            self.cleaned_up += 1


async def count(n: int, pause: float, ctx: Context[Any, Any]) -> str:
    """Count to n, and report each number as progress."""
    for number in range(1, n + 1):
        await ctx.report_progress(number, n)
        await trio.sleep(pause)
    return f"counted to {n}"


async def announce(ctx: Context[Any, Any]) -> str:
    """Tell this session that the list of tools has changed."""
    await ctx.session.send_tool_list_changed()
    return "announced"


async def publish(ctx: Context[Any, Any]) -> str:
    """Tell subscribers that the prompts have changed, and then that the score has."""
    await ctx.notify_prompts_changed()
    await ctx.notify_resource_updated(SCORE)
    return "published"
