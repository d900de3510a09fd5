"""What ending inactive streams costs, which must not depend on how many are open: the second half of registry.py."""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from typing import Final

import trio
from _timing import Progress, Subject, print_table, take_turns
from trio.testing import MockClock

from streamscope import SessionId, StreamManager

BATCH: Final = 1_000
"""Streams that a clean-up ends."""


class Population:
    """Open streams, the same number at all times, in batches that were active a second apart.

    Args:
        size: The number of streams.
        clock: The clock of the event loop.
        scattered: Whether they were active in random order, not in the one in which they were opened.
    """

    def __init__(self, size: int, clock: MockClock, *, scattered: bool) -> None:
        self.size = size
        self.name = f"{size:,}"
        self._clock = clock
        self._streams = StreamManager()
        self._batches: deque[float] = deque()
        progress = Progress(f"registering {size:,} streams", size)
        for _ in range(0, size, BATCH):
            self._register()
            progress.advance(BATCH)
        registry = self._streams._registry  # noqa: SLF001 - only a stream in a block can be touched otherwise
        records = list(registry.streams.values())
        if scattered:
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


async def measure_clean_up(large: int, rounds: int, clock: MockClock, *, scattered: bool) -> float:
    """Print what clean-ups cost; return the factor by which those of the two sizes differ."""
    few, many = (Population(size, clock, scattered=scattered) for size in (10_000, large))
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

    order = "in random order" if scattered else "in the order of their opening"
    print_table(
        f"Ending {BATCH:,} streams that were last active {order}, CPU time in ms, {rounds} rounds",
        ("streams open", "gc paused: median", "worst", "gc running: median", "worst"),
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
    ratio = taken.ratio(many.name, few.name)
    return max(ratio, 1 / ratio)
