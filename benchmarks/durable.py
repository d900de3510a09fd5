"""What durability costs: the log on SQLite beside SQLite alone, on the same disk.

Appending: 64 streams, each event acknowledged when it is on the disk, beside a
loop without streams, tasks or readers, which commits 256 events at a time. Its
table and its settings are the same. Once a stream's producer waits where the
log's queue is full, and at the end; once for each of its events, so that no
more than 64 are under way, which is what a loop that commits 64 can do at best.

Replaying: 500 events of a stream to a reader that comes back, beside one query
for all of them, and beside that query with an `Event` made of each row. Once the
log has them in memory, as it has the newest of each stream, and once it has not,
as after a restart. Then there is the way into a thread and back, too, without
which a slow disk would stop everything else. A reader that takes 64 events at a
time has a checkpoint for each 64, so that others have a turn.

Figures of appends are seconds on the wall, as most of it is waiting for the disk.
A busy disk changes them by a factor of two and more; only ratios can be compared.
Those of replays are CPU time, of all threads: SQLite has it all in memory then. On
a busy machine, a thread waits for its turn before it can read, however short that is.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections import deque
from contextlib import closing
from pathlib import Path

import trio
from _timing import Subject, judge, print_table, quick, take_turns

from streamscope import Event, SessionId, StreamId, open_session_manager
from streamscope.abc import StreamLog
from streamscope.log import open_sqlite_log

EVENT = b"x" * 320
STREAMS = 64
BATCH = 256
REPLAY = 500
APPEND_BOUND = 0.6
REPLAY_BOUND = 0.5
REPLAY_FROM_DISK_BOUND = 1 / 3


def open_bare(path: Path) -> sqlite3.Connection:
    """Open a database as the log does, with its table of events."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(
        "CREATE TABLE events (stream INTEGER, seq INTEGER, data BLOB NOT NULL, PRIMARY KEY (stream, seq)) WITHOUT ROWID"
    )
    return database


def bare_appends(database: sqlite3.Connection, offset: int, count: int, batch: int) -> Subject:
    """Return the subject "a loop over SQLite that appends ``count`` events, and commits every ``batch``".

    It uses the 64 streams that follow number ``offset``.
    """
    done = 0

    async def measure() -> float:
        nonlocal done
        await trio.lowlevel.checkpoint()
        begin = time.perf_counter()
        for first in range(done, done + count, batch):
            database.execute("BEGIN IMMEDIATE")
            rows = [(offset + number % STREAMS, number // STREAMS, EVENT) for number in range(first, first + batch)]
            database.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
        done += count
        return time.perf_counter() - begin

    return measure


def appends(streams: list[StreamLog], count: int, *, each: bool) -> Subject:
    """Return the subject "the log appends ``count`` events".

    Args:
        streams: Where to.
        count: How many in all.
        each: Whether producers wait for each event.
    """

    async def produce(stream: StreamLog) -> None:
        for number in range(count // len(streams) - 1):
            try:
                if each:
                    await stream.append(EVENT)
                else:
                    stream.append_nowait(EVENT)
                    if number % 16 == 0:
                        await trio.lowlevel.checkpoint()
            except trio.WouldBlock:
                await stream.append(EVENT)
        await stream.append(EVENT)

    async def measure() -> float:
        begin = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(produce, stream)
        return time.perf_counter() - begin

    return measure


async def measure_appends(directory: Path, count: int, rounds: int) -> float:
    """Print a table; return how fast the log is, as a part of the bare loop's speed."""
    session_id = SessionId.new()
    with closing(open_bare(directory / "bare.db")) as database:
        async with open_sqlite_log(
            directory / "log.db", max_events=10**6, max_bytes=2**34, max_stream_bytes=2**33
        ) as log:
            streams = [log.open_stream(session_id, StreamId.new()) for _ in range(STREAMS)]
            large, small = (f"bare loop, commits of {size}" for size in (BATCH, STREAMS))
            subjects = {
                large: bare_appends(database, 0, count, BATCH),
                small: bare_appends(database, STREAMS, count, STREAMS),
                "log, producers wait where it is full": appends(streams, count, each=False),
                "log, producers wait for each event": appends(streams, count, each=True),
            }
            taken = await take_turns("appends", subjects, rounds)
    speeds = {name: [1 / taken.ratio(name, loop) for loop in (large, small)] for name in subjects}
    print_table(
        f"Durable appends to {STREAMS} streams: median of {rounds} rounds of {count:,}",
        ("who appends", "events/s", f"of commits of {BATCH}", f"of commits of {STREAMS}"),
        [
            (name, f"{count / taken.median(name):,.0f}", *(f"{part:.2f}" for part in parts))
            for name, parts in speeds.items()
        ],
    )
    return speeds["log, producers wait where it is full"][0]


async def measure_replay(directory: Path, rounds: int) -> tuple[float, float]:
    """Print a table; return how fast a reader is with events in memory, and without, as parts of the query's speed."""
    path = directory / "replay.db"
    async with (
        # Enough for the events of one stream, so that those of the other are gone when it is their turn.
        open_sqlite_log(path, max_recent_bytes=REPLAY * len(EVENT)) as log,
        open_session_manager(log=log) as sessions,
        sessions.open_session() as session,
        session.open_stream() as one,
        session.open_stream() as other,
    ):
        for stream in (one, other):
            for number in range(REPLAY):
                stream.send_nowait(EVENT, last=number == REPLAY - 1)
            async with session.open_reader(stream.id) as reader:
                async for _ in reader:
                    pass
        # In memory is the one that was read last.
        turns = deque([other.id, one.id])
        with closing(sqlite3.connect(path, isolation_level=None)) as database:

            async def query() -> float:
                await trio.lowlevel.checkpoint()
                begin = time.process_time()
                rows = database.execute("SELECT seq, data FROM events WHERE stream = 1 ORDER BY seq").fetchall()
                assert len(rows) == REPLAY
                return time.process_time() - begin

            async def query_events() -> float:
                await trio.lowlevel.checkpoint()
                begin = time.process_time()
                rows = database.execute("SELECT seq, data FROM events WHERE stream = 1 ORDER BY seq").fetchall()
                assert len([Event(seq, data) for seq, data in rows]) == REPLAY
                return time.process_time() - begin

            def replay(limit: int, *, in_memory: bool) -> Subject:
                async def measure() -> float:
                    if not in_memory:
                        turns.rotate()
                    seen = 0
                    begin = time.process_time()
                    async with session.open_reader(turns[0]) as reader:
                        while not reader.finished:
                            seen += len(await reader.receive_some(limit))
                    assert seen == REPLAY
                    return time.process_time() - begin

                return measure

            subjects = {
                "query, fetchall": query,
                "query, fetchall, an Event of each row": query_events,
                "log, in memory": replay(REPLAY, in_memory=True),
                "log, in memory, 64 at a time": replay(64, in_memory=True),
                "log, not in memory": replay(REPLAY, in_memory=False),
                "log, not in memory, 64 at a time": replay(64, in_memory=False),
            }
            # Nothing here makes garbage that only the collector finds, and all that is in the processor's caches
            # would be gone behind it.
            taken = await take_turns("replay", subjects, rounds, collect=False)
    speeds = {name: 1 / taken.ratio(name, "query, fetchall") for name in subjects}
    print_table(
        f"Replay of {REPLAY} events, CPU time: median of {rounds} rounds",
        ("who reads", "ms", "of the query"),
        [(name, f"{taken.median(name) * 1e3:.2f}", f"{speed:.2f}") for name, speed in speeds.items()],
    )
    return speeds["log, in memory"], speeds["log, not in memory"]


def main() -> None:
    short = quick(__doc__)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        append_speed = trio.run(measure_appends, directory, BATCH * (16 if short else 64), 5 if short else 15)
        recent, stored = trio.run(measure_replay, directory, 30 if short else 200)
    kept = judge(
        f"the log appends at {APPEND_BOUND:g} of the bare loop's speed at least: {append_speed:.2f}",
        append_speed >= APPEND_BOUND,
    )
    kept &= judge(
        f"it replays what is in memory at {REPLAY_BOUND:g} of the speed of a query at least: {recent:.2f}",
        recent >= REPLAY_BOUND,
    )
    kept &= judge(
        f"and what is not, at {REPLAY_FROM_DISK_BOUND:.2f} of it at least: {stored:.2f}",
        stored >= REPLAY_FROM_DISK_BOUND,
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
