"""The server that is fuzzed: its tools answer, stream, raise, ask the client, take their time.

All of it is asynchronous: the SDK runs the rest in threads, and virtual time does not wait for those. Templates of
resources are always of the rest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import mcp_types as types
import trio
from mcp.server import MCPServer, Server
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import Field

SLOWEST = 2.0
"""Seconds that a tool may take."""

server = MCPServer("fuzz", version="1", log_level="WARNING")
Some = Annotated[int, Field(ge=0, le=20)]
Seconds = Annotated[float, Field(ge=0, le=SLOWEST)]


@server.tool()
async def echo(value: Any = None) -> Any:
    return value


@server.tool()
async def count(n: Some, ctx: Context[Any, Any], pause: Seconds = 0) -> str:
    """Report n steps, within `SLOWEST` seconds."""
    with trio.move_on_after(SLOWEST):
        for i in range(1, n + 1):
            await ctx.report_progress(i, n)
            await trio.sleep(pause)
    return "counted"


@server.tool()
async def nap(seconds: Seconds) -> str:
    await trio.sleep(seconds)
    return "rested"


@server.tool()
async def fail(how: Literal["tool", "mcp", "many"]) -> str:
    if how == "mcp":
        raise MCPError(-32042, "on purpose", {"why": "a test"})
    if how == "many":
        raise ExceptionGroup("on purpose", [ValueError("one"), ValueError("two")])
    raise ValueError("on purpose")


@server.tool()
async def ask(ctx: Context[Any, Any], timeout: Seconds = SLOWEST) -> str:
    """Ask the client for its roots, on the request's own stream."""
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    try:
        await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult, timeout, related)
    except MCPError as exc:
        return f"not told: {exc.error.code}"
    return "told"


@server.tool()
async def whisper(text: str, ctx: Context[Any, Any]) -> str:
    """Log on the session's listening stream."""
    params = types.LoggingMessageNotificationParams(level="info", data=text)
    await ctx.session.send_notification(types.LoggingMessageNotification(params=params))
    return "whispered"


@server.tool()
async def release(ctx: Context[Any, Any], seconds: Seconds = 0) -> str:
    """Have the connection closed, and answer later."""
    await ctx.close_sse_stream()
    await trio.sleep(seconds)
    return "released"


@server.tool()
async def change(ctx: Context[Any, Any]) -> str:
    """Tell whoever listens that the tools have changed (2026-07-28)."""
    await ctx.notify_tools_changed()
    return "changed"


@server.tool()
async def weather(
    city: Annotated[str, Field(json_schema_extra={"x-mcp-header": "City"})],
    days: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Days"})] = 1,
) -> str:
    """Forecast, for a place that proxies may route by."""
    return f"{city[:100]}, {days:.3g}"


@server.resource("fuzz://static")
async def static() -> str:
    return "static"


@server.prompt()
async def greeting(name: str) -> str:
    return f"Hello {name}"


def shown(value: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(value))])


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    schema = {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}}
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=schema) for name in ("echo", "weather")])


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    return shown((params.arguments or {}).get("value"))


low_level = Server("fuzz", on_list_tools=list_tools, on_call_tool=call_tool)
"""A server that has to be asked for the schemas of its tools."""
