"""The MCP server that every peer serves, as far as it is the official SDK's."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp_types import SubscriptionsListenRequestParams

MAX_SUBSCRIPTIONS = 100_000
"""The SDK's own bound is 1,024, which its high-level class does not let anybody change."""


def build_server() -> MCPServer[Any]:
    """Return a server with a few quick tools, that logs nothing unless something is wrong."""
    bus = InMemorySubscriptionBus()
    server = MCPServer("benchmark", log_level="WARNING", subscriptions=bus)
    listen = ListenHandler(bus, max_subscriptions=MAX_SUBSCRIPTIONS)
    server._lowlevel_server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, listen)  # noqa: SLF001 - see above
    sessions: list[ServerSession] = []

    @server.tool()
    async def add(a: int, b: int) -> int:  # noqa: ASYNC124 - the SDK runs a sync tool in a thread
        """Add two numbers."""
        return a + b

    @server.tool()
    async def report(count: int, context: Context[Any, Any]) -> str:
        """Say so many times how far it is."""
        for step in range(count):
            await context.report_progress(step + 1, count)
        return "done"

    @server.tool()
    async def join(context: Context[Any, Any]) -> str:  # noqa: ASYNC124 - see above
        """Have the session told of changes."""
        sessions.append(context.session)
        return "done"

    @server.tool()
    async def announce() -> str:
        """Tell all sessions that joined of a change."""
        for session in sessions:
            await session.send_tool_list_changed()
        return "done"

    @server.tool()
    async def publish(context: Context[Any, Any]) -> str:
        """Tell all who listen of a change."""
        await context.notify_tools_changed()
        return "done"

    return server
