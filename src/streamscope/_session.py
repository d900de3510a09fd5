"""One session: a scope that takes all of its streams with it, and waits for them."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple, final

import trio

from ._changes import Change, StreamClosed, StreamOpened
from ._clock import now, reading_time
from ._errors import SessionClosedError
from ._hold import Hold
from ._idle import IdleDeadline
from ._ids import SessionId, StreamId
from ._metadata import SessionMetadata
from ._reader import EventReader, OpenReader, OpenReaderNowait
from ._readers import Readers
from ._reasons import CloseReason, State
from ._records import SessionRecord, StreamRecord
from ._registry import Registry
from ._resources import Resources
from ._slow_readers import SlowReaders
from ._start import run_scope
from ._stream import OpenStream, Stream, end_reason
from ._streams import StreamManager
from ._util import check_seconds

logger: Final = logging.getLogger("streamscope")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def _nobody(_: Stream) -> None:
    """Tell nobody that a stream was entered."""


class SessionHost(Protocol):
    """What a session needs of its manager."""

    nursery: trio.Nursery
    streams: StreamManager

    def _observed(self) -> bool: ...
    def _publish(self, change: Change) -> None: ...
    def _stream_over(self) -> None: ...
    def _session_over(self, session: Session) -> None: ...


@final
class Session:
    """An open session. Get one from ``async with sessions.open_session()`` or ``await sessions.start_session()``."""

    __slots__ = (
        "_closed",
        "_host",
        "_idle",
        "_left",
        "_readers",
        "_record",
        "_registry",
        "_resources",
        "_scope",
        "value",
    )

    def __init__(
        self,
        host: SessionHost,
        registry: Registry,
        record: SessionRecord,
        scope: trio.CancelScope,
        *,
        idle_timeout: float,
        max_age: float,
    ) -> None:
        self._host = host
        self._registry = registry
        self._record = record
        self._scope = scope
        self._closed: trio.Event | None = None
        self._left = False
        self._readers = Readers(self, host.streams)
        self._resources = Resources(registry.limits.drain_timeout, self)
        lost_after = registry.limits.lost_after
        self._idle = IdleDeadline(scope, idle_timeout, lost_after, record.created + max_age)
        self._count_idle(record.created)
        self.value: Any = None
        """Whatever the application keeps with the session."""
        record.owner = self

    def __repr__(self) -> str:
        # Whoever knows the identifier may use the session, so it is not shown.
        return f"<Session of {self.principal!r} {self._record.state.value}, {len(self._record.streams)} streams>"

    @property
    def id(self) -> SessionId:
        """The session's identifier. Whoever knows it may use the session: keep it out of logs."""
        return self._record.id

    @property
    def principal(self) -> str | None:
        """Whose session it is; ``None`` where nobody was authenticated."""
        return self._record.principal

    @property
    def reason(self) -> CloseReason | None:
        """Why the session takes no streams any more; ``None`` while it does."""
        return self._refusal()

    @property
    def idle_timeout(self) -> float:
        """Seconds without a hold after which the session ends; at first, that of the manager's limits."""
        return self._idle.idle_timeout

    @idle_timeout.setter
    @trio.lowlevel.enable_ki_protection
    def idle_timeout(self, seconds: float) -> None:
        check_seconds("idle_timeout", seconds)
        # One that is over has its reason, which stays.
        if seconds != self._idle.idle_timeout and self._refusal() is None:
            self._idle.idle_timeout = seconds
            self._count_idle(trio.current_time())

    @property
    def metadata(self) -> SessionMetadata:
        """A snapshot of what is known of the session."""
        return self._record.snapshot(reading_time(self._record))

    @property
    def streams(self) -> list[StreamId]:
        """The session's open streams, the oldest first."""
        return [record.id for record in list(self._record.streams)]

    # Streams

    def open_stream(
        self,
        *,
        kind: str = "stream",
        connection_info: str | None = None,
        holds_session: bool = True,
        slow_readers: SlowReaders = SlowReaders(),  # noqa: B008 - a value that does not change
        idle_timeout: float = math.inf,
        abandon_after: float = math.inf,
    ) -> OpenStream:
        """Open a stream for the length of a block; see `StreamManager.open_stream`."""
        return self._host.streams._opening(
            self._check_there, self.id, kind, connection_info, holds_session, slow_readers, idle_timeout, abandon_after
        )

    def _check_there(self) -> None:
        # Once it has ended, its identifier may be unknown, or that of another session.
        if self._record.state is State.CLOSED:
            raise self._ended()

    def _ended(self) -> SessionClosedError:
        return SessionClosedError(self.id, self._refusal() or CloseReason.COMPLETED)

    async def start_stream(
        self,
        async_fn: Callable[[Stream, *Ts], Awaitable[object]],
        /,
        *args: *Ts,
        kind: str = "stream",
        connection_info: str | None = None,
        holds_session: bool = True,
        slow_readers: SlowReaders = SlowReaders(),  # noqa: B008 - a value that does not change
        idle_timeout: float = math.inf,
        abandon_after: float = math.inf,
    ) -> Stream:
        """Open a stream whose body is a task of its own, and return once it is open.

        The stream lives exactly as long as ``async_fn(stream, *args)`` runs. An
        exception in it ends the stream as ``failed`` and is logged; it hurts
        neither the session nor the other streams. The keyword arguments are
        those of `open_stream`.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return self.start_stream_nowait(
                async_fn,
                *args,
                kind=kind,
                connection_info=connection_info,
                holds_session=holds_session,
                slow_readers=slow_readers,
                idle_timeout=idle_timeout,
                abandon_after=abandon_after,
            )
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    def start_stream_nowait(
        self,
        async_fn: Callable[[Stream, *Ts], Awaitable[object]],
        /,
        *args: *Ts,
        kind: str = "stream",
        connection_info: str | None = None,
        holds_session: bool = True,
        slow_readers: SlowReaders = SlowReaders(),  # noqa: B008 - a value that does not change
        idle_timeout: float = math.inf,
        abandon_after: float = math.inf,
    ) -> Stream:
        """Do what `start_stream` does, without a checkpoint.

        The stream is open when this returns; its body begins soon, as with ``nursery.start_soon()``. So whoever
        attaches a reader now (`open_reader_nowait`) has it in place before the body says anything.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
            WrongThreadError: This is not the thread that runs Trio.
        """
        if self._record.state is not State.OPEN:
            # The nursery may be closed by now, and would say so instead.
            raise self._ended()
        streams = self._host.streams
        stream, opening = streams._admitted(
            self.id, kind, connection_info, holds_session, slow_readers, idle_timeout, abandon_after
        )
        try:
            self._host.nursery.start_soon(run_scope, _nobody, self.id, opening, async_fn, *args)
        except BaseException:
            # Nobody will ever enter it.
            streams._leave(stream, CloseReason.FAILED)
            raise
        return stream

    def open_reader(self, stream_id: StreamId, *, after: int | None = 0, supersede: bool = False) -> OpenReader:
        """Read a stream's events for the length of a block: ``async with session.open_reader(id) as reader``.

        The stream may have ended, as long as its events are kept. While it is
        read, neither it nor the session is idle.

        Args:
            stream_id: A stream of this session.
            after: The number of the last event that the reader already has; 0 for none, and ``None`` to begin with the
                oldest that is kept.
            supersede: Whether the other readers of the stream are ended, as ``superseded``.

        Raises:
            UnknownStreamError: This session has no such stream, or no longer.
            UnknownEventError: The stream has no event of that number yet.
            EventsExpiredError: Some of the events after that one are no longer kept.
            SessionClosedError: The session has ended.
        """
        return OpenReader(self._readers, stream_id, after, supersede=supersede)

    def open_reader_nowait(self, stream: Stream) -> OpenReaderNowait:
        """Read an open stream from its beginning for the length of a block, which is entered without a checkpoint.

        ``with session.open_reader_nowait(stream) as reader:``. See `open_reader`.

        Args:
            stream: An open stream of this session.

        Raises:
            UnknownStreamError: This session has no such stream open.
            EventsExpiredError: Some of its events are no longer kept.
        """
        return OpenReaderNowait(self._readers, stream.id)

    def get_readers(self, stream_id: StreamId) -> list[EventReader]:
        """Return the readers of a stream that are attached now, the oldest first."""
        return self._readers.of(stream_id)

    # Resources

    async def enter_async_context(self, manager: AbstractAsyncContextManager[T, bool | None]) -> T:
        """Enter a context manager, and leave it when the session ends, however it ends. Always a checkpoint.

        It is left when the session's streams have unwound, in the reverse order
        of entry, with no exception, and within ``drain_timeout`` seconds. It is
        entered and left by a task of its own, so it may hold a nursery. What it
        raises after its entry is logged.

        Args:
            manager: The context manager.

        Returns:
            What entering it gave.

        Raises:
            SessionClosedError: The session is ending.
            Exception: Whatever entering the context manager raises.
        """
        if (refusal := self._refused()) is not None:
            # The nursery may be closed by now, and would say so instead.
            await trio.lowlevel.checkpoint()
            raise refusal
        value: T = await self._host.nursery.start(self._resources.hold, manager)
        return value

    def _refused(self) -> SessionClosedError | None:
        return None if self._refusal() is None else self._ended()

    # Life

    def hold(self) -> Hold[Session]:
        """Keep the session from being idle for the length of a block: ``with session.hold():``.

        Raises:
            SessionClosedError: The session is ending.
        """
        return Hold(self)

    def _take_hold(self) -> None:
        if (refusal := self._refused()) is not None:
            raise refusal
        self._registry.claim()
        self._hold(trio.current_time())

    def _hold(self, at: float) -> None:
        self._idle.hold(at)
        if self._idle.holds == 1:
            self._registry.mark_held(self._record)

    def _release_hold(self, at: float | None = None, *, lost: bool = False) -> None:
        at = trio.current_time() if at is None else at
        if lost:
            self._idle.note(at, lost=True)
        self._idle.release(at)
        self._mark_idle(at)

    def _count_idle(self, at: float) -> None:
        """Count the idle time-out from now, unless something holds the session."""
        self._idle.touch(at)
        self._mark_idle(at)

    def _mark_idle(self, at: float) -> None:
        if not self._idle.holds:
            self._registry.mark_idle(self._record, at, self._idle.timeout)

    @trio.lowlevel.enable_ki_protection
    def touch(self) -> None:
        """Note that something was heard of the client, and count the idle time-out anew from now."""
        at = now()
        self._registry.claim()
        self._touch(at)

    def _touch(self, at: float) -> None:
        self._record.last_activity = at
        self._idle.note(at, lost=False)
        self._count_idle(at)

    @trio.lowlevel.enable_ki_protection
    def close(self, reason: CloseReason = CloseReason.CANCELLED) -> None:
        """End the session: cancel its scope and all of its streams. Idempotent, and does not wait.

        Args:
            reason: Why. The first reason stays.
        """
        self._end_streams(self._refusal() or reason)
        self._scope.cancel(reason=f"session ended: {self._record.reason}")

    async def wait_closed(self) -> None:
        """Wait until the session has ended, with its streams and resources. Always a checkpoint."""
        if self._record.state is State.CLOSED:
            await trio.lowlevel.checkpoint()
            return
        if self._closed is None:
            self._closed = trio.Event()
        await self._closed.wait()

    def _begin_to_leave(self, exc: BaseException | None) -> None:
        """Begin to end the session because its block is being left."""
        # Where a deadline has passed, others were told so already, whatever the block made of it.
        self._end_streams(self._refusal() or end_reason(exc))

    def _leave(self) -> None:
        """Take the session out: now, or with the last of what it contains."""
        self._left = True
        self._settle()

    def _settle(self) -> None:
        """Take the next step of the end: streams go first, then resources, then the session itself."""
        if self._left and not self._record.streams:
            if self._resources:
                self._resources.release_newest()
            else:
                self._discharge()

    async def _drain(self) -> None:
        """Wait until all that the session contains has unwound, shielded, for ``drain_timeout`` seconds each."""
        if self._record.state is State.CLOSED:
            return
        timeout = self._registry.limits.drain_timeout
        with trio.CancelScope(shield=True, relative_deadline=timeout * (1 + len(self._resources))):
            await self.wait_closed()
        if left := len(self._record.streams):
            logger.warning("%d streams of a session still run %g seconds after its end", left, timeout)

    def _end_streams(self, reason: CloseReason) -> None:
        begins = self._record.state is State.OPEN
        for stream in self._record.streams:
            self._host.streams._check_deadline(stream)
        for stream in self._registry.close_session(self._record, reason):
            self._host.streams._end(stream, reason)
        if begins:
            self._resources.end()

    def _discharge(self) -> None:
        self._registry.discharge_session(self._record)
        self._host._session_over(self)
        if self._closed is not None:
            self._closed.set()

    # What streams and readers tell

    def _refusal(self) -> CloseReason | None:
        """Say why the session takes no streams, or ``None`` where it does.

        A deadline may have passed before the session's own task could run.
        """
        reason = self._record.reason
        if reason is None and self._idle.is_over(reading_time(self._record)):
            return self._idle.reason
        return reason

    def _observed(self) -> bool:
        return self._host._observed()

    def _publish(self, change: Change) -> None:
        self._host._publish(change)

    def _stream_opened(self, stream: StreamRecord) -> None:
        """Take note of a new stream."""
        if stream.holds_session:
            self._hold(stream.created)
        if self._observed():
            self._publish(StreamOpened(stream.snapshot(stream.created)))

    def _stream_closed(self, stream: StreamRecord, *, last: bool) -> None:
        """Take note of a stream's end."""
        at = trio.current_time()
        if stream.holds_session:
            self._release_hold(at)
        if self._observed():
            assert stream.reason is not None
            self._publish(StreamClosed(stream.snapshot(at), stream.reason))
        self._host._stream_over()
        if last:
            self._settle()
