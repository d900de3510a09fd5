"""One stream of a database, and what can be written of it.

Theory of operation. A stream is in two states at once. What it has *taken* is
numbered, and queued; what is *stored* is committed, and can be read. An
operation carries a change from the one to the other: made when it is taken,
asked for its part of a transaction when its turn comes, and told when that
transaction is committed, or not. ``_ended`` and ``_taken`` are of the first
state; the window, ``_over`` and all that readers see are of the second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import trio

from .._errors import EventLogFailedError, EventsExpiredError, EventTooLargeError, StreamClosedError
from .._ids import SessionId, StreamId
from .._retention import Retention
from .._window import Event, make_events
from ..abc import Batch, StreamLog
from ._queue import Applicant, Operation, WriteQueue
from ._recent import Recent
from ._sizes import SizeWindow
from ._writes import Writes


class Host(Protocol):
    """What a stream needs of its log."""

    kept: Retention[SqliteStreamLog]
    queue: WriteQueue
    recent: Recent

    def check_open(self) -> None: ...
    def submit(self, operation: Operation) -> None: ...
    def apply(self, applicant: Applicant) -> None: ...
    async def fetch(self, row: int, after: int, last: int) -> list[bytes]: ...
    def discarded(self, stream: SqliteStreamLog) -> None: ...
    def lost(self) -> None: ...


@final
class SqliteStreamLog(StreamLog):
    """A handle of one stream; there is only one for each.

    Args:
        log: The log.
        row: The stream's row.
        session_id: Its session.
        stream_id: Its identifier.
        window: What is stored of it.
        over: Whether it has ended.
    """

    __slots__ = (
        "__weakref__",
        "_coming",
        "_coming_bytes",
        "_discarded",
        "_end_asked",
        "_ended",
        "_log",
        "_over",
        "_taken",
        "_wakes",
        "row",
        "session_id",
        "stream_id",
        "window",
    )

    def __init__(
        self,
        log: Host,
        row: int,
        session_id: SessionId,
        stream_id: StreamId,
        window: SizeWindow,
        *,
        over: bool = False,
    ) -> None:
        self._log = log
        self.row: int = row
        self.session_id: SessionId = session_id
        self.stream_id: StreamId = stream_id
        self.window: SizeWindow = window
        self._over = over
        self._ended = over
        self._end_asked = over
        self._taken = window.last
        self._coming = 0
        self._coming_bytes = 0
        self._discarded = False
        self._wakes: dict[Callable[[], None], None] = {}

    @property
    def first(self) -> int:
        return self.window.first

    @property
    def last(self) -> int:
        return self.window.last

    @property
    def finished(self) -> bool:
        return self._ended

    def first_after(self, size: int) -> int:
        kept = self._log.kept
        if self._ended or size > kept.max_stream_bytes:
            return self.first
        coming = self._coming_bytes + size
        return kept.first_after(self.window, coming, count=self._coming + 1, counted=not self._discarded)

    # Writing

    def _check(self, data: bytes) -> None:
        self._log.check_open()
        if self._ended:
            raise StreamClosedError(self.stream_id)
        bound = self._log.kept.max_stream_bytes
        if len(data) > bound:
            raise EventTooLargeError("max_stream_bytes", bound)

    @trio.lowlevel.enable_ki_protection
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        self._check(data)
        if not self._log.queue.has_room(len(data)):
            raise trio.WouldBlock
        append = Append(self, data, last=last)
        self._log.apply(append)
        return append.seq

    @trio.lowlevel.enable_ki_protection
    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._check(data)
        except BaseException:
            # Whoever tries again must not keep others from running.
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        queue = self._log.queue
        append = Append(self, data, last=last, task=trio.lowlevel.current_task())
        self._log.apply(append)

        def abort(_: Any) -> trio.lowlevel.Abort:
            append.task = None
            if queue.withdraw(append):
                self.settled(len(data))
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if append.error is not None:
            raise append.error
        return append.seq

    @trio.lowlevel.enable_ki_protection
    def finish(self) -> None:
        self._end_asked = True
        if not self._ended:
            self._ended = True
            self._log.submit(Finish(self))

    @trio.lowlevel.enable_ki_protection
    def discard(self) -> None:
        if not self._discarded:
            self._discarded = True
            self._log.discarded(self)

    @trio.lowlevel.enable_ki_protection
    def set_will(self, events: Sequence[bytes]) -> None:
        if not self._ended:
            self._log.submit(SetWill(self, tuple(events)))

    # Reading

    async def read(self, after: int, limit: int) -> Batch:
        await trio.lowlevel.checkpoint()
        batch = self.read_nowait(after, limit)
        if batch is None:
            found = await self._log.fetch(self.row, after, self.last)
            self._check_kept(after)
            self._log.recent.add_block(self.row, after, found)
            batch = self._batch(make_events(after, found[:limit]))
        return batch

    def read_nowait(self, after: int, limit: int) -> Batch | None:
        if after >= self.last:
            return Batch([], self._over)
        self._check_kept(after)
        events = self._log.recent.after(self.row, after, limit)
        return self._batch(events) if events else None

    def _batch(self, events: list[Event]) -> Batch:
        return Batch(events, self._over and events[-1].seq == self.last)

    def _check_kept(self, after: int) -> None:
        if after + 1 < self.first:
            raise EventsExpiredError(self.stream_id, after, self.first)

    def attach(self, wake: Callable[[], None]) -> None:
        self._wakes[wake] = None

    def detach(self, wake: Callable[[], None]) -> None:
        self._wakes.pop(wake, None)

    # What the operations tell

    def coming(self, size: int) -> None:
        """Take note of an event that is yet to be stored."""
        self._coming += 1
        self._coming_bytes += size

    def settled(self, size: int) -> None:
        """Take note that it was stored, or will not be."""
        self._coming -= 1
        self._coming_bytes -= size

    def take(self, *, last: bool) -> int:
        """Give the next event its number."""
        self._taken += 1
        self._ended = last
        return self._taken

    def stored(self, data: bytes, *, last: bool) -> None:
        """Take note that an event is stored."""
        log, window = self._log, self.window
        before = window.size
        window.append(len(data))
        log.recent.append(self.row, window.last, data)
        log.kept.trim(window)
        if not self._discarded:
            log.kept.appended(self, window.size - before)
        if last:
            self.over()
        else:
            self._wake()

    def over(self) -> None:
        """Take note that the end is stored, or cannot be. Idempotent."""
        if self._over:
            return
        self._over = True
        self.window.seal()
        if not self._discarded:
            self._log.kept.ended(self, trio.current_time())
        self._wake()

    def not_stored(self, *, last: bool, told: bool) -> Operation | None:
        """Take back an event's number, and see to it that a stream of which the end is due ends."""
        self._taken = self.window.last
        if not told:
            self._log.lost()
        if last and (self._end_asked or not told):
            return Finish(self)
        if last:
            # Whoever appends it knows that it failed, and may try again.
            self._ended = False
        return None

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()


@final
class Append(Applicant):
    """Appends an event, and perhaps the end."""

    __slots__ = ("_data", "_last", "_stream", "error", "seq", "task")

    def __init__(
        self, stream: SqliteStreamLog, data: bytes, *, last: bool, task: trio.lowlevel.Task | None = None
    ) -> None:
        self._stream = stream
        self._data = data
        self._last = last
        self.task: trio.lowlevel.Task | None = task
        """Who waits for it."""
        self.seq: int = 0
        """Its number, once it was admitted."""
        self.error: Exception | None = None
        """Why it was not stored."""
        stream.coming(len(data))

    @property
    def size(self) -> int:
        return len(self._data)

    def admit(self) -> bool:
        if self._stream.finished:
            self._tell(StreamClosedError(self._stream.stream_id))
            return False
        self.seq = self._stream.take(last=self._last)
        return True

    def put(self, writes: Writes) -> None:
        writes.events.append((self._stream.row, self.seq, self._data))
        if self._last:
            writes.ended[self._stream.row] = time.time()

    def stored(self) -> None:
        self._stream.stored(self._data, last=self._last)
        self._tell(None)

    def failed(self, cause: str) -> Operation | None:
        told = self.task is not None
        self._tell(EventLogFailedError(cause))
        return self._stream.not_stored(last=self._last, told=told)

    def _tell(self, error: Exception | None) -> None:
        self.error = error
        self._stream.settled(len(self._data))
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task)


class StreamOperation(Operation):
    """An operation on a stream that must not be lost."""

    __slots__ = ("_stream",)

    def __init__(self, stream: SqliteStreamLog) -> None:
        self._stream = stream

    def stored(self) -> None:
        """Nobody has to know."""


@final
class Open(StreamOperation):
    """Begins a stream."""

    __slots__ = ()

    def put(self, writes: Writes) -> None:
        stream = self._stream
        writes.opened.append((stream.row, str(stream.session_id), str(stream.stream_id)))


@final
class Finish(StreamOperation):
    """Ends a stream."""

    __slots__ = ()

    def put(self, writes: Writes) -> None:
        writes.ended[self._stream.row] = time.time()

    def stored(self) -> None:
        self._stream.over()

    def failed(self, cause: str) -> Operation | None:
        # It is tried again, but no reader is to wait for a disk that may stay full.
        self._stream.over()
        return self


@final
class SetWill(StreamOperation):
    """Stores a stream's last will."""

    __slots__ = ("_events",)

    def __init__(self, stream: SqliteStreamLog, events: Sequence[bytes]) -> None:
        super().__init__(stream)
        self._events = events

    @property
    def size(self) -> int:
        return sum(map(len, self._events))

    def put(self, writes: Writes) -> None:
        writes.wills[self._stream.row] = self._events
