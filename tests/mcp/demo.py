"""The server under test: its tools wait for what the test tells them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import mcp_types as types
import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel


class Choice(BaseModel):
    """What `Demo.elicit` asks for."""

    colour: str


def log_entry(data: Any) -> types.LoggingMessageNotification:
    return types.LoggingMessageNotification(params=types.LoggingMessageNotificationParams(level="info", data=data))


class Demo:
    """An `MCPServer` with a remote control.

    Attributes:
        server: The server.
        started: Set when the call of that name runs.
        gates: Set by the test to let the call of that name go on.
        ended: How the call of that name ended.
        lines: What `speak` says, as the test sends it.
    """

    def __init__(self, **options: Any) -> None:
        self.server = MCPServer("demo", version="7", log_level="WARNING", **options)
        self.started: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.gates: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.ended: dict[str, str] = {}
        self.over: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.lines, self._lines = trio.open_memory_channel[int](1000)
        tools: list[Callable[..., Any]] = [
            self.add,
            self.count,
            self.wait,
            self.speak,
            self.log,
            self.fail,
            self.whisper,
        ]
        tools += [self.sample, self.elicit, self.roots, self.ping, self.ask, self.leave, self.change]
        for tool in tools:
            self.server.add_tool(tool)

    @staticmethod
    def add(a: int, b: int) -> int:
        return a + b

    @staticmethod
    async def count(n: int, ctx: Context[Any, Any]) -> str:
        """Report n steps."""
        for i in range(1, n + 1):
            await ctx.report_progress(i, n, f"step {i}")
        return "counted"

    async def wait(self, name: str) -> str:
        """Wait for the gate of that name."""
        self.started[name].set()
        try:
            await self.gates[name].wait()
        except trio.Cancelled as exc:
            self.ended[name] = str(exc)
            raise
        else:
            self.ended[name] = "returned"
        finally:
            self.over[name].set()
        return f"{name} waited"

    async def speak(self, ctx: Context[Any, Any]) -> str:
        """Report what the test sends, until it closes the channel."""
        self.started["speak"].set()
        async for number in self._lines:
            await ctx.report_progress(number)
        return "spoken"

    @staticmethod
    async def log(text: str, ctx: Context[Any, Any]) -> str:
        """Log on the request's own stream."""
        await ctx.session.send_notification(log_entry(text), related_request_id=ctx.request_id)
        return "logged"

    @staticmethod
    async def whisper(texts: list[str], ctx: Context[Any, Any]) -> str:
        """Log on the session's listening stream."""
        for text in texts:
            await ctx.session.send_notification(log_entry(text))
        return "whispered"

    @staticmethod
    async def fail(how: Literal["tool", "mcp", "data"]) -> str:
        if how == "mcp":
            raise MCPError(-32042, "on purpose", {"why": "a test"})
        if how == "data":
            raise MCPError(-32042, "on purpose", {"why": object()})
        raise ValueError("on purpose")

    @staticmethod
    async def sample(text: str, ctx: Context[Any, Any]) -> str:
        message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
        params = types.CreateMessageRequestParams(messages=[message], max_tokens=9)
        result = await ctx.session.send_request(
            types.CreateMessageRequest(params=params), types.CreateMessageResult, metadata=_related(ctx)
        )
        assert isinstance(result.content, types.TextContent)
        return result.content.text

    @staticmethod
    async def elicit(ctx: Context[Any, Any]) -> str:
        result = await ctx.elicit("Which colour?", Choice)
        return result.data.colour if result.action == "accept" else result.action

    @staticmethod
    async def roots(ctx: Context[Any, Any]) -> list[str]:
        """Ask on the listening stream: the SDK sends these two there."""
        result = await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
        return [str(root.uri) for root in result.roots]

    @staticmethod
    async def ping(ctx: Context[Any, Any]) -> str:
        await ctx.session.send_request(types.PingRequest(), types.EmptyResult)
        return "pong"

    async def ask(self, ctx: Context[Any, Any], timeout: float | None = None) -> list[Any]:
        """Ask for the roots on the request's own stream, with a progress callback; tell what came of it."""
        heard: list[Any] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            heard.append([done, total, message])
            if message == "raise":
                raise ValueError("on purpose")

        try:
            result = await ctx.session.send_request(
                types.ListRootsRequest(), types.ListRootsResult, timeout, _related(ctx), progress
            )
            heard.append([str(root.uri) for root in result.roots])
        except MCPError as exc:
            heard.append([exc.error.code, exc.error.message, exc.error.data])
        return heard

    async def leave(self, ctx: Context[Any, Any]) -> str:
        """Leave a task behind that talks after the answer."""
        session, request_id = ctx.session, ctx.request_id

        async def late() -> None:
            await self.gates["late"].wait()
            await session.send_notification(log_entry("too late"), related_request_id=request_id)
            try:
                await session.send_request(types.PingRequest(), types.EmptyResult, metadata=_related(ctx))
            except MCPError as exc:
                self.ended["late"] = exc.error.message
            self.over["late"].set()

        trio.lowlevel.spawn_system_task(late)
        return "left"

    @staticmethod
    async def change(ctx: Context[Any, Any], what: str = "tools") -> str:
        """Publish a change to whoever listens (2026-07-28)."""
        match what:
            case "tools":
                await ctx.notify_tools_changed()
            case "prompts":
                await ctx.notify_prompts_changed()
            case uri:
                await ctx.notify_resource_updated(uri)
        return "changed"


def _related(ctx: Context[Any, Any]) -> Any:
    from mcp.shared.message import ServerMessageMetadata

    return ServerMessageMetadata(related_request_id=ctx.request_id)
