"""The package beside trio-typing, which was overtaken by Trio's own types but is still about.

It is never in the environment where types are checked: its stubs hide those of Trio.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

trio_typing = pytest.importorskip("trio_typing", reason="trio-typing is not installed")

import streamscope  # noqa: E402 - not before it is known whether there is anything to test
from tests.helpers import check_nothing_left, serve  # noqa: E402


class Status(trio_typing.TaskStatus):  # type: ignore[misc, name-defined]  # mypy knows of no such class here
    """A status of somebody else's, as of a nursery that is wrapped."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self.changed = trio.Event()

    def started(self, value: object = None) -> None:
        self.values.append(value)
        self.changed.set()


class WrappedNursery:
    """A nursery whose ``start`` hands out statuses of its own, and tells whether they were right."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery

    async def start(self, async_fn: Callable[..., Any], *args: object) -> object:
        status = Status()
        self.nursery.start_soon(partial(async_fn, *args, task_status=status))
        await status.changed.wait()
        (value,) = status.values
        return value

    def start_soon(self, async_fn: Callable[..., Any], *args: object) -> None:
        self.nursery.start_soon(async_fn, *args)


async def test_the_package_works_beside_it() -> None:
    async with streamscope.open_session_manager() as sessions:
        session = await sessions.start_session(principal="alice")
        stream = await session.start_stream(serve)
        await stream.send(b"a")
        async with session.open_reader(stream.id) as reader:
            assert (await reader.receive()).data == b"a"
    check_nothing_left(sessions)


async def test_a_status_of_trio_is_one_of_its_statuses() -> None:
    async def run(sessions: streamscope.SessionManager, *, task_status: Any) -> None:
        assert isinstance(task_status, trio_typing.TaskStatus)
        async with sessions.open_session() as session:
            task_status.started(session)
            await trio.sleep_forever()

    async with streamscope.open_session_manager() as sessions, trio.open_nursery() as nursery:
        session = await nursery.start(run, sessions)
        assert sessions.get_session(session.id) is session
        nursery.cancel_scope.cancel()
    check_nothing_left(sessions)


async def test_sessions_and_streams_are_started_with_any_status() -> None:
    async with trio.open_nursery() as nursery:
        sessions = streamscope.SessionManager(WrappedNursery(nursery))  # type: ignore[arg-type]
        session = await sessions.start_session()
        stream = await session.start_stream(serve)
        assert session.streams == [stream.id]
        sessions.close()
        await sessions.wait_closed()
    check_nothing_left(sessions)


async def test_a_server_is_started_with_any_status() -> None:
    mcp = pytest.importorskip("streamscope.mcp", reason="the SDK is not installed", exc_type=ImportError)
    from mcp.server import MCPServer

    assert "task_status" in inspect.signature(mcp.serve).parameters
    status, stop = Status(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(mcp.serve, MCPServer("demo"), port=0, stop=stop, handle_signals=False, task_status=status)
        )
        with trio.fail_after(60):
            await status.changed.wait()
            (url,) = status.values
            assert str(url).startswith("http://127.0.0.1:")
            stop.set()
