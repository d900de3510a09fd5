"""Opening a database: whose it is, whether it is whole, and what an earlier process has left in it.

Theory of operation. Nothing is written before all is known to be well. The lock
comes first: it is a transaction that stays open on a file of its own, as the
database itself must be open for a second connection, which reads. The operating
system takes the lock away from a process that dies, however it dies.

Streams that are open in the database belonged to a process that died. They get
their last will, and are finished, in one transaction, before anybody sees them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, final

import attrs

from .._ids import SessionId, StreamId
from ._database import Database, delete_discarded
from ._errors import (
    EventLogBusyError,
    EventLogCorruptError,
    EventLogForeignError,
    EventLogMissingError,
    EventLogOpenError,
    EventLogVersionError,
)

# In the header of the file, so that we know our own: "StSc".
_APPLICATION: Final = 0x53745363
VERSION: Final = 1
_MAX_WRITE_AHEAD: Final = 16 * 2**20
_SCHEMA: Final = f"""
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    stream_id TEXT NOT NULL,
    ended REAL,
    discarded INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (stream INTEGER, seq INTEGER, data BLOB NOT NULL, PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE wills (stream INTEGER, seq INTEGER, data BLOB NOT NULL, PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL UNIQUE,
    principal TEXT,
    connection_info TEXT,
    created_at TEXT NOT NULL,
    state BLOB NOT NULL
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {VERSION};
"""


@final
@attrs.frozen
class FoundStream:
    """A stream of an earlier process.

    Args:
        row: Its row.
        session_id: Its session.
        stream_id: Its identifier.
        ended: The time of day of its end.
        first: The number of its oldest event; 1 where there is none.
        count: Its events.
        size: Their bytes.
    """

    row: int
    session_id: SessionId
    stream_id: StreamId
    ended: float
    first: int
    count: int
    size: int


@final
@attrs.frozen
class Found:
    """What is in a database.

    Args:
        streams: The streams, the one that ended first first.
        sessions: The sessions that were saved, the one that was saved first first.
        next_row: The row of the next stream.
    """

    streams: list[FoundStream]
    sessions: list[SessionId]
    next_row: int


def open_database(path: str) -> tuple[Database, Found]:
    """Open a database, or make it, and bring it in order.

    Raises:
        EventLogOpenError: It cannot be opened.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)  # noqa: PTH120 - realpath() made a string of it
    if not os.path.isdir(directory):  # noqa: PTH112 - see above
        raise EventLogMissingError(path, f"there is no directory {directory!r}; make it first")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - see above
        raise EventLogMissingError(path, "it is no file")
    with _named(path), ExitStack() as stack:
        lock = stack.enter_context(closing(_connect(f"{path}-lock", timeout=0)))
        lock.execute("BEGIN EXCLUSIVE")
        writer = stack.enter_context(closing(_connect(path)))
        _prepare(path, writer)
        reader = stack.enter_context(closing(_connect(f"{Path(path).as_uri()}?mode=ro", uri=True)))
        found = _recover(writer)
        stack.pop_all()
        return Database(path, lock, writer, reader), found


def _connect(path: str, *, timeout: float = 5.0, uri: bool = False) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not always by the same one.
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri)


@contextmanager
def _named(path: str) -> Generator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "")
        match name.split("_")[1] if "_" in name else "":
            case "BUSY":
                cause = "another process, or another log of this one, has it open; give each process a log of its own"
                raise EventLogBusyError(path, cause) from None
            case "NOTADB":
                raise EventLogForeignError(path, "it is no SQLite database; choose another path") from None
            case "CORRUPT":
                raise _corrupt(path, str(exc)) from None
            case "CANTOPEN" | "READONLY" | "PERM" | "AUTH" | "IOERR" | "FULL":
                cause = f"{exc}; its directory must be writable, and on a local disk that has room"
                raise EventLogMissingError(path, cause) from None
            case _:
                raise


def _corrupt(path: str, what: str) -> EventLogOpenError:
    return EventLogCorruptError(
        path, f"it is damaged ({what}); move it away, with its -wal and -shm files, or put a copy in its place"
    )


def _pragma(connection: sqlite3.Connection, pragma: str) -> object:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return value


def _prepare(path: str, writer: sqlite3.Connection) -> None:
    """Make sure that the database is ours and whole; make the tables where there are none."""
    (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
    application, version = _pragma(writer, "application_id"), _pragma(writer, "user_version")
    is_new = not tables and not application and not version
    if not is_new and application != _APPLICATION:
        raise EventLogForeignError(path, "it is a database of something else; choose another path")
    if not is_new and version != VERSION:
        cause = f"it has format {version}, and this streamscope knows only {VERSION}; update, or choose another path"
        raise EventLogVersionError(path, cause)
    if (verdict := _pragma(writer, "quick_check(1)")) != "ok":
        raise _corrupt(path, str(verdict).splitlines()[-1])
    if _pragma(writer, "journal_mode = WAL") != "wal":
        raise EventLogMissingError(path, "its file system has no write-ahead log; choose a path on a local disk")
    # What was committed survives the machine, too, and not the process alone.
    writer.execute("PRAGMA synchronous = FULL")
    # It grows as long as somebody else reads, and would stay that large.
    writer.execute(f"PRAGMA journal_size_limit = {_MAX_WRITE_AHEAD}")
    if is_new:
        writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")


def _recover(writer: sqlite3.Connection) -> Found:
    """Finish what an earlier process has left, and list what there is."""
    writer.execute("BEGIN IMMEDIATE")
    delete_discarded(writer)
    writer.execute(
        "INSERT INTO events SELECT stream, seq + 1 + coalesce("
        "(SELECT max(seq) FROM events WHERE stream = wills.stream), 0), data FROM wills"
    )
    writer.execute("DELETE FROM wills")
    writer.execute("UPDATE streams SET ended = ? WHERE ended IS NULL", (time.time(),))
    writer.execute("COMMIT")
    streams = [
        FoundStream(row, SessionId.parse(session), StreamId.parse(stream), *rest)
        for row, session, stream, *rest in writer.execute(
            "SELECT id, session_id, stream_id, ended, coalesce(min(seq), 1), count(seq), coalesce(sum(length(data)), 0)"
            " FROM streams LEFT JOIN events ON events.stream = streams.id GROUP BY id ORDER BY ended, id"
        )
    ]
    sessions = [SessionId.parse(text) for (text,) in writer.execute("SELECT session_id FROM sessions ORDER BY number")]
    (highest,) = writer.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
    return Found(streams, sessions, highest + 1)
