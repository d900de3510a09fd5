"""Ctrl-C at every point: it leaves no scope open, nothing registered and no count that is wrong.

The signal is raised by a trace function, at the n-th line, call or return within the package, for
n = 1, 2, 3, … until the program comes to its end undisturbed. So every point is tried, and each failure
comes back when it is run again. Trio decides, as always, whether a `KeyboardInterrupt` is raised on the spot
or, where code is protected, at the main task's next checkpoint.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import pytest
import trio

import streamscope
from streamscope import (
    ChangesMissed,
    CloseReason,
    Session,
    SessionClosedError,
    SessionManager,
    Stream,
    UnknownStreamError,
    open_session_manager,
)
from tests.helpers import Recorder, check_nothing_left, leaves, simulate, sleep_shielded

_PACKAGE = str(Path(streamscope.__file__).parent)


@attrs.define
class Interrupter:
    """Presses Ctrl-C once, at the n-th point within the package."""

    at: int
    every: str
    """``"line"``, or ``"opcode"`` for many more points, some of them where no signal could come."""
    points: int = 0
    where: str = ""

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = self.every == "opcode"
        if event != self.every:
            # Other events are where no signal could come: when a coroutine parks, for one, and when it goes on.
            return self.trace
        self.points += 1
        if self.points == self.at:
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} ({event})"
            sys.settrace(None)
            # Trio's handler looks at the frames from here on outwards; this one says nothing.
            signal.raise_signal(signal.SIGINT)
        return self.trace

    @contextmanager
    def armed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


@attrs.define
class Run:
    """One run of a program, and what it leaves behind."""

    recorder: Recorder = attrs.Factory(Recorder)
    sessions: SessionManager | None = None
    interrupted: int = 0


Program = Callable[[Run], Awaitable[None]]


async def talk(stream: Stream) -> None:
    """A body that says something, and goodbye."""
    await stream.send(b"hello")
    try:
        await trio.sleep(3)
    finally:
        await sleep_shielded(1)
        with suppress(streamscope.StreamClosedError):
            stream.send_nowait(b"goodbye")


async def body(session: Session) -> None:
    await session.start_stream(talk)
    async with session.open_stream() as stream:
        stream.send_nowait(b"a")
        await trio.sleep(2)


async def open_everything(run: Run) -> None:
    """Opens, uses and ends sessions, streams and readers of all kinds, and lets every exception pass."""
    async with open_session_manager(instruments=(run.recorder,)) as sessions:
        run.sessions = sessions
        async with sessions.watch(buffer=1) as watcher, sessions.open_session(principal="alice") as session:
            async with session.open_stream(idle_timeout=10) as stream:
                await stream.send(b"a")
                stream.send_nowait(b"b")
                stream.touch()
                async with session.open_reader(stream.id) as reader:
                    await reader.receive()
                    await reader.receive_some()
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
        other = await sessions.start_session(body)
        with suppress(SessionClosedError):
            async with other.open_stream():
                other.close(CloseReason.KILLED)
                await trio.sleep_forever()
        await sessions.drain(1)


async def go_on_whatever_comes(run: Run) -> None:
    """Does the same in steps, and after an interrupt goes on with the next as if nothing had been."""

    @contextmanager
    def step() -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            run.interrupted += 1
        except BaseExceptionGroup as exc:
            rest = exc.split(KeyboardInterrupt)[1]
            if rest is not None:
                raise rest from None
            run.interrupted += 1
        check_counts(sessions)

    async with trio.open_nursery() as nursery:
        # No context manager of ours, for it would end with the interrupt that one of its tasks gets.
        sessions = run.sessions = SessionManager(nursery, instruments=(run.recorder,))
        watcher = sessions.watch(buffer=1)
        session = stream = None
        registered = []
        with step():
            session = await sessions.start_session()
        if session is None:
            sessions.close()
            await sessions.wait_closed()
            return
        with step():
            async with sessions.open_session() as own:
                async with own.open_stream() as stream:
                    with step():
                        await stream.send(b"a")
                    with step():
                        stream.send_nowait(b"b")
                    with step():
                        stream.touch()
                    with step():
                        own.touch()
                    with step():
                        async with own.open_reader(stream.id) as reader:
                            with step(), trio.move_on_after(1):
                                await reader.receive()
                            # A send that was interrupted may have sent nothing.
                            with step(), trio.move_on_after(1):
                                await reader.receive_some()
                            # Whatever was interrupted, it has neither lost nor doubled an event in the log.
                            with step():
                                reader.close()
                    with step():
                        stream.cancel()
                own.close()
        for _ in range(3):
            with step():
                registered.append(sessions.streams.register_stream(session.id))
        with step(), suppress(UnknownStreamError, IndexError):
            sessions.streams.unregister_stream(session.id, registered.pop())
        with step(), suppress(UnknownStreamError, IndexError):
            sessions.streams.cancel_stream(session.id, registered.pop())
        await trio.sleep(1)
        with step():
            sessions.streams.cleanup_inactive_streams(0.5)
        with step():
            with trio.move_on_after(1):
                await watcher.receive()
        with step():
            watcher.close()
        with step(), suppress(SessionClosedError):
            async with session.open_stream():
                session.close(CloseReason.KILLED)
                await trio.sleep_forever()
        with step():
            sessions.close()
        # Once more, for the one before may have been interrupted: what was begun must come to its end.
        session.close()
        sessions.close()
        with trio.fail_after(100):
            await sessions.wait_closed()


def check_counts(sessions: SessionManager) -> None:
    """Check that the counts are right also while something is open."""
    statistics = sessions.statistics()
    assert statistics.opened_sessions == statistics.open_sessions + sum(statistics.closed_sessions.values())
    streams = statistics.streams
    assert streams.opened_streams == streams.open_streams + sum(streams.closed_streams.values())
    registry = sessions.streams._registry
    assert set(registry._by_activity) == {s for s in registry.streams.values() if s.reason is None}
    assert registry.working == sum(stream.holds_session for stream in registry.streams.values())


def interrupt(program: Program, at: int, every: str) -> tuple[Interrupter, Run]:
    """Run a program once, with an interrupt at a point."""
    interrupter, run = Interrupter(at, every), Run()

    async def main() -> None:
        with interrupter.armed():
            await program(run)

    came_out: BaseException | None = None
    try:
        simulate(main)
    except BaseException as exc:
        came_out = exc
    finally:
        sys.settrace(None) if False else None
    wrong = [leaf for leaf in leaves(came_out) if not isinstance(leaf, KeyboardInterrupt)]
    if wrong:
        raise BaseExceptionGroup(f"after an interrupt at point {at}, {interrupter.where}", wrong)
    if run.sessions is not None:
        try:
            check_nothing_left(run.sessions, run.recorder)
        except AssertionError as exc:
            raise AssertionError(f"after an interrupt at point {at}, {interrupter.where}") from exc
    return interrupter, run


if __name__ == "__main__":
    import time
    for program in (open_everything, go_on_whatever_comes):
        for every in ("line", "opcode"):
            t = time.time()
            i, r = interrupt(program, 0, every)
            print(program.__name__, every, i.points, time.time() - t)
    failed = {}
    program = globals()[sys.argv[1]]; every = sys.argv[2]; stride = int(sys.argv[3])
    t = time.time(); n = 1; runs = 0
    while True:
        try:
            i, r = interrupt(program, n, every)
            if not i.where:
                break
        except BaseException as exc:
            key = str(exc).split(", ", 1)[1] if ", " in str(exc) else str(exc)
            key += " " + repr([l for l in leaves(exc)])[:200]
            failed.setdefault(key, exc)
        n += stride; runs += 1
    print(runs, "runs", time.time() - t)
    for k in failed: print(k)
