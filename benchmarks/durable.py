"""What durability costs: the log on SQLite beside SQLite alone, on the same disk.

Appending: 64 streams, each event acknowledged when it is on the disk, beside a
loop without streams, tasks or readers, which commits 256 events at a time. Its
table and its settings are the same. Once a stream's producer waits where the
log's queue is full, and at the end; once for each of its events, so that no
more than 64 are under way, which is what a loop that commits 64 can do at best.

Replaying: 500 events of a stream that no memory holds, by a reader that comes
back, beside one query for all of them, and beside that query with an `Event`
made of each row: making these takes almost as long as the query itself. The rest
is the way into a thread and back, without which a slow disk would stop
everything else, and a checkpoint for each 64 events, so that others have a turn.

Figures are seconds on the wall, as most of it is waiting for the disk. A busy
disk changes them by a factor of two and more; only ratios can be compared.
"""

from __future__ import annotations

import itertools
import sqlite3
import sys
import tempfile
import time
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
REPLAY_BOUND = 1 / 3


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
            loop = f"bare loop, commits of {BATCH}"
            subjects = {
                loop: bare_appends(database, 0, count, BATCH),
                f"bare loop, commits of {STREAMS}": bare_appends(database, STREAMS, count, STREAMS),
                "log, producers wait where it is full": appends(streams, count, each=False),
                "log, producers wait for each event": appends(streams, count, each=True),
            }
            taken = await take_turns("appends", subjects, rounds)
    speeds = {name: 1 / taken.ratio(name, loop) for name in subjects}
    print_table(
        f"Durable appends to {STREAMS} streams: median of {rounds} rounds of {count:,}",
        ("who appends", "events/s", "of the loop"),
        [(name, f"{count / taken.median(name):,.0f}", f"{speed:.2f}") for name, speed in speeds.items()],
    )
    return speeds["log, producers wait where it is full"]


async def measure_replay(directory: Path, rounds: int) -> float:
    """Print a table; return how fast a reader is, as a part of the query's speed."""
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
        turns = itertools.cycle([one.id, other.id])
        with closing(sqlite3.connect(path, isolation_level=None)) as database:

            async def query() -> float:
                await trio.lowlevel.checkpoint()
                begin = time.perf_counter()
                rows = database.execute("SELECT seq, data FROM events WHERE stream = 1 ORDER BY seq").fetchall()
                assert len(rows) == REPLAY
                return time.perf_counter() - begin

            async def query_events() -> float:
                await trio.lowlevel.checkpoint()
                begin = time.perf_counter()
                rows = database.execute("SELECT seq, data FROM events WHERE stream = 1 ORDER BY seq").fetchall()
                assert len([Event(seq, data) for seq, data in rows]) == REPLAY
                return time.perf_counter() - begin

            async def replay() -> float:
                seen = 0
                begin = time.perf_counter()
                async with session.open_reader(next(turns)) as reader:
                    while not reader.finished:
                        seen += len(await reader.receive_some())
                assert seen == REPLAY
                return time.perf_counter() - begin

            subjects = {
                "query, fetchall": query,
                "query, fetchall, an Event of each row": query_events,
                "log, EventReader": replay,
            }
            taken = await take_turns("replay", subjects, rounds)
    speeds = {name: 1 / taken.ratio(name, "query, fetchall") for name in subjects}
    print_table(
        f"Replay of {REPLAY} events: median of {rounds} rounds",
        ("who reads", "ms", "of the query"),
        [(name, f"{taken.median(name) * 1e3:.2f}", f"{speed:.2f}") for name, speed in speeds.items()],
    )
    return 1 / taken.ratio("log, EventReader", "query, fetchall, an Event of each row")


def main() -> None:
    short = quick(__doc__)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        append_speed = trio.run(measure_appends, directory, BATCH * (16 if short else 64), 5 if short else 15)
        replay_speed = trio.run(measure_replay, directory, 30 if short else 200)
    kept = judge(
        f"the log appends at {APPEND_BOUND:g} of the bare loop's speed at least: {append_speed:.2f}",
        append_speed >= APPEND_BOUND,
    )
    kept &= judge(
        f"it replays at {REPLAY_BOUND:.2f} of the speed of a query for events at least: {replay_speed:.2f}",
        replay_speed >= REPLAY_BOUND,
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
