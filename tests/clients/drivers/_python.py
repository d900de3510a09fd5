"""What the drivers of Python clients share: the operations, and how they are reported."""

from __future__ import annotations

import json
import platform
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.client.subscriptions import Subscription, ToolsListChanged
from mcp.shared.dispatcher import ProgressFnT

TIMEOUT = 30
"""Seconds that one operation may take."""

STEPS = [(float(step), 5.0, f"step {step}") for step in range(1, 6)]
ROOT = "file:///home/ada"


def tell(**facts: object) -> None:
    """Print one line for the harness."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def introduce(client: str, runtime: str) -> None:
    """Say what is being driven, and what it runs on."""
    tell(about=client, runtime=f"{platform.python_implementation()} {platform.python_version()}, {runtime}")


@asynccontextmanager
async def operation(name: str) -> AsyncIterator[None]:
    """Report whether the block succeeds, in time. The next operation follows in any case."""
    try:
        with anyio.fail_after(TIMEOUT):  # noqa: ASYNC100 - the block is full of checkpoints
            yield
    except Exception as exc:
        tell(op=name, status="fail", detail=describe(exc))
    else:
        tell(op=name, status="pass")


def skip(name: str, why: str) -> None:
    """Report that the client cannot do this."""
    tell(op=name, status="n.a.", detail=why)


def describe(exc: BaseException) -> str:
    """Say what went wrong, also within a group."""
    if isinstance(exc, BaseExceptionGroup):
        return "; ".join(describe(each) for each in exc.exceptions)
    return f"{type(exc).__name__}: {exc}"


def expect(value: object, expected: object) -> None:
    """Fail with both values where they differ."""
    if value != expected:
        raise AssertionError(f"{value!r} instead of {expected!r}")


class Peer(Protocol):
    """A client that is connected."""

    @property
    def protocol(self) -> str: ...

    async def tools(self) -> set[str]: ...

    async def call(
        self, name: str, arguments: dict[str, Any] | None = None, progress: ProgressFnT | None = None
    ) -> types.CallToolResult: ...

    def listen(self) -> AbstractAsyncContextManager[Subscription] | None: ...


class Heard:
    """What the callbacks of a client were called with."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.changes = 0
        self.steps: list[tuple[float, float | None, str | None]] = []
        self._news = anyio.Event()

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.data)
        self._tell()

    async def message(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.changes += 1
            self._tell()

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.steps.append((progress, total, message))

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what was heard makes something true; the operation's time limit ends it."""
        while not condition():
            await self._news.wait()


Open: TypeAlias = Callable[[Heard], AbstractAsyncContextManager[Peer]]


def content(result: types.CallToolResult) -> Any:
    """Return what a tool has returned."""
    assert not result.is_error, result
    assert result.structured_content is not None
    return result.structured_content["result"]


async def drive(era: str, connect: Open) -> None:
    """Do everything."""
    await (_handshake(connect) if era == "handshake" else _modern(connect))


async def _handshake(connect: Open) -> None:
    heard = Heard()
    async with connect(heard) as peer:
        await _common("2025-11-25", peer, heard)
        async with operation("listening"):
            expect(content(await peer.call("change_tools")), "changed")
            await heard.until(lambda: heard.changes)
        async with operation("asking aside"):
            expect(content(await peer.call("roots_aside")), ROOT)
        async with operation("resuming a call"):
            heard.steps.clear()
            word = f"cut-{secrets.token_hex(4)}"
            result = await peer.call("count", {"steps": 5, "marker": word}, heard.progress)
            expect(content(result), "counted to 5")
            expect(heard.steps, [*STEPS[:2], (3.0, 5.0, word), *STEPS[3:]])
        async with operation("resuming to listen"):
            word = f"cut-{secrets.token_hex(4)}"
            await peer.call("announce", {"text": word})
            await heard.until(lambda: word in heard.logs)
            heard.changes = 0
            await peer.call("change_tools")
            await heard.until(lambda: heard.changes)
            expect((heard.logs.count(word), heard.changes), (1, 1))
    tell(closed="session")
    async with operation("shutdown"), connect(Heard()) as peer:

        async def told(progress: float, total: float | None, message: str | None) -> None:
            tell(ready="shutdown")

        try:
            await peer.call("wait", {"token": "shutdown"}, told)
        except MCPError as exc:
            expect("shutdown" in exc.message, True)
        else:
            raise AssertionError("the call has succeeded")


async def _modern(connect: Open) -> None:
    heard = Heard()
    async with connect(heard) as peer:
        await _common("2026-07-28", peer, heard)
        if peer.listen() is None:
            for name in ("listening", "unlistening", "shutdown"):
                skip(name, "it has no call for subscriptions")
            return
        async with operation("listening"), _listen(peer) as subscription:
            expect(subscription.honored.tools_list_changed, True)
            await peer.call("change_tools")
            expect(await anext(subscription), ToolsListChanged())
        async with operation("unlistening"):
            expect(content(await peer.call("listeners")), 0)
        async with operation("shutdown"), _listen(peer) as subscription:
            tell(ready="shutdown")
            async for event in subscription:
                raise AssertionError(event)


def _listen(peer: Peer) -> AbstractAsyncContextManager[Subscription]:
    subscription = peer.listen()
    assert subscription is not None
    return subscription


async def _common(protocol: str, peer: Peer, heard: Heard) -> None:
    async with operation("open"):
        tell(protocol=peer.protocol)
        expect(peer.protocol, protocol)
    async with operation("list"):
        assert {"add", "count", "greet"} <= await peer.tools()
    async with operation("call"):
        expect(content(await peer.call("add", {"a": 1, "b": 2})), 3)
    async with operation("parallel"):
        sums: dict[int, Any] = {}

        async def add(a: int) -> None:
            sums[a] = content(await peer.call("add", {"a": a, "b": 1}))

        async with anyio.create_task_group() as group:
            for a in range(20):
                group.start_soon(add, a)
        expect(sums, {a: a + 1 for a in range(20)})
    async with operation("progress"):
        heard.steps.clear()
        expect(content(await peer.call("count", {"steps": 5}, heard.progress)), "counted to 5")
        expect(heard.steps, STEPS)
    async with operation("error"):
        try:
            await peer.call("refuse", progress=heard.progress)
        except MCPError as exc:
            expect((exc.code, exc.message), (-32042, "refused on purpose"))
        else:
            raise AssertionError("the call has succeeded")
    async with operation("elicitation"):
        expect(content(await peer.call("greet")), "Hello Ada")
    async with operation("sampling"):
        expect(content(await peer.call("capital")), "atlas says Paris")
    async with operation("roots"):
        expect(content(await peer.call("roots")), ROOT)
    async with operation("logging"):
        expect(content(await peer.call("say", {"text": "hello"})), "said")
        await heard.until(lambda: "hello" in heard.logs)
    async with operation("cancel"):
        await _cancel(peer)


async def _cancel(peer: Peer) -> None:
    token = secrets.token_hex(4)
    waiting = anyio.Event()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        waiting.set()

    async def call() -> None:
        await peer.call("wait", {"token": token}, told)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await waiting.wait()
        group.cancel_scope.cancel()
    expect(content(await peer.call("was_cancelled", {"token": token})), True)
