"""Memory stays flat: a million events pass through a log that keeps eight megabytes of them.

This is done for the log in memory and for the one on SQLite, whose files must
stay as flat. Streams of three kinds share the log: most are short and end; some
say a little and are silent for long; a few go on and on, with a reader that
keeps up and one that is slow. Now and then somebody comes back to any of them,
at any position. Whatever a reader gets is checked: it is the event that follows
its position, or it is told that this one is no longer kept.

A hundred times a run, memory and files are measured. A figure is flat if its
median in the last quarter of the run is at most 5 % above that in the second; in
the first, the log becomes full. The script fails where one is not flat, or where
the log has ever kept more than it may.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, final

import attrs
import trio
from _curves import Panel, curves
from _report import environment
from _timing import Progress, judge, print_table

from streamscope import (
    Event,
    EventsExpiredError,
    MemoryEventLog,
    Session,
    Stream,
    StreamId,
    UnknownStreamError,
    open_session_manager,
)
from streamscope.abc import EventLog
from streamscope.log import open_sqlite_log

SAMPLES: Final = 100
MAX_GROWTH: Final = 1.05
BYTES_PER_EVENT: Final = 8
"""The log's budget, for each event of the run."""

_SHORT, _SILENT, _LONG, _COMING_BACK = 6, 50, 3, 3
_PAD: Final = bytes(range(256)) * 3
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@final
@attrs.frozen
class Sample:
    """What is there at one moment of a run; bytes, or numbers of."""

    sent: int
    resident: int
    blocks: int
    kept: int
    kept_events: int
    streams: int
    files: int


@final
@attrs.define
class Outcomes:
    """What readers met."""

    received: int = 0
    gaps: int = 0
    unknown: int = 0


@final
@attrs.define
class Told:
    """What is known of a stream that somebody may come back to."""

    stream_id: StreamId
    number: int
    sent: int = 0


@final
class Run:
    """One run: what is to be sent, who sends, who reads, and what was measured.

    Args:
        session: Where the streams are.
        log: Where their events are.
        path: The log's file, if it has one.
        total: The number of events.
    """

    def __init__(self, session: Session, log: EventLog, path: Path | None, total: int) -> None:
        self.samples: list[Sample] = []
        self.outcomes = Outcomes()
        self._session = session
        self._log = log
        self._path = path
        self._total = total
        self._sent = 0
        self._opened = 0
        self._sampled = trio.Event()
        self._told: deque[Told] = deque(maxlen=500)
        self._random = random.Random(total)
        self._progress = Progress(type(log).__name__, total)

    async def run(self) -> None:
        """Send all, and read some of it."""
        async with trio.open_nursery() as nursery:
            for count, actor in (
                (_SHORT, self._short),
                (_SILENT, self._silent),
                (_LONG, self._long),
                (_COMING_BACK, self._come_back),
            ):
                for _ in range(count):
                    nursery.start_soon(actor)

    @property
    def _over(self) -> bool:
        return self._sent >= self._total

    async def _short(self) -> None:
        while not self._over:
            async with self._session.open_stream() as stream:
                await self._send(stream, self._tell(stream), self._random.randint(1, 100))

    async def _silent(self) -> None:
        while not self._over:
            async with self._session.open_stream() as stream:
                told = self._tell(stream)
                await self._send(stream, told, self._random.randint(1, max(2, self._total // 4000)))
                for _ in range(self._random.randint(1, 5)):
                    await self._sampled.wait()
                await self._send(stream, told, 1)

    async def _long(self) -> None:
        while not self._over:
            async with trio.open_nursery() as nursery, self._session.open_stream() as stream:
                told = self._tell(stream)
                for slow in (False, True):
                    nursery.start_soon(partial(self._follow, told, slow=slow))
                while told.sent < 10_000 and not self._over:
                    await self._send(stream, told, 100)

    def _tell(self, stream: Stream) -> Told:
        self._opened += 1
        told = Told(stream.id, self._opened)
        self._told.append(told)
        return told

    async def _send(self, stream: Stream, told: Told, count: int) -> None:
        """Send so many events, and wait until they are stored."""
        for number in range(told.sent + 1, told.sent + count + 1):
            data = b"%d.%d." % (told.number, number) + _PAD[: self._random.randint(0, len(_PAD))]
            if number % 16 and number != told.sent + count:
                try:
                    stream.send_nowait(data)
                except trio.WouldBlock:
                    await stream.send(data)
            else:
                await stream.send(data)
        told.sent += count
        self._sent += count
        self._progress.advance(count)
        if self._sent * SAMPLES >= self._total * (len(self.samples) + 1):
            self._sample()
        if self._over:
            # Nobody is to wait for what will not come.
            self._sampled.set()

    async def _follow(self, told: Told, *, slow: bool) -> None:
        """Read a stream to its end."""
        after = 0
        while True:  # noqa: ASYNC913 - entering is a checkpoint, also when it refuses
            try:
                async with self._session.open_reader(told.stream_id, after=after) as reader:
                    while True:
                        after = self._check(told, await reader.receive_some(), after)
                        if slow and not self._over:
                            await self._sampled.wait()
            except trio.EndOfChannel:
                return
            except EventsExpiredError as exc:
                after = self._skip(exc, after)
            except UnknownStreamError:
                self.outcomes.unknown += 1
                return

    def _check(self, told: Told, events: Sequence[Event], after: int) -> int:
        """Make sure that these are the events that follow number ``after``; return the last one's number."""
        for number, event in enumerate(events, after + 1):
            assert event.seq == number
            assert event.data.startswith(b"%d.%d." % (told.number, number))
        self.outcomes.received += len(events)
        return events[-1].seq

    def _skip(self, gap: EventsExpiredError, after: int) -> int:
        """Make sure that events after number ``after`` are gone; return the number of the last one that is."""
        assert gap.first > after + 1
        self.outcomes.gaps += 1
        return gap.first - 1

    async def _come_back(self) -> None:
        while not self._over:
            told = self._random.choice(self._told) if self._told else None
            if told is not None:
                await self._resume(told, self._random.randint(0, told.sent))
            await trio.sleep(0.002)

    async def _resume(self, told: Told, after: int) -> None:
        """Read what follows an event, of what was there when that began."""
        upto = told.sent
        try:
            async with self._session.open_reader(told.stream_id, after=after) as reader:
                while after < upto:
                    after = self._check(told, await reader.receive_some(), after)
        except EventsExpiredError as exc:
            self._skip(exc, after)
        except UnknownStreamError:
            self.outcomes.unknown += 1

    def _sample(self) -> None:
        gc.collect()
        kept = self._log.statistics()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
        files = 0 if self._path is None else sum(_size(self._path, suffix) for suffix in ("", "-wal"))
        blocks = sys.getallocatedblocks()
        self.samples.append(Sample(self._sent, resident, blocks, kept.bytes, kept.events, kept.streams, files))
        self._sampled.set()
        self._sampled = trio.Event()


def _size(path: Path, suffix: str) -> int:
    return path.with_name(path.name + suffix).stat().st_size


async def measure(name: str, total: int) -> tuple[list[Sample], Outcomes]:
    """Run on one of the logs; return what was measured, and what readers met."""
    budget = total * BYTES_PER_EVENT
    bounds = {"max_bytes": budget, "max_stream_bytes": budget / 16, "max_finished": 1000.0}
    async with AsyncExitStack() as stack:
        path = None
        log: EventLog = MemoryEventLog(**bounds)
        if name == "sqlite":
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "events.db"
            log = await stack.enter_async_context(open_sqlite_log(path, max_recent_bytes=budget / 4, **bounds))
        sessions = await stack.enter_async_context(open_session_manager(log=log))
        session = await stack.enter_async_context(sessions.open_session())
        run = Run(session, log, path, total)
        await run.run()
    return run.samples, run.outcomes


def measure_in_a_process(name: str, total: int) -> tuple[list[Sample], Outcomes]:
    """Do as `measure` does. What another run has left in memory is not there."""
    # So that collecting garbage at each sample looks at the run's objects only.
    gc.freeze()
    return trio.run(measure, name, total)


def columns(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Return the samples figure by figure."""
    return {figure.name: [getattr(sample, figure.name) for sample in samples] for figure in attrs.fields(Sample)}


def growth(samples: Sequence[Sample], figure: str) -> float:
    """Return a figure's median in the last quarter, as a multiple of that in the second."""
    values: list[int] = [getattr(sample, figure) for sample in samples]
    quarter = len(values) // 4
    return statistics.median(values[-quarter:]) / statistics.median(values[quarter : 2 * quarter])


FIGURES: Final = {
    "resident": "resident memory, MiB",
    "blocks": "Python's memory blocks, thousands",
    "kept": "bytes kept by the log, MiB",
    "files": "database and write-ahead log, MiB",
}


def report(name: str, samples: Sequence[Sample], outcomes: Outcomes, total: int) -> tuple[bool, list[Panel]]:
    """Print how flat a run was; return whether all was, and what there is to plot."""
    figures = [figure for figure in FIGURES if any(getattr(sample, figure) for sample in samples)]
    units = {figure: 1e3 if figure == "blocks" else 2**20 for figure in figures}
    panels = [
        Panel(
            f"{name}: {FIGURES[figure]}",
            [(sample.sent, getattr(sample, figure) / units[figure]) for sample in samples],
        )
        for figure in figures
    ]
    grown = {figure: growth(samples, figure) for figure in figures}
    print_table(
        f"{total:,} events through the {name} log: {outcomes.received:,} were read, "
        f"readers met {outcomes.gaps:,} gaps, and {outcomes.unknown:,} streams that were forgotten",
        ("", "lowest", "highest", "growth"),
        [
            (
                FIGURES[figure],
                *(f"{edge([y for _, y in panel.points[len(samples) // 4 :]]):,.1f}" for edge in (min, max)),
                f"{grown[figure] - 1:+.1%}",
            )
            for figure, panel in zip(figures, panels, strict=True)
        ],
    )
    flat = judge(f"{name}: nothing grows by more than {MAX_GROWTH - 1:.0%}", max(grown.values()) <= MAX_GROWTH)
    budget = total * BYTES_PER_EVENT
    flat &= judge(f"{name}: the log keeps {budget:,} bytes at most", all(sample.kept <= budget for sample in samples))
    return flat, panels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    parser.add_argument("--events", type=int, default=1_000_000, help="how many events are sent to each log")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="where the results go")
    options = parser.parse_args()
    total = options.events // 10 if options.quick else options.events
    flat = True
    panels: list[list[Panel]] = []
    written = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        for name in ("memory", "sqlite"):
            samples, outcomes = processes.submit(measure_in_a_process, name, total).result()
            kept, some = report(name, samples, outcomes, total)
            flat &= kept
            panels.append(some)
            written[name] = {"outcomes": attrs.asdict(outcomes), "samples": columns(samples)}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "retention.json").write_text(
        json.dumps({"environment": environment(), "events": total, **written}) + "\n"
    )
    title = f"{total:,} events, of which {total * BYTES_PER_EVENT / 2**20:.1f} MiB are kept"
    (options.output / "retention.svg").write_text(curves(title, "events sent", panels))
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
