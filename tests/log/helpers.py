"""What the tests of the log on SQLite share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trio

from streamscope.abc import EventLog, StreamLog
from streamscope.log._sqlite import Barrier, SqliteEventLog


async def settle(log: EventLog) -> None:
    """Wait until everything that was appended so far is stored."""
    assert isinstance(log, SqliteEventLog)
    passed = trio.Event()
    log.submit(Barrier(passed))
    await passed.wait()


def limit_pages(log: EventLog, count: int) -> None:
    """Let the database have so many pages, as a disk has that is full; 0 for what it has now."""
    assert isinstance(log, SqliteEventLog)
    writer = log._database._writer
    (now,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {count or now}")


async def contents(stream: StreamLog) -> list[bytes]:
    """Read all events that there are, in as many batches as it takes."""
    data: list[bytes] = []
    while len(data) < stream.last - stream.first + 1:
        batch = await stream.read(stream.first - 1 + len(data), 1000)
        data += [event.data for event in batch.events]
    return data


def start(script: str, *args: object) -> subprocess.Popen[str]:
    """Run a script in a process of its own, with pipes to and from it."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def files(directory: Path) -> dict[str, bytes]:
    """The files in a directory, with what is in them."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
