"""What the registry's operations cost, beside floors measured in the same run.

The first table holds the operations that a server does per request and per
event. A floor is the least that could do the same: what Trio or a dict alone costs.

The second table holds `StreamManager.cleanup_inactive_streams`, which must cost
the same however many streams are open: streams are kept in the order of their
last activity, so a clean-up looks at those that it ends and at one more.
"""

from __future__ import annotations

import gc
import random
import sys
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

import trio
from _timing import Progress, Rounds, Subject, judge, print_table, quick, take_turns
from trio.testing import MockClock

from streamscope import Limits, Session, SessionId, SessionManager, Stream, StreamManager, open_session_manager
from streamscope._registry import Registry

EVENT = b"x" * 100
BATCH = 1_000
"""Streams that a clean-up ends."""
BOUND = 1.5

# -- Operations ---------------------------------------------------------------------------------------


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


# -- Clean-up -----------------------------------------------------------------------------------------


class Population:
    """Open streams, the same number at all times, in batches that were active a second apart.

    Args:
        size: The number of streams.
        clock: The clock of the event loop.
    """

    def __init__(self, size: int, clock: MockClock) -> None:
        self.size = size
        self.name = f"{size:,}"
        self._clock = clock
        self._streams = StreamManager()
        self._batches: deque[float] = deque()
        progress = Progress(f"registering {size:,} streams", size)
        for _ in range(0, size, BATCH):
            self._register()
            progress.advance(BATCH)
        # Streams are not active in the order in which they came, and so are scattered all over
        # the memory when they expire. That is where many streams can cost more than few.
        registry = self._streams._registry  # noqa: SLF001 - only a stream in a block can be touched otherwise
        records = list(registry.streams.values())
        random.Random(size).shuffle(records)
        for begin in range(0, size, BATCH):
            self._next_batch()
            for record in records[begin : begin + BATCH]:
                registry.touch(record, trio.current_time())

    def _next_batch(self) -> None:
        self._clock.jump(1.0)
        self._batches.append(trio.current_time())

    def _register(self) -> None:
        session_id = SessionId.new()
        for _ in range(BATCH):
            # A scope that nobody is in: what Trio does to the task in it is not ours to measure.
            self._streams.register_stream(session_id, scope=trio.CancelScope())

    def clean_up(self) -> float:
        """End the batch that was active least, and put a new one in its place; return the CPU time of the former."""
        max_age = trio.current_time() - self._batches.popleft() - 0.5
        begin = time.process_time()
        ended = self._streams.cleanup_inactive_streams(max_age)
        taken = time.process_time() - begin
        assert len(ended) == BATCH
        for stream_id in ended:
            metadata = self._streams.get_metadata(stream_id)
            assert metadata is not None
            self._streams.unregister_stream(metadata.session_id, stream_id)
        self._next_batch()
        self._register()
        assert self._streams.statistics().open_streams == self.size
        return taken


async def cancel_bare_scopes() -> float:
    """Measure what of a clean-up is Trio's: cancelling as many scopes."""
    await trio.lowlevel.checkpoint()
    scopes = [trio.CancelScope() for _ in range(BATCH)]
    gc.disable()
    begin = time.process_time()
    for scope in scopes:
        scope.cancel(reason="stream ended: idle")
    taken = time.process_time() - begin
    gc.enable()
    return taken


def paused(population: Population) -> Subject:
    """Return the subject "one clean-up", with Python's garbage collector paused.

    The collector runs whenever so many objects were made, by whomever, and looks
    at all that there are, whoever owns them. Left on, it would now and then add
    the cost of looking at a million streams to a clean-up of either size.
    """

    async def measure() -> float:
        await trio.lowlevel.checkpoint()
        gc.disable()
        try:
            return population.clean_up()
        finally:
            gc.enable()

    return measure


def running(population: Population) -> Subject:
    """Return the subject "one clean-up", with Python's garbage collector as it comes."""

    async def measure() -> float:
        await trio.lowlevel.checkpoint()
        return population.clean_up()

    return measure


async def measure_clean_up(large: int, rounds: int, clock: MockClock) -> bool:
    few, many = Population(10_000, clock), Population(large, clock)
    subjects: dict[str, Subject] = {"floor": cancel_bare_scopes}
    for population in (few, many):
        subjects[population.name] = paused(population)
        subjects[f"{population.name}, collecting"] = running(population)
    # Nothing here makes garbage that only the collector finds, and a million streams take it a while.
    taken = await take_turns("clean-ups", subjects, rounds, collect=False)
    begin = time.process_time()
    gc.collect()
    collection = time.process_time() - begin

    def cells(name: str) -> tuple[str, str]:
        return f"{taken.median(name) * 1e3:.2f}", f"{taken.worst(name) * 1e3:.2f}"

    print_table(
        f"One clean-up that ends {BATCH:,} streams, CPU time in ms: median and worst of {rounds} rounds",
        ("streams open", "gc paused", "worst", "gc running", "worst"),
        [
            (population.name, *cells(population.name), *cells(f"{population.name}, collecting"))
            for population in (few, many)
        ]
        + [(f"floor: cancelling {BATCH:,} bare scopes", *cells("floor"), "", "")],
    )
    print(
        f"\nWith all of these streams open, a full run of the garbage collector takes {collection * 1e3:,.0f} ms. "
        "Python starts\none when the objects that it looks at have become a quarter more, "
        "in whatever code that happens."
    )
    return judge_clean_up(taken, few, many)


def judge_clean_up(taken: Rounds, few: Population, many: Population) -> bool:
    ratio = taken.ratio(many.name, few.name)
    ratio = max(ratio, 1 / ratio)
    print()
    return judge(
        f"the clean-ups of the two sizes differ by a factor of less than {BOUND:g}: {ratio:.2f}",
        ratio < BOUND,
    )


def main() -> None:
    short = quick(__doc__)
    trio.run(measure_operations, 500 if short else 2_000, 7 if short else 25)
    clock = MockClock()
    kept = trio.run(measure_clean_up, 100_000 if short else 1_000_000, 7 if short else 25, clock, clock=clock)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
