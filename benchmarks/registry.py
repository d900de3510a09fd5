"""What the registry's operations cost, beside floors measured in the same run.

The first table holds the operations that a server does per request and per
event. A floor is the least that could do the same: what Trio or a dict alone costs.

The other tables hold `StreamManager.cleanup_inactive_streams`, which must cost
the same however many streams are open: streams are kept in the order of their
last activity, so a clean-up looks at those that it ends and at one more.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from _cleanup import measure_clean_up
from _timing import Subject, judge, print_table, quick, take_turns
from trio.testing import MockClock

from streamscope import Limits, Session, SessionId, SessionManager, Stream, StreamManager, open_session_manager
from streamscope._registry import Registry

EVENT = b"x" * 100
BOUND = 1.5


def repeat(times: int, function: Callable[[], Awaitable[object]]) -> Subject:
    """Return the subject "one call of ``function``", awaited ``times`` times in a row."""

    async def measure() -> float:
        begin = time.process_time()
        for _ in range(times):
            await function()
        return (time.process_time() - begin) / times

    return measure


def repeat_sync(times: int, function: Callable[[], object]) -> Subject:
    """Return the subject "one call of ``function``", called ``times`` times in a row."""

    async def measure() -> float:
        await trio.lowlevel.checkpoint()
        begin = time.process_time()
        for _ in range(times):
            function()
        return (time.process_time() - begin) / times

    return measure


def floors(times: int, nursery: trio.Nursery) -> dict[str, Subject]:
    """Return what is measured without streamscope."""
    records: dict[uuid.UUID, object] = {}
    events: list[bytes] = []
    by_activity: OrderedDict[object, None] = OrderedDict.fromkeys(object() for _ in range(100))
    newest = next(iter(by_activity))

    async def scope() -> None:
        with trio.CancelScope():
            await trio.lowlevel.checkpoint()

    def row() -> None:
        key = uuid.uuid4()
        records[key] = None
        del records[key]

    def move() -> None:
        by_activity.move_to_end(newest)

    def append() -> None:
        events.append(EVENT)
        trio.current_time()
        events.clear()

    async def run(task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC124 - a task that has nothing to wait for
        task_status.started()

    async def start() -> None:
        await nursery.start(run)

    async def run_in_scope(over: trio.Event, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await trio.sleep_forever()
        over.set()

    async def start_and_cancel() -> None:
        over = trio.Event()
        scope: trio.CancelScope = await nursery.start(run_in_scope, over)
        scope.cancel()
        await over.wait()

    return {
        "checkpoint, bare CancelScope": repeat(times, scope),
        "uuid4, dict insert and delete": repeat_sync(times, row),
        "OrderedDict.move_to_end": repeat_sync(times, move),
        "list.append, trio.current_time": repeat_sync(times, append),
        "checkpoint": repeat(times, trio.lowlevel.checkpoint),
        "nursery.start to the task's end": repeat(times, start),
        "nursery.start, cancel, wait": repeat(times, start_and_cancel),
    }


def operations(times: int, sessions: SessionManager, session: Session, stream: Stream) -> dict[str, Subject]:
    """Return what is measured of streamscope."""
    alone = StreamManager()
    name = SessionId.new()
    # Without it, the name of the session would come and go with each of the others.
    alone.register_stream(name)
    registry = Registry(Limits())
    record = registry.admit_stream(name, now=0.0, wall=0.0)

    async def open_stream_alone() -> None:
        async with alone.open_stream(name):
            pass

    async def open_stream() -> None:
        async with session.open_stream():
            pass

    def register() -> None:
        alone.unregister_stream(name, alone.register_stream(name))

    def record_event() -> None:
        registry.record_event(record, len(EVENT), 0.0)

    def send_nowait() -> None:
        stream.send_nowait(EVENT)

    async def send() -> None:
        await stream.send(EVENT)

    async def body(_: Stream) -> None: ...

    async def start_stream() -> None:
        await session.start_stream(body)

    async def start_session() -> None:
        started = await sessions.start_session()
        started.close()
        await started.wait_closed()

    return {
        "StreamManager.open_stream, enter and exit": repeat(times, open_stream_alone),
        "Session.open_stream, enter and exit": repeat(times, open_stream),
        "register_stream, unregister_stream": repeat_sync(times, register),
        "Registry.record_event": repeat_sync(times, record_event),
        "Stream.send_nowait": repeat_sync(times, send_nowait),
        "Stream.send": repeat(times, send),
        "Session.start_stream to the body's end": repeat(times, start_stream),
        "start_session, close, wait_closed": repeat(times, start_session),
    }


FLOORS = {
    "StreamManager.open_stream, enter and exit": "checkpoint, bare CancelScope",
    "Session.open_stream, enter and exit": "checkpoint, bare CancelScope",
    "register_stream, unregister_stream": "uuid4, dict insert and delete",
    "Registry.record_event": "OrderedDict.move_to_end",
    "Stream.send_nowait": "list.append, trio.current_time",
    "Stream.send": "checkpoint",
    "Session.start_stream to the body's end": "nursery.start to the task's end",
    "start_session, close, wait_closed": "nursery.start, cancel, wait",
}


async def measure_operations(times: int, rounds: int) -> None:
    async with (
        open_session_manager() as sessions,
        # Without a stream: the first keeps a session from being idle, and costs more than the next.
        sessions.open_session() as session,
        sessions.open_session() as busy,
        busy.open_stream() as stream,
    ):
        subjects = floors(times, sessions.nursery) | operations(times, sessions, session, stream)
        taken = await take_turns("operations", subjects, rounds)
        print_table(
            f"One operation, CPU time: median of {rounds} rounds of {times:,}",
            ("operation", "µs", "floor", "µs", "ratio"),
            [
                (
                    name,
                    f"{taken.median(name) * 1e6:.2f}",
                    floor,
                    f"{taken.median(floor) * 1e6:.2f}",
                    f"{taken.ratio(name, floor):.1f}",
                )
                for name, floor in FLOORS.items()
            ],
        )


def main() -> None:
    short = quick(__doc__)
    large, rounds = (100_000, 7) if short else (1_000_000, 25)
    trio.run(measure_operations, 500 if short else 2_000, rounds)
    clock = MockClock()
    ratio = trio.run(partial(measure_clean_up, large, rounds, clock, scattered=False), clock=clock)
    scattered = trio.run(partial(measure_clean_up, large, rounds, clock, scattered=True), clock=clock)
    print(
        f"\nIn random order, the clean-ups of the two sizes differ by a factor of {scattered:.2f}: "
        "what is ended lies all over the memory,\nwhere the processor's caches do not reach. "
        "In order, what the code costs is left."
    )
    kept = judge(
        f"the clean-ups of the two sizes differ by a factor of less than {BOUND:g}: {ratio:.2f}", ratio < BOUND
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
