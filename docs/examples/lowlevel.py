"""The SDK's low-level server: handlers for methods, instead of functions that become tools."""

# ruff: noqa: ARG001 - every handler is called with both

from __future__ import annotations

from typing import Any

import trio
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    TextContent,
    TextResourceContents,
    Tool,
)

URI = "note://today"
note = "nothing yet"
bus = InMemorySubscriptionBus()


async def list_tools(ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListToolsResult:  # noqa: ASYNC124 - it is awaited
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return ListToolsResult(tools=[Tool(name="write", description="Write the note of today.", input_schema=schema)])


async def call_tool(ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
    global note  # noqa: PLW0603 - a server this small keeps its state where it can be seen
    if params.name != "write" or not params.arguments:
        return CallToolResult(content=[TextContent(type="text", text=f"no tool {params.name!r}")], is_error=True)
    await ctx.session.report_progress(1, 2, "thinking")
    await trio.sleep(0.1)
    note = str(params.arguments["text"])
    await bus.publish(ResourceUpdated(uri=URI))
    return CallToolResult(content=[TextContent(type="text", text="written")])


async def list_resources(ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListResourcesResult:  # noqa: ASYNC124 - it is awaited
    return ListResourcesResult(resources=[Resource(uri=URI, name="the note of today")])


async def read_resource(ctx: ServerRequestContext[Any], params: ReadResourceRequestParams) -> ReadResourceResult:  # noqa: ASYNC124 - it is awaited
    return ReadResourceResult(contents=[TextResourceContents(uri=params.uri, mime_type="text/plain", text=note)])


server = Server(
    "lowlevel",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_read_resource=read_resource,
    # What a client of 2026-07-28 subscribes to.
    on_subscriptions_listen=ListenHandler(bus),
)
