"""The MCP server that is served: tools that do what the tests tell them, and tools that tell them.

It is written with anyio, because the SDK's own transport is served on asyncio.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.subscriptions import InMemorySubscriptionBus

State = Literal["unknown", "running", "returned", "cancelled"]


class Stage:
    """An `MCPServer`, with a remote control that is made of tools as well.

    Attributes:
        server: The server.
        bus: Its bus of changes.
        sessions: Returns the ids of the sessions that are open.
        kept: Returns the number of events that are kept.
    """

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.server = MCPServer("peers", log_level="ERROR", subscriptions=self.bus)
        self.sessions: Callable[[], list[str]] = list
        self.kept: Callable[[], int] = int
        self._states: defaultdict[str, State] = defaultdict(lambda: "unknown")
        self._gates: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)
        self._said: defaultdict[str, int] = defaultdict(int)
        played: list[Callable[..., Any]] = [self.add, self.count, self.wait, self.speak, self.flood, self.whisper]
        played += [self.ask, self.hang_up, self.change]
        control: list[Callable[..., Any]] = [self.go, self.say, self.until, self.settled]
        control += [self.has_session, self.count_events]
        for tool in (*played, *control):
            self.server.add_tool(tool)

    # What is played

    @staticmethod
    def add(a: int, b: int) -> int:
        return a + b

    @staticmethod
    async def count(n: int, ctx: Context[Any, Any], pause: float = 0) -> str:
        """Report n steps."""
        for i in range(1, n + 1):
            await ctx.report_progress(i)
            await anyio.sleep(pause)
        return "counted"

    async def wait(self, name: str) -> str:
        """Wait for `go`."""
        with self._running(name):
            await self._gates[name].wait()
        return f"{name} waited"

    @contextmanager
    def _running(self, name: str) -> Iterator[None]:
        self._states[name] = "running"
        state: State = "cancelled"
        try:
            yield
            state = "returned"
        finally:
            self._states[name] = state

    async def speak(self, name: str, ctx: Context[Any, Any]) -> str:
        """Report 1, 2, 3, and so on, up to the number of `say`; return after `go`."""
        number = 0
        with self._running(name):
            while number < self._said[name] or not self._gates[name].is_set():
                if number < self._said[name]:
                    number += 1
                    await ctx.report_progress(number)
                else:
                    await anyio.sleep(0.002)
        return f"{name} has spoken"

    async def flood(self, name: str, n: int, size: int, ctx: Context[Any, Any]) -> str:
        """Report n steps, with a message of that size each."""
        with self._running(name):
            for i in range(1, n + 1):
                await ctx.report_progress(i, message="x" * size)
                self._said[name] = i
        return "flooded"

    @staticmethod
    async def whisper(texts: list[str], ctx: Context[Any, Any]) -> str:
        """Log what belongs to no request."""
        for text in texts:
            params = types.LoggingMessageNotificationParams(level="info", data=text)
            await ctx.session.send_notification(types.LoggingMessageNotification(params=params))
        return "whispered"

    async def ask(self, name: str, ctx: Context[Any, Any]) -> str:
        """Ask for the roots, where what belongs to no request is said."""
        with self._running(name):
            answer = await ctx.session.send_request(types.ListRootsRequest(), types.ListRootsResult)
        return " ".join(str(root.uri) for root in answer.roots)

    async def hang_up(self, name: str, ctx: Context[Any, Any]) -> str:
        """Report 1 and 2, close the connection, wait for `go`, report 3 and 4."""
        await ctx.report_progress(1)
        await ctx.report_progress(2)
        await ctx.close_sse_stream()
        with self._running(name):
            await self._gates[name].wait()
            await ctx.report_progress(3)
            await ctx.report_progress(4)
        return "went on"

    @staticmethod
    async def change(uri: str, ctx: Context[Any, Any]) -> str:
        """Tell whoever has subscribed to a resource that it has changed."""
        await ctx.notify_resource_updated(uri)
        return "changed"

    # The remote control

    async def go(self, name: str) -> str:
        self._gates[name].set()
        return "gone"

    async def say(self, name: str, number: int) -> str:
        self._said[name] = number
        return "said"

    async def until(self, name: str, state: State) -> str:
        """Wait for the call of that name to be in that state."""
        while self._states[name] != state:  # noqa: ASYNC110 - simpler than an event for each state
            await anyio.sleep(0.005)
        return state

    async def settled(self, name: str) -> str:
        """Wait until the flood of that name has ended, or does not rise any more."""
        level, quiet = -1, 0
        while self._states[name] != "returned" and quiet < 20:
            quiet = quiet + 1 if self._said[name] == level > 0 else 0
            level = self._said[name]
            await anyio.sleep(0.02)
        return "settled"

    async def has_session(self, session: str) -> bool:
        return session in self.sessions()

    async def count_events(self) -> int:
        return self.kept()
