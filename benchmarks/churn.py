"""Sessions that come and go leave nothing behind: 100,000 of them, with three streams each.

A third is left by its own block, a third is cancelled from outside, a third is
idle for too long. Afterwards every count must be zero, and as much memory in
use as before: first by the number of blocks that Python's allocator has given
out, which costs nothing to ask, then, with fewer sessions, by their bytes.

A last table says what one open session and one open stream take.
"""

from __future__ import annotations

import gc
import math
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Final, NamedTuple

import trio
import trio.testing
from _timing import Progress, judge, print_table, quick
from trio.testing import MockClock

from streamscope import CloseReason, MemoryEventLog, Session, SessionManager, Stream, open_session_manager

STREAMS: Final = 3
BATCH: Final = 100
"""Sessions that are open at the same time."""

WARM_UP: Final = 12
"""Batches before it counts: the manager remembers the last thousand sessions, and Python keeps some memory at hand."""

PRINCIPALS: Final = ("alice", "bob", "carol")
IDLE: Final = 60.0
EVENT: Final = b"x" * 100

# -- Three ways to end --------------------------------------------------------------------------------


async def run_forever(stream: Stream) -> None:
    stream.send_nowait(EVENT)
    await trio.sleep_forever()


async def leave(sessions: SessionManager, _clock: MockClock) -> None:
    """Have tasks each run a session and its streams in blocks, and leave the blocks."""

    async def client() -> None:
        async with sessions.open_session(principal=PRINCIPALS[0]) as session, AsyncExitStack() as stack:
            for _ in range(STREAMS):
                stream = await stack.enter_async_context(session.open_stream())
                await stream.send(EVENT)

    async with trio.open_nursery() as nursery:
        for _ in range(BATCH):
            nursery.start_soon(client)


async def cancel(sessions: SessionManager, _clock: MockClock) -> None:
    """Have tasks each run a session, start its streams and wait, in a scope around it all; then cancel that scope."""

    async def client(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with sessions.open_session(principal=PRINCIPALS[1]) as session:
                for _ in range(STREAMS):
                    await session.start_stream(run_forever)
                task_status.started(scope)
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        scopes: list[trio.CancelScope] = [await nursery.start(client) for _ in range(BATCH)]
        for scope in scopes:
            scope.cancel()


async def idle(sessions: SessionManager, clock: MockClock) -> None:
    """Start sessions and their streams, none of which keeps its session from being idle; then let time pass."""
    started: list[Session] = []
    for _ in range(BATCH):
        session = await sessions.start_session(principal=PRINCIPALS[2])
        for _ in range(STREAMS):
            await session.start_stream(run_forever, holds_session=False)
        started.append(session)
    clock.jump(IDLE)
    for session in started:
        await session.wait_closed()


WAYS: Final[dict[CloseReason, tuple[str, Callable[[SessionManager, MockClock], Awaitable[None]]]]] = {
    CloseReason.COMPLETED: ("left by its block", leave),
    CloseReason.CANCELLED: ("cancelled from outside", cancel),
    CloseReason.IDLE: ("ended by its idle deadline", idle),
}

# -- Counts and memory --------------------------------------------------------------------------------


def count(sessions: SessionManager) -> dict[str, int]:
    """Count what is open, of streamscope's and of Trio's."""
    statistics = sessions.statistics()
    log = sessions.streams.log.statistics()
    return {
        "sessions": statistics.open_sessions,
        "sessions of a principal": sum(len(sessions.list_sessions(principal=name)) for name in PRINCIPALS),
        "streams": statistics.streams.open_streams,
        "streams in the event log": log.streams,
        "bytes in the event log": log.bytes,
        "tasks": len(sessions.nursery.child_tasks),
        "deadlines": int(trio.lowlevel.current_statistics().seconds_to_next_deadline != math.inf),
    }


async def settle(clock: MockClock) -> None:
    """Wait until nothing is under way and nothing is kept that nobody needs."""
    # Trio keeps deadlines that were taken back until their time has come, or a thousand are there.
    clock.jump(10 * IDLE)
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()


class Meter(NamedTuple):
    """A way to measure the memory that is in use."""

    unit: str
    in_use: Callable[[], int]
    bound: float
    """By how many units that may grow per session. Were one object left of each, it would grow by more."""


def traced() -> int:
    return tracemalloc.get_traced_memory()[0]


BLOCKS: Final = Meter("blocks of memory", sys.getallocatedblocks, bound=0.05)
BYTES: Final = Meter("bytes", traced, bound=16.0)


async def churn(sessions: SessionManager, batches: int, meter: Meter, clock: MockClock) -> bool:
    """Open and close sessions, and compare before with after.

    Args:
        sessions: A session manager.
        batches: The number of batches that end in each way.
        meter: What measures the memory.
        clock: The clock of the event loop.
    """
    rows: list[tuple[str, ...]] = []
    nothing_left = True
    most = -math.inf
    progress = Progress("sessions", (WARM_UP + batches) * BATCH * len(WAYS))
    for reason, (title, way) in WAYS.items():
        for _ in range(WARM_UP):
            await way(sessions, clock)
            progress.advance(BATCH)
        await settle(clock)
        seen = sessions.statistics().closed_sessions[reason]
        before = meter.in_use()
        begin = time.process_time()
        for _ in range(batches):
            await way(sessions, clock)
            progress.advance(BATCH)
        taken = time.process_time() - begin
        closed = sessions.statistics().closed_sessions[reason] - seen
        assert closed == batches * BATCH, f"{closed} sessions ended as {reason}"
        await settle(clock)
        after = meter.in_use()
        growth = (after - before) / closed
        most = max(most, growth)
        left = sum(count(sessions).values())
        nothing_left = nothing_left and not left
        rows.append(
            (
                title,
                f"{closed:,}",
                f"{closed * STREAMS:,}",
                f"{left}",
                f"{before:,}",
                f"{after:,}",
                f"{growth:.4f}",
                f"{taken / closed * 1e6:,.0f}",
            )
        )
    print_table(
        f"Sessions opened and closed; what is left of them; {meter.unit} in use; CPU time",
        ("each was", "sessions", "streams", "left", "before", "after", "growth/session", "µs/session"),
        rows,
    )
    print("\nLeft are " + ", ".join(f"{value} {name}" for name, value in count(sessions).items()) + ".")
    return all(
        (
            judge("nothing is left of any session", nothing_left),
            judge(
                f"what is in use grows by less than {meter.bound:g} {meter.unit} per session: {most:.4f}",
                most < meter.bound,
            ),
        )
    )


async def run(batches: int, meter: Meter, clock: MockClock) -> bool:
    kept = False
    async with open_session_manager(idle_timeout=IDLE) as sessions:
        kept = await churn(sessions, batches, meter, clock)
    return kept  # noqa: RET504 - a context manager may end its block early, as far as a type checker knows


# -- What is open takes memory ------------------------------------------------------------------------


async def weigh(number: int) -> list[tuple[str, str]]:
    """Measure the bytes per open thing, with so many open."""
    weights: list[tuple[str, str]] = []

    @contextmanager
    def weighing(what: str) -> Generator[None]:
        gc.collect()
        before = traced()
        yield
        gc.collect()
        weights.append((what, f"{(traced() - before) / number:,.0f}"))

    async def sleep_in_scope(task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope():
            task_status.started()
            # It would keep alive the nursery in which the task was started.
            del task_status
            await trio.sleep_forever()

    async def sleep(_: Stream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with weighing("floor: a sleeping task in a bare CancelScope"):
            for _ in range(number):
                await nursery.start(sleep_in_scope)
        nursery.cancel_scope.cancel()

    # Hardly any stream that has ended is kept, so that each kind is weighed alone.
    log = MemoryEventLog(max_finished=1)
    async with open_session_manager(log=log, max_sessions=math.inf, max_streams_per_session=math.inf) as sessions:
        with weighing("an idle session of start_session()"):
            for _ in range(number):
                await sessions.start_session()
        async with sessions.open_session() as session:
            with weighing("a stream of start_stream() whose body sleeps"):
                for _ in range(number):
                    await session.start_stream(sleep)
            async with AsyncExitStack() as stack:
                with weighing("a stream of open_stream(), in a task that is there anyway"):
                    for _ in range(number):
                        await stack.enter_async_context(session.open_stream())
            with weighing("a stream of register_stream(), without a scope"):
                for _ in range(number):
                    sessions.streams.register_stream(session.id)
            for stream_id in session.streams[-number:]:
                sessions.streams.unregister_stream(session.id, stream_id)
    return weights


def main() -> None:
    short = quick(__doc__)
    clock = MockClock()
    kept = [trio.run(run, 20 if short else 334, BLOCKS, clock, clock=clock)]
    # The least that it can note of each allocation, yet everything takes several times as long.
    tracemalloc.start(1)
    kept.append(trio.run(run, 20 if short else 40, BYTES, clock, clock=clock))
    print_table("What is open, bytes of memory for each", ("", "bytes"), trio.run(weigh, 1_000))
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
