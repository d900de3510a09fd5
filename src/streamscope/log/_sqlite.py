"""The log: its streams, its sessions, and the task that writes."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple, Unpack, final

import trio

from .._errors import EventLogFailedError
from .._ids import SessionId, StreamId
from .._retention import Retention
from .._statistics import EventLogStatistics
from ..abc import EventLog, SavedSession, StreamLog
from ._database import Database
from ._queue import Applicant, Operation, WriteQueue
from ._recent import BLOCK, Recent
from ._schema import Found
from ._sizes import SizeWindow
from ._stream_log import Open, SqliteStreamLog
from ._writes import Writes

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger: Final = logging.getLogger("streamscope")
_BATCH: Final = 256
_RETRY: Final = 0.25


@final
class SqliteEventLog(EventLog):
    """Keeps events in an SQLite database. Those who get one from `open_sqlite_log` know it as an `EventLog`."""

    def __init__(
        self,
        database: Database,
        found: Found,
        *,
        kept: Retention[SqliteStreamLog],
        queue: WriteQueue,
        recent: Recent,
        max_saved_sessions: float,
    ) -> None:
        self.kept: Retention[SqliteStreamLog] = kept
        self.queue: WriteQueue = queue
        self.recent: Recent = recent
        self._database = database
        self._next_row = found.next_row
        self._max_saved_sessions = max_saved_sessions
        self._saved: OrderedDict[SessionId, None] = OrderedDict.fromkeys(found.sessions)
        self._scope = trio.CancelScope(shield=True)
        self._news = trio.Event()
        self._closing = False
        self.written: trio.Event = trio.Event()
        """Set when nothing will be written any more."""
        self._failing = False
        self._lost = 0
        # What is cleaned up along with the next transaction.
        self._trimmed: dict[int, int] = {}
        self._discarded: set[int] = set()
        self._unreachable: deque[int] = deque()
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(1)
        self._restore(found)

    def _restore(self, found: Found) -> None:
        now, wall = trio.current_time(), time.time()
        for each in found.streams:
            window = SizeWindow(each.row, self._trimmed, each.first, each.count, each.size)
            stream = SqliteStreamLog(self, each.row, each.session_id, each.stream_id, window, over=True)
            self.kept.restore(stream, now - max(0.0, wall - each.ended))
        self._forget_oldest_sessions()

    @property
    def durable(self) -> bool:
        return True

    # Streams

    @trio.lowlevel.enable_ki_protection
    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        self.check_open()
        self.kept.require_new(session_id, stream_id, trio.current_time())
        row = self._next_row
        self._next_row += 1
        stream = SqliteStreamLog(self, row, session_id, stream_id, SizeWindow(row, self._trimmed))
        self.kept.add(stream)
        self.queue.put(Open(stream))
        return stream

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await trio.lowlevel.checkpoint()
        return self.kept.find(session_id, stream_id, trio.current_time())

    def statistics(self) -> EventLogStatistics:
        return self.kept.statistics()

    # Sessions

    @trio.lowlevel.enable_ki_protection
    def save_session(self, session: SavedSession) -> None:
        self.check_open()
        self._saved[session.session_id] = None
        self._saved.move_to_end(session.session_id)
        self.submit(SaveSession(session.session_id, session))
        self._forget_oldest_sessions()

    def _forget_oldest_sessions(self) -> None:
        while len(self._saved) > self._max_saved_sessions:
            session_id, _ = self._saved.popitem(last=False)
            self.submit(SaveSession(session_id, None))

    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        await trio.lowlevel.checkpoint()
        self.check_open()
        if session_id not in self._saved:
            return None
        # What was saved last may not be stored yet.
        passed = trio.Event()
        self.submit(Barrier(passed))
        await passed.wait()
        return await self._read(self._database.find_session, session_id)

    @trio.lowlevel.enable_ki_protection
    def discard_session(self, session_id: SessionId) -> None:
        self.kept.discard_session(session_id)
        if session_id in self._saved:
            del self._saved[session_id]
            self.submit(SaveSession(session_id, None))

    # What streams need

    def check_open(self) -> None:
        """Make sure that something can be stored.

        Raises:
            trio.ClosedResourceError: The log is closed.
        """
        if self._closing:
            raise trio.ClosedResourceError("the event log is closed")

    def submit(self, operation: Operation) -> None:
        """Have something written."""
        self.queue.put(operation)
        self._news.set()

    def apply(self, applicant: Applicant) -> None:
        """Have something written when there is room for it."""
        self.queue.apply(applicant)
        self._news.set()

    async def fetch(self, row: int, after: int, last: int) -> list[bytes]:
        """Read the events that follow number ``after``, up to ``last`` or the end of the block.

        They are the right ones if the first of them is kept when this returns.
        """
        return await self._read(self._database.read, row, after, min(last, (after // BLOCK + 1) * BLOCK))

    async def _read(self, read: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        try:
            return await trio.to_thread.run_sync(read, *args, limiter=self._read_limiter)
        except sqlite3.ProgrammingError:
            raise trio.ClosedResourceError("the event log is closed") from None
        except sqlite3.Error as exc:
            raise EventLogFailedError(str(exc)) from None

    def discarded(self, stream: SqliteStreamLog) -> None:
        """Forget a stream. It can be read as long as somebody has its handle."""
        self.kept.forget(stream)
        self.recent.forget(stream.row, stream.first, stream.last)
        self._discarded.add(stream.row)
        weakref.finalize(stream, self._unreachable.append, stream.row).atexit = False

    def lost(self) -> None:
        """Count an event that could not be stored, and whoever appended it does not wait to hear of it."""
        self._lost += 1

    # Writing

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Write what is to be written, until the log is closed."""
        try:
            with self._scope:
                while not self._closing or self.queue:
                    await self._run_once()
                # What is left is to clean up.
                await self._write()
        finally:
            self._closing = True
            self.queue.abandon("it was closed")
            self._report()
            self.written.set()

    async def _run_once(self) -> None:
        if self.queue and await self._write():
            return
        # Nothing to write; or it failed, which the next event tries again, and so does this task after a while.
        with trio.move_on_after(_RETRY if self.queue else math.inf):
            await self._news.wait()
        self._news = trio.Event()

    async def _write(self) -> bool:
        """Write some of it in one transaction, and tell whether that was possible."""
        operations = self.queue.take(_BATCH)
        writes = Writes()
        for operation in operations:
            operation.put(writes)
        self._clean_up(writes)
        try:
            if writes:
                await trio.to_thread.run_sync(self._database.write, writes, limiter=self._write_limiter)
        except sqlite3.Error as exc:
            self._discarded |= writes.discarded
            self._unreachable.extend(writes.deleted)
            self._trimmed.update(writes.trimmed | self._trimmed)
            if self.queue.fail(operations, str(exc)):
                self._news.set()
            self._report(exc)
            return False
        except BaseException:
            self.queue.fail(operations, "it was closed")
            raise
        self.queue.settle(operations)
        if self._failing:
            self._failing = False
            logger.info("the event log can be written again")
        return True

    def _clean_up(self, writes: Writes) -> None:
        # Few at once, so that nobody waits for the disk because much is forgotten.
        while self._unreachable and len(writes.deleted) < _BATCH:
            writes.deleted.add(self._unreachable.popleft())
        writes.discarded = self._discarded - writes.deleted
        self._discarded.clear()
        writes.trimmed = self._trimmed.copy()
        self._trimmed.clear()

    def _report(self, exc: sqlite3.Error | None = None) -> None:
        if exc is not None and not self._failing:
            self._failing = True
            logger.error("the event log cannot be written: %s", exc)
        if self._lost:
            logger.error("events that nobody waited for could not be stored, and are lost: %d", self._lost)
            self._lost = 0

    @trio.lowlevel.enable_ki_protection
    def close(self, timeout: float) -> None:
        """Take no more events, and write what is pending for at most ``timeout`` seconds."""
        self._closing = True
        self._scope.deadline = trio.current_time() + timeout
        self._news.set()

    async def aclose(self) -> None:
        """Close the database."""
        async with self._read_limiter:
            await trio.to_thread.run_sync(self._database.close, limiter=self._write_limiter)


@final
class SaveSession(Operation):
    """Stores what is to be known of a session, or with ``None`` forgets it."""

    __slots__ = ("_session", "_session_id")

    def __init__(self, session_id: SessionId, session: SavedSession | None) -> None:
        self._session_id = session_id
        self._session = session

    @property
    def size(self) -> int:
        return 0 if self._session is None else len(self._session.state)

    def put(self, writes: Writes) -> None:
        # At the end, as the order says which was saved last.
        writes.sessions.pop(self._session_id, None)
        writes.sessions[self._session_id] = self._session

    def stored(self) -> None:
        """Nobody has to know."""


@final
class Barrier(Operation):
    """Writes nothing, and tells when its turn has come."""

    __slots__ = ("_passed",)

    def __init__(self, passed: trio.Event) -> None:
        self._passed = passed

    def put(self, writes: Writes) -> None:
        """Nothing to write."""

    def stored(self) -> None:
        self._passed.set()

    def failed(self, cause: str) -> None:
        self._passed.set()
