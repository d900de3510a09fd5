"""Ctrl-C at every point: it leaves no scope open, nothing registered and no count that is wrong.

CPython looks for signals where a function begins, where a call has returned and where a loop begins anew. A
trace function finds these points within the package, and presses Ctrl-C at one of them: in each run at the
first that no run before it has had, until a run comes to its end undisturbed. So every point that the programs
below reach is tried once, and a failure comes back when it is run again. Trio decides as always: it raises
`KeyboardInterrupt` on the spot, or where code is protected, in the main task at its next checkpoint.
"""

from __future__ import annotations

import dis
import functools
import itertools
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs
import pytest
import trio
from hypothesis import settings

import streamscope
from streamscope import (
    CloseReason,
    Session,
    SessionClosedError,
    SessionManager,
    Stream,
    StreamClosedError,
    UnknownStreamError,
    open_session_manager,
)
from tests.helpers import Recorder, check_nothing_left, leaves, simulate, sleep_shielded

_PACKAGE = str(Path(streamscope.__file__).parent)
# A point is a place in the code. A profile of hypothesis that tries more has also who called it tell them apart.
_CALLERS = 1 if settings().max_examples > 100 else 0

Point = tuple[tuple[CodeType, int], ...]


@functools.cache
def signal_points(code: CodeType) -> frozenset[int]:
    """The instructions of a function before which CPython looks for signals."""
    points: set[int] = set()
    instructions = list(dis.get_instructions(code))
    for instruction, following in itertools.pairwise(instructions):
        name = instruction.opname
        # RESUME tells by its argument whether it stands at the beginning or after a yield or an await.
        begins = name == "RESUME" and instruction.arg is not None and instruction.arg & 3 == 0
        called = name.startswith("CALL") and not name.startswith("CALL_INTRINSIC")
        # A call of an async function just makes a coroutine, which is not looked away from.
        if begins or (called and following.opname != "GET_AWAITABLE"):
            points.add(following.offset)
        elif "JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name:
            points.add(instruction.argval)
    return frozenset(points)


@attrs.define
class Interrupter:
    """Presses Ctrl-C once, at the first point within the package that is new."""

    tried: set[Point]
    point: Point | None = None

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in signal_points(frame.f_code):
            point = self.locate(frame)
            if point not in self.tried:
                self.tried.add(point)
                self.point = point
                sys.settrace(None)
                # Trio's handler looks at the frames from here on outwards, of which this one says nothing.
                signal.raise_signal(signal.SIGINT)
        return self.trace

    def locate(self, frame: FrameType | None) -> Point:
        point: list[tuple[CodeType, int]] = []
        while frame is not None and len(point) <= _CALLERS:
            point.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
        return tuple(point)

    @property
    def where(self) -> str:
        assert self.point is not None
        code, offset = self.point[0]
        line = next(line for begin, end, line in code.co_lines() if begin <= offset < end)
        return f"{Path(code.co_filename).name}:{line}, {code.co_qualname}, instruction {offset}"

    @contextmanager
    def armed(self) -> Iterator[None]:
        before = sys.gettrace()
        # CPython 3.12 traces instructions only where this was set, anywhere, before tracing began.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


# The programs


@attrs.define
class Run:
    """One run of a program, and what it leaves behind."""

    recorder: Recorder = attrs.Factory(Recorder)
    sessions: SessionManager | None = None


Program = Callable[[Run], Awaitable[None]]


async def talk(stream: Stream) -> None:
    """A stream's body that says something, and goodbye."""
    await stream.send(b"hello")
    try:
        await trio.sleep(3)
    finally:
        await sleep_shielded(1)  # noqa: ASYNC102 - it is shielded
        with suppress(StreamClosedError):
            stream.send_nowait(b"goodbye")


async def host(session: Session) -> None:
    """A session's body that has streams of either kind."""
    await session.start_stream(talk)
    async with session.open_stream() as stream:
        stream.send_nowait(b"a")
        await trio.sleep(2)


async def open_everything(run: Run) -> None:
    """Opens, uses and ends sessions, streams and readers of all kinds, and lets the interrupt pass."""
    async with open_session_manager(instruments=(run.recorder,), idle_timeout=50) as sessions:
        run.sessions = sessions
        async with sessions.watch(buffer=1) as watcher, sessions.open_session(principal="alice") as session:
            session.idle_timeout = 60
            async with session.open_stream(idle_timeout=10) as stream:
                await stream.send(b"a")
                stream.send_nowait(b"b")
                stream.touch()
                async with session.open_reader(stream.id) as reader:
                    await reader.receive()
                    await reader.receive_some()
                async with session.open_reader(stream.id, after=1), session.open_reader(stream.id, supersede=True):
                    sessions.streams.list_streams()
            talking = await session.start_stream(talk)
            async with session.open_reader(talking.id) as reader:
                with trio.move_on_after(1):
                    async for _ in reader:
                        pass
            registered = [sessions.streams.register_stream(session.id) for _ in range(3)]
            sessions.streams.unregister_stream(session.id, registered.pop())
            sessions.streams.cancel_stream(session.id, registered.pop())
            await trio.sleep(1)
            sessions.streams.cleanup_inactive_streams(0.5)
            await watcher.receive()
        other = await sessions.start_session(host)
        with suppress(SessionClosedError):
            async with other.open_stream():
                other.close(CloseReason.KILLED)
                await trio.sleep_forever()
        await other.wait_closed()
        await (await sessions.start_session()).start_stream(talk)
        await sessions.drain(1)


async def go_on_regardless(run: Run) -> None:
    """Does the like in steps, and after the interrupt goes on with the next as if nothing had been."""

    @contextmanager
    def step() -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            pass
        except BaseExceptionGroup as exc:
            if (rest := exc.split(KeyboardInterrupt)[1]) is not None:
                raise rest from None
        check_counts(sessions)

    async with trio.open_nursery() as nursery:
        # Not open_session_manager(), whose block would end with the interrupt of any of its tasks.
        sessions = run.sessions = SessionManager(nursery, instruments=(run.recorder,))
        watcher = sessions.watch(buffer=1)
        with step():
            async with sessions.open_session() as session:
                async with session.open_stream() as stream:
                    with step():
                        await stream.send(b"a")
                    with step():
                        stream.send_nowait(b"b")
                    with step():
                        stream.touch()
                    with step():
                        session.touch()
                    with step():
                        async with session.open_reader(stream.id) as reader:
                            # A send that was interrupted may have sent nothing, but not half of something.
                            assert stream.metadata.event_count == stream.log.last
                            with step(), trio.move_on_after(1):
                                assert (await reader.receive()).seq == 1
                            position = reader.position.seq
                            with step(), trio.move_on_after(1):
                                # What was interrupted on its way out counts as received, and what comes is next.
                                assert (await reader.receive_some())[0].seq == position + 1
                            with step():
                                reader.stop()
                            with step():
                                reader.end(CloseReason.SLOW_READER)
                            with step():
                                reader.close()
                    with step():
                        stream.send_nowait(b"c", last=True)
                    with step():
                        stream.log.discard()
                    with step():
                        stream.cancel()
                registered = []
                for _ in range(3):
                    with step():
                        registered.append(sessions.streams.register_stream(session.id))
                for end in (sessions.streams.unregister_stream, sessions.streams.cancel_stream):
                    with step(), suppress(IndexError, UnknownStreamError):
                        end(session.id, registered.pop())
                with step():
                    await trio.sleep(1)
                with step():
                    sessions.streams.cleanup_inactive_streams(0.5)
                with step():
                    scope = trio.CancelScope()
                    scoped = sessions.streams.register_stream(session.id, scope=scope)
                    with step():
                        session.close()
                    # Half a close would be worse than none: neither would the next one end what is left.
                    session.close()
                    assert scope.cancel_called
                    sessions.streams.unregister_stream(session.id, scoped)
        with step(), trio.move_on_after(1):
            await watcher.receive()
        with step():
            watcher.close()
        with step():
            async with sessions.open_session():
                with step():
                    sessions.close()
                sessions.close()
                await trio.sleep_forever()
        sessions.close()
        # No task of another's is in the way, so this takes no time but that of the registered streams.
        for stream_metadata in sessions.streams.list_streams():
            sessions.streams.unregister_stream(stream_metadata.session_id, stream_metadata.stream_id)
        with trio.fail_after(100):
            await sessions.wait_closed()


def check_counts(sessions: SessionManager) -> None:
    """Check that the counts are right also while something is open."""
    statistics = sessions.statistics()
    assert statistics.opened_sessions == statistics.open_sessions + sum(statistics.closed_sessions.values())
    streams = statistics.streams
    assert streams.opened_streams == streams.open_streams + sum(streams.closed_streams.values())
    registry = sessions.streams._registry
    assert set(registry._by_activity) == {stream for stream in registry.streams.values() if stream.reason is None}
    assert registry.working == sum(stream.holds_session for stream in registry.streams.values())
    for session in registry.sessions.values():
        assert isinstance(session.owner, Session)
        holds = len(session.owner._readers.attached)
        assert session.owner._idle.holds == holds + sum(stream.holds_session for stream in session.streams)
    log = sessions.streams.log
    assert isinstance(log, streamscope.MemoryEventLog)
    kept = [stream.window.size for session_logs in log._kept.sessions.values() for stream in session_logs.values()]
    assert log.statistics().bytes == sum(kept)


# Running them


def interrupt(program: Program, tried: set[Point]) -> bool:
    """Run a program once, with an interrupt at a new point; return whether there was one."""
    interrupter, run = Interrupter(tried), Run()

    async def main() -> None:
        with interrupter.armed():
            await program(run)

    came_out: list[BaseException] = []
    try:
        simulate(main)
    except BaseException as exc:  # noqa: ASYNC103 - it is looked at instead
        came_out = leaves(exc)
    try:
        if wrong := [exc for exc in came_out if not isinstance(exc, KeyboardInterrupt)]:
            raise BaseExceptionGroup("not only the interrupt came out", wrong)
        if run.sessions is not None:
            check_nothing_left(run.sessions, run.recorder)
    except BaseException as exc:
        exc.add_note(f"After Ctrl-C at {interrupter.where}." if interrupter.point else "Without any Ctrl-C.")
        raise
    return interrupter.point is not None


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep out of the report what is logged of interrupted bodies."""
    logging.getLogger("streamscope").disabled = True
    yield
    logging.getLogger("streamscope").disabled = False


@pytest.mark.parametrize("program", [open_everything, go_on_regardless])
def test_ctrl_c_leaves_nothing_behind(program: Program, quiet: None) -> None:
    tried: set[Point] = set()
    interrupts = 0
    while interrupt(program, tried):
        interrupts += 1
    # Else the trace function has found nothing, and this was no test.
    assert interrupts > 200
