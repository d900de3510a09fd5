"""The server that the real clients are tested with: a tool for each thing a client and a server do together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Annotated

import trio
from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, ListRoots, Resolve, Sample
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import ServerEvent
from mcp_types import (
    CreateMessageResult,
    ListRootsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel


class Bus(InMemorySubscriptionBus):
    """Knows how many subscriptions there are."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions: set[object] = set()
        self.none_left = trio.Event()

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        token = object()
        self.subscriptions.add(token)
        self.none_left = trio.Event()
        unsubscribe = super().subscribe(listener)

        def forget() -> None:
            unsubscribe()
            self.subscriptions.discard(token)
            if not self.subscriptions:
                self.none_left.set()

        return forget


bus = Bus()
server = MCPServer("clients", instructions="A tool for each thing that a client can do.", subscriptions=bus)
cancelled: defaultdict[str, trio.Event] = defaultdict(trio.Event)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def count(steps: int, ctx: Context, marker: str = "") -> str:
    """Report progress in steps. The one in the middle says the marker: the proxy cuts connections there."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, marker if marker and step == (steps + 1) // 2 else f"step {step}")
        await trio.sleep(0.05)
    return f"counted to {steps}"


class Name(BaseModel):
    name: str


def _ask_name() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


@server.tool()
def greet(answer: Annotated[ElicitationResult[Name], Resolve(_ask_name)]) -> str:
    """Greet the user, whose name is asked for."""
    return f"Hello {answer.data.name}" if isinstance(answer, AcceptedElicitation) else f"Nobody: {answer.action}"


def _ask_model() -> Sample:
    question = SamplingMessage(role="user", content=TextContent(text="What is the capital of France?"))
    return Sample([question], max_tokens=100)


@server.tool()
def capital(answer: Annotated[CreateMessageResult, Resolve(_ask_model)]) -> str:
    """Ask the client's model a question."""
    assert isinstance(answer.content, TextContent)
    return f"{answer.model} says {answer.content.text}"


def _ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def roots(answer: Annotated[ListRootsResult, Resolve(_ask_roots)]) -> str:
    """Ask the client for its roots."""
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool()
async def roots_aside(ctx: Context) -> str:
    """Ask the client for its roots on the stream that belongs to no request."""
    answer = await ctx.session.list_roots()
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool()
async def say(text: str, ctx: Context) -> str:
    """Log a message to the client."""
    await ctx.info(text)  # type: ignore[deprecated]
    return "said"


@server.tool()
async def change_tools(ctx: Context) -> str:
    """Tell every listener that the list of tools has changed."""
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "changed"


@server.tool()
async def listeners() -> int:
    """Count the subscriptions, once there is none left or it is clear that one stays."""
    with trio.move_on_after(10):
        await bus.none_left.wait()
    return len(bus.subscriptions)


@server.tool()
async def announce(text: str, ctx: Context) -> str:
    """Log a message to the client on the stream that belongs to no request."""
    params = LoggingMessageNotificationParams(level="info", data=text)
    await ctx.session.send_notification(LoggingMessageNotification(params=params))
    return "announced"


@server.tool()
async def wait(token: str, ctx: Context) -> str:
    """Wait for ever. That it was cancelled, `was_cancelled` tells."""
    await ctx.report_progress(0, 1, "waiting")
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        cancelled[token].set()
        raise


@server.tool()
async def was_cancelled(token: str) -> bool:
    """Tell whether the call of `wait` with this token is cancelled before long."""
    with trio.move_on_after(10):
        await cancelled[token].wait()
    return cancelled[token].is_set()


@server.tool()
async def refuse(ctx: Context) -> str:
    """Report progress, then answer with a JSON-RPC error."""
    await ctx.report_progress(1, 2, "about to refuse")
    raise MCPError(-32042, "refused on purpose")
