"""Opening the log, and closing it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, final

import trio

from .._retention import Retention
from .._util import check_count, check_seconds
from ..abc import EventLog
from ._database import Database
from ._queue import WriteQueue
from ._recent import Recent
from ._schema import Found, open_database
from ._sqlite import SqliteEventLog
from ._stream_log import SqliteStreamLog

_CLOSING: Final = 30.0
"""Seconds that closing the database may take; it copies the write-ahead log into it."""


@final
class OpenSqliteLog:
    """The context manager behind `open_sqlite_log`: a class, so that Ctrl-C finds it whole."""

    __slots__ = ("_drain_timeout", "_log", "_make", "_nursery", "_path")

    def __init__(self, path: str, make: Callable[[Database, Found], SqliteEventLog], drain_timeout: float) -> None:
        self._path = path
        self._make = make
        self._drain_timeout = drain_timeout
        self._nursery: Any = None
        self._log: SqliteEventLog | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> EventLog:
        if self._nursery is not None:
            raise RuntimeError("open_sqlite_log() can be entered only once")
        self._nursery = trio.open_nursery()
        database, found = await trio.to_thread.run_sync(open_database, self._path)
        log = self._log = self._make(database, found)
        nursery = await self._nursery.__aenter__()
        nursery.start_soon(log.run)
        return log

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        log = self._log
        assert log is not None
        log.close(self._drain_timeout)
        # The writer has a deadline of its own. Once it is gone, leaving the nursery does not wait, and
        # without an exception to pass on it does not wrap what the block has raised.
        with trio.CancelScope(shield=True):
            await log.written.wait()  # noqa: ASYNC102 - the writer has the deadline
        try:
            await self._nursery.__aexit__(None, None, None)  # noqa: ASYNC102 - a nursery is left like this
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_CLOSING):
                await log.aclose()


def open_sqlite_log(
    path: str | os.PathLike[str],
    *,
    max_events: float = 1024,
    max_stream_bytes: float = 16 * 2**20,
    max_bytes: float = 256 * 2**20,
    max_finished: float = 10_000,
    resume_window: float = 300.0,
    max_saved_sessions: float = 10_000,
    max_pending: float = 4096,
    max_pending_bytes: float = 32 * 2**20,
    max_recent_bytes: float = 32 * 2**20,
    drain_timeout: float = 10.0,
) -> OpenSqliteLog:
    """Keep events in an SQLite database, for the length of an ``async with`` block.

    What `streamscope.abc.StreamLog.append` has stored is on the disk when it
    returns, and is there when the database is opened again, however the process
    ended. Streams that had not ended then are finished with their last will.

    Leaving the block waits until all that was appended is stored. Sessions must
    be over by then: open their manager within the block.

    Args:
        path: The file of the database. It is made where there is none; its directory must be there, on a local disk.
            Beside it, there are files with the suffixes ``-wal``, ``-shm`` and ``-lock``.
        max_events: Events kept per stream.
        max_stream_bytes: Bytes kept per stream.
        max_bytes: Bytes kept in all.
        max_finished: Streams that have ended, kept for readers that come back.
        resume_window: Seconds that those are kept. The time while no process ran counts.
        max_saved_sessions: Sessions that are kept to be restored; the one that was saved least recently is forgotten.
        max_pending: Events that are waiting to be written. At the bound ``append()`` waits, and ``append_nowait()``
            raises `trio.WouldBlock`.
        max_pending_bytes: Their bytes.
        max_recent_bytes: Bytes of events that are kept in memory, too, for readers.
        drain_timeout: Seconds that leaving the block waits for what is pending.

    Raises:
        ValueError: A bound is no such bound.
        EventLogOpenError: On entering: the database cannot be opened. Nothing in it was changed.
    """
    check_seconds("drain_timeout", drain_timeout)
    make = partial(
        SqliteEventLog,
        kept=Retention[SqliteStreamLog](
            max_events=max_events,
            max_stream_bytes=max_stream_bytes,
            max_bytes=max_bytes,
            max_finished=max_finished,
            resume_window=resume_window,
        ),
        queue=WriteQueue(max_pending, max_pending_bytes),
        recent=Recent(check_count("max_recent_bytes", max_recent_bytes)),
        max_saved_sessions=check_count("max_saved_sessions", max_saved_sessions),
    )
    return OpenSqliteLog(os.fspath(path), make, drain_timeout)
