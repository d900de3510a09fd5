"""One stream: a scope that is registered exactly as long as it is open.

Theory of operation. A stream's body runs in whatever task entered
``open_stream()``; the registry holds the scope around it. Entry is a
checkpoint, then synchronous: admit, which may refuse, and enter the scope, so
no other task comes between. Exit is synchronous: discharge, then leave the
scope. So there is no moment at which a stream is open and not registered, or
registered and over, for any other task to see.

A stream that is started is admitted by the task that starts it, and entered in
the first step of its own task. It is registered in between. Whatever cancels its
scope then, cancels its body at its first checkpoint.

A scope that was cancelled because the session ends turns into
`SessionClosedError` once it has caught its own cancellation. A cancellation
from further out is not the stream's to catch, and passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import cast, final

import trio

from ._audience import Audience
from ._clock import now, reading_time
from ._errors import SessionClosedError
from ._idle import IdleDeadline
from ._ids import EventId, SessionId, StreamId
from ._metadata import StreamMetadata
from ._opening import Opening
from ._reader import EventReader
from ._reasons import CloseReason, State
from ._records import StreamRecord
from ._registry import Registry
from ._slow_readers import SlowReaders
from ._unread import UnreadEvents
from .abc import StreamLog


@final
class Stream:
    """An open stream. Get one from ``async with session.open_stream()``."""

    __slots__ = ("_audience", "_idle", "_log", "_record", "_registry", "_scope", "_slow_readers", "_unread")

    def __init__(
        self,
        registry: Registry,
        record: StreamRecord,
        scope: trio.CancelScope,
        log: StreamLog,
        slow_readers: SlowReaders,
    ) -> None:
        self._registry = registry
        self._record = record
        self._scope = scope
        self._log = log
        self._slow_readers = slow_readers
        self._idle: IdleDeadline | None = None
        # Made when they are needed: most streams have one reader, and send nothing that could be said twice.
        self._audience: Audience | None = None
        self._unread: UnreadEvents | None = None

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.kind!r} {self._record.state.value}>"

    @property
    def id(self) -> StreamId:
        """The stream's identifier."""
        return self._record.id

    @property
    def session_id(self) -> SessionId:
        """The session that the stream belongs to."""
        return self._record.session.id

    @property
    def kind(self) -> str:
        """What the stream serves."""
        return self._record.kind

    @property
    def reason(self) -> CloseReason | None:
        """Why the stream is closing or has ended; ``None`` while it is open."""
        reason = self._record.reason
        if reason is None and self._idle is not None and self._idle.is_over(reading_time(self._record)):
            # The stream's own task could not run since.
            return self._idle.reason
        return reason

    @property
    def metadata(self) -> StreamMetadata:
        """A snapshot of what is known of the stream."""
        return self._record.snapshot(reading_time(self._record))

    @property
    def log(self) -> StreamLog:
        """The stream's events."""
        return self._log

    @trio.lowlevel.enable_ki_protection
    async def send(self, data: bytes, *, last: bool = False, coalesce: bool = False, patient: bool = True) -> EventId:
        """Append an event; it is stored when this returns. Always a checkpoint.

        Waits for readers that do not keep up where the stream's `SlowReaders` say so, and it is open.
        Can still be used while the stream unwinds, under a shield of one's own.

        Args:
            data: The event.
            last: Whether it is the last one. Readers see the end with it; the scope stays open.
            coalesce: Whether it says no more than an equal one that no reader has received yet and that was
                sent like this. Then it is not sent; that one's identifier is returned.
            patient: Whether it waits for readers at all. What is said under a shield should not.

        Raises:
            StreamClosedError: The stream has ended.
            EventTooLargeError: The event is larger than all that may be kept.
        """
        self._registry.claim()
        if coalesce and (equal := self._find_unread(data, last=last)) is not None:
            await trio.lowlevel.checkpoint()
            return self._coalesced(equal)
        if patient and self._audience is not None and self._audience.slowest(len(data)) is not None:
            await self.wait_for_readers(len(data))
        seq = await self._log.append(data, last=last)
        return self._sent(seq, data, last=last, coalesce=coalesce)

    async def wait_for_readers(self, size: int) -> None:
        """Wait as `send` does, for what is to be sent under a shield. Always a checkpoint.

        Args:
            size: The bytes that are to be sent.
        """
        if self._audience is None or self._audience.slowest(size) is None:
            await trio.lowlevel.checkpoint()
            return
        self._registry.waited_sends += 1
        await self._audience.wait(size)

    @trio.lowlevel.enable_ki_protection
    def send_nowait(self, data: bytes, *, last: bool = False, coalesce: bool = False) -> EventId:
        """Append an event without waiting for it to be stored, nor for readers.

        Args:
            data: The event.
            last: As with `send`.
            coalesce: As with `send`.

        Raises:
            StreamClosedError: The stream has ended.
            EventTooLargeError: The event is larger than all that may be kept.
            trio.WouldBlock: There is no room for it now.
            WrongThreadError: This is not the thread that runs Trio.
        """
        self._registry.claim()
        if coalesce and (equal := self._find_unread(data, last=last)) is not None:
            return self._coalesced(equal)
        seq = self._log.append_nowait(data, last=last)
        return self._sent(seq, data, last=last, coalesce=coalesce)

    def _sent(self, seq: int, data: bytes, *, last: bool, coalesce: bool) -> EventId:
        self._registry.record_event(self._record, len(data), trio.current_time())
        # One that is yet to be stored may be lost, and its number be another's.
        if coalesce and seq <= self._log.last:
            if self._unread is None:
                self._unread = UnreadEvents()
            self._unread.add(data, seq)
        # Those who waited like this one need not wait for readers that it has overtaken, or that need no more.
        self._wake_producers()
        return EventId(self.id, seq)

    def _find_unread(self, data: bytes, *, last: bool) -> int | None:
        """Return the number of an event that says the same, and that whoever reads on will receive."""
        if self._unread is None or last or self._log.finished:
            return None
        received = 0 if self._audience is None else self._audience.received
        return self._unread.find(data, max(received + 1, self._log.first))

    def _coalesced(self, seq: int) -> EventId:
        self._registry.record_coalesced(self._record, trio.current_time())
        return EventId(self.id, seq)

    def _wake_producers(self) -> None:
        """Have those who wait for slow readers look again."""
        if self._audience is not None:
            self._audience.wake()

    @trio.lowlevel.enable_ki_protection
    def touch(self) -> None:
        """Note that something happened on the stream, so that it is not idle."""
        at = now()
        self._registry.claim()
        self._registry.touch(self._record, at)
        if self._idle is not None:
            self._idle.touch(at)

    @trio.lowlevel.enable_ki_protection
    def cancel(self, reason: CloseReason = CloseReason.CANCELLED) -> None:
        """End the stream: cancel its scope. Idempotent; its session and siblings go on.

        Args:
            reason: Why. The first reason stays.
        """
        reason = self.reason or reason
        if self._registry.close_stream(self._record, reason):
            self._scope.cancel(reason=f"stream ended: {reason}")
            self._wake_producers()

    def _reader_attached(self, reader: EventReader, at: float) -> None:
        """Note that a reader reads the stream's events, so that it is not idle."""
        if self._audience is None:
            self._audience = Audience(self._record, self._log, self._slow_readers)
        self._audience.add(reader)
        if self._idle is not None:
            self._idle.note(at, lost=False)
            self._idle.hold(at)

    def _reader_moved(self, reader: EventReader) -> None:
        """Note a reader's progress."""
        if self._record.state is not State.CLOSED:
            assert self._audience is not None
            self._audience.moved(reader)
            # As long as it is read, it is not idle.
            self._registry.touch(self._record, trio.current_time())

    def _reader_detached(self, reader: EventReader, at: float, *, lost: bool) -> None:
        """Undo ``_reader_attached()``."""
        assert self._audience is not None
        self._audience.remove(reader, at)
        if self._idle is not None and self._record.state is not State.CLOSED:
            self._idle.note(at, lost=lost)
            self._idle.release(at)


@final
class OpenStream(Opening[Stream]):
    """The context manager behind ``open_stream()``: a class, so that Ctrl-C finds it whole.

    Args:
        wait: Awaited first.
        enter: Admits the stream and makes its scope; synchronous, may refuse.
        leave: Discharges it; synchronous.
    """

    __slots__ = ("_leave",)
    _name = "open_stream"

    def __init__(
        self,
        wait: Callable[[], Awaitable[None]],
        enter: Callable[[], Stream],
        leave: Callable[[Stream, CloseReason], None],
    ) -> None:
        super().__init__(wait, enter)
        self._leave = leave

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        stream = self._opened
        assert stream is not None
        scope = stream._scope
        session = stream._record.session
        # Asked before leaving: a session that is known only by its streams goes with the last of them.
        over = session.state is not State.OPEN
        try:
            self._leave(stream, stream.reason or end_reason(exc))
        finally:
            swallowed = scope.__exit__(exc_type, exc, traceback)
        if scope.cancelled_caught and over:
            raise SessionClosedError(session.id, session.reason or CloseReason.COMPLETED) from None
        return swallowed


def end_reason(exc: BaseException | None) -> CloseReason:
    """Say why a block ended that nobody has asked to end, by what came out of it."""
    if exc is None:
        return CloseReason.COMPLETED
    return CloseReason.CANCELLED if _only_cancelled(exc) else CloseReason.FAILED


def _only_cancelled(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return all(_only_cancelled(inner) for inner in group.exceptions)
    return isinstance(exc, trio.Cancelled)
