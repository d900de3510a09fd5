"""Readers: cursors into one stream's log, each at its own pace.

There is one way to an event, out of the log. A reader reads what follows its
cursor, and parks where nothing does until the log says that there may be more.
Replay and live delivery are this same loop, so nothing can fall between them.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Final, Protocol, final

import trio

from ._errors import EventsExpiredError, ReaderClosedError, UnknownEventError
from ._ids import EventId, StreamId
from ._reasons import CloseReason
from ._window import Event
from .abc import StreamLog

_BATCH: Final = 64


class ReadStream(Protocol):
    """What is told of a reader's progress: the stream that it reads, where that is open."""

    def _reader_moved(self, reader: EventReader) -> None: ...
    def _reader_detached(self, reader: EventReader, at: float, *, lost: bool) -> None: ...
    def _wake_producers(self) -> None: ...


class ReaderHost(Protocol):
    """What is told of readers: their session."""

    async def _find_log(self, stream_id: StreamId) -> StreamLog: ...
    def _open_log(self, stream_id: StreamId) -> StreamLog: ...
    def _reader_attached(self, reader: EventReader, *, supersede: bool) -> None: ...
    def _reader_skipped(self, count: int) -> None: ...
    def _reader_detached(self, reader: EventReader, reason: CloseReason) -> None: ...


@final
class EventReader(trio.abc.ReceiveChannel[Event]):
    """Receives a stream's events in order, from a position on, until the stream has ended.

    Get one from `Session.open_reader`. Iterating ends when the stream has
    finished and all of its events were received.
    """

    def __init__(self, host: ReaderHost, stream_id: StreamId, log: StreamLog, after: int) -> None:
        self.stream_id = stream_id
        """The stream that is read."""
        self._host = host
        self._stream: ReadStream | None = None
        self._log = log
        self._after = after
        self._batch: list[Event] = []
        self._finished = False
        self._task: trio.lowlevel.Task | None = None
        self._busy = False
        self._news = after < log.last or log.finished
        self._closed = False
        self._until: int | None = None
        self._overtaken = False
        self._reason: CloseReason | None = None
        self.skipped: int = 0
        """Events that it did not get because it was slow, on a stream whose `SlowReaders` go on behind the gap."""
        self._skips = False
        log.attach(self._wake)

    @property
    def position(self) -> EventId:
        """The event that was received or skipped last; number 0 before the first."""
        return EventId(self.stream_id, self._after)

    @property
    def finished(self) -> bool:
        """Whether the stream has ended and this reader has received its last event."""
        return self._finished and not self._batch

    @property
    def reason(self) -> CloseReason | None:
        """Why the reader was ended from outside, or ``None``."""
        return self._reason

    async def receive(self) -> Event:
        """Receive the next event, waiting for it where there is none yet.

        Raises:
            trio.EndOfChannel: The stream has ended, and this was all.
            EventsExpiredError: The reader was so slow that the next event is no longer kept.
            ReaderClosedError: The reader was ended from outside.
            trio.ClosedResourceError: This reader was closed.
            trio.BusyResourceError: Another task is receiving from it.
        """
        while not (events := await self.receive_some(1)):  # noqa: ASYNC913 - it waits
            pass
        return events[0]

    @trio.lowlevel.enable_ki_protection
    async def receive_some(self, limit: int = _BATCH) -> list[Event]:
        """Receive the events that are there, waiting only where there is none yet.

        What is sent while it is being woken belongs to them: of a stream on which much is said in one go,
        few large pieces are received, and not many small ones.

        Args:
            limit: The number of events to return at most. Many at once are read with less effort than a few at a time.

        Returns:
            At least one event; or none where `nudge` was called meanwhile.

        Raises:
            ValueError: The limit is below 1.
            Exception: Whatever `receive` raises.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit!r}")
        if self._busy:
            raise trio.BusyResourceError("another task is receiving from this reader")
        self._check()
        self._busy = True
        try:
            await self._fill(limit)
            await self._read_on(limit)
        finally:
            self._busy = False
        events, self._batch = self._batch[:limit], self._batch[limit:]
        if events:
            self._after = events[-1].seq
            if self._stream is not None:
                self._stream._reader_moved(self)
        return events

    def _complete(self) -> bool:
        """Whether it has received all that it was to receive."""
        return not self._batch and self._over()

    async def _fill(self, limit: int) -> None:
        """See to it that there is at least one event in the batch, unless there is a nudge."""
        if self._batch or self._news or self._over():
            # Where there is nothing, it waits.
            await trio.lowlevel.checkpoint()
            self._check()
        while not self._batch:
            if self._over():
                raise trio.EndOfChannel
            if not self._news:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
                self._check()
                if not self._news:
                    return
            try:
                await self._read(limit)
            except EventsExpiredError as exc:
                self._lag(exc)

    async def _read_on(self, limit: int) -> None:
        """Read what has come meanwhile, as long as more comes."""
        while self._until is None and 0 < len(self._batch) < limit:
            if not self._news and len(self._batch) > 1:
                # Whoever sends so much may be about to go on. Trio draws by lot which task runs first, so it is
                # only after two turns that every other task has had one.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                self._check()
            if not self._news:
                return
            try:
                await self._read(limit)
            except EventsExpiredError:
                # What it has comes first.
                return

    async def _read(self, limit: int) -> None:
        """Read what the log has; of a few, some more."""
        limit = max(limit, _BATCH)
        # More may come while it is being read.
        self._news = False
        news = True
        try:
            after = self._after + len(self._batch)
            batch = self._log.read_nowait(after, limit)
            if batch is None:
                batch = await self._log.read(after, limit)
                self._check()
            # A log may return less than there is.
            news = bool(batch.events) and batch.events[-1].seq < self._log.last
        finally:
            self._news = self._news or news
        self._batch += batch.events
        self._finished = batch.finished

    def _lag(self, error: EventsExpiredError) -> None:
        """Skip what is lost, or raise."""
        if not self._skips:
            self._overtaken = True
            raise error
        count = error.first - 1 - self._after
        self._after += count
        self.skipped += count
        self._host._reader_skipped(count)

    @property
    def _received(self) -> int:
        """The number of the last event that it has, whether or not somebody has asked for it."""
        return self._after + len(self._batch)

    @property
    def _needs(self) -> float:
        """The number of the event that it has to find in the log next; endless where it wants no more."""
        received = self._received
        sated = self._closed or self._reason is not None or (self._until is not None and received >= self._until)
        return math.inf if sated else received + 1

    def _over(self) -> bool:
        return self._finished or (self._until is not None and self._after >= self._until)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        # The task is on its way from here on: news must not schedule it a second time.
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _check(self) -> None:
        if self._reason is not None:
            raise ReaderClosedError(self._reason)
        if self._closed:
            raise trio.ClosedResourceError("this reader was closed")

    def _wake(self) -> None:
        self._news = True
        self.nudge()

    @trio.lowlevel.enable_ki_protection
    def nudge(self) -> None:
        """Have whoever waits for an event return without one. Where nobody waits, it does nothing."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _sated(self) -> None:
        """Tell those who may wait for this reader that it will need less than it seemed."""
        if self._stream is not None:
            self._stream._wake_producers()

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Have the reader receive what is there now, and then end as if the stream had ended. Idempotent."""
        if self._until is None:
            self._until = self._log.last
            self._wake()
            self._sated()

    @trio.lowlevel.enable_ki_protection
    def end(self, reason: CloseReason) -> None:
        """End the reader from outside: whoever receives from it gets `ReaderClosedError`. Idempotent."""
        if self._reason is None and not self._closed:
            self._reason = reason
            self._wake()
            self._sated()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Stop receiving. Idempotent, and not a checkpoint."""
        if not self._closed:
            self._closed = True
            self._log.detach(self._wake)
            self._wake()
            self._sated()

    async def aclose(self) -> None:
        """Stop receiving, and execute a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


@final
class OpenReader:
    """The context manager behind ``open_reader()``: a class, so that Ctrl-C finds it whole."""

    __slots__ = ("_after", "_host", "_reader", "_stream_id", "_supersede")

    def __init__(self, host: ReaderHost, stream_id: StreamId, after: int | None, *, supersede: bool) -> None:
        self._host = host
        self._stream_id = stream_id
        self._after = after
        self._supersede = supersede
        self._reader: EventReader | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> EventReader:
        if self._reader is not None:
            raise RuntimeError("open_reader() can be entered only once")
        log = await self._host._find_log(self._stream_id)
        self._reader = _attach(self._host, self._stream_id, log, self._after, supersede=self._supersede)
        return self._reader

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._reader is not None
        _detach(self._host, self._reader)


@final
class OpenReaderNowait:
    """The context manager behind ``open_reader_nowait()``."""

    __slots__ = ("_host", "_reader", "_stream_id")

    def __init__(self, host: ReaderHost, stream_id: StreamId) -> None:
        self._host = host
        self._stream_id = stream_id
        self._reader: EventReader | None = None

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> EventReader:
        if self._reader is not None:
            raise RuntimeError("open_reader_nowait() can be entered only once")
        log = self._host._open_log(self._stream_id)
        self._reader = _attach(self._host, self._stream_id, log, 0, supersede=False)
        return self._reader

    @trio.lowlevel.enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._reader is not None
        _detach(self._host, self._reader)


def _attach(
    host: ReaderHost, stream_id: StreamId, log: StreamLog, after: int | None, *, supersede: bool
) -> EventReader:
    after = log.first - 1 if after is None else after
    if after > log.last:
        raise UnknownEventError(stream_id, after)
    if after + 1 < log.first:
        raise EventsExpiredError(stream_id, after, log.first)
    reader = EventReader(host, stream_id, log, after)
    host._reader_attached(reader, supersede=supersede)
    return reader


def _detach(host: ReaderHost, reader: EventReader) -> None:
    over = CloseReason.COMPLETED if reader._complete() else CloseReason.DISCONNECTED
    if reader._overtaken:
        over = CloseReason.SLOW_READER
    reader.close()
    host._reader_detached(reader, reader.reason or over)
