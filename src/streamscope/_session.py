"""One session: a scope that takes all of its streams with it, and waits for them."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Protocol, TypeVarTuple, final

import trio

from ._changes import Change, ReaderAttached, ReaderDetached, StreamClosed, StreamOpened
from ._clock import now, reading_time
from ._errors import SessionClosedError, UnknownStreamError
from ._idle import IdleDeadline
from ._ids import SessionId, StreamId
from ._metadata import SessionMetadata
from ._reader import EventReader, OpenReader
from ._reasons import CloseReason, State
from ._registry import Registry, SessionRecord, StreamRecord
from ._start import start_scope
from ._stream import OpenStream, Stream, end_reason
from ._streams import StreamManager
from ._util import check_seconds
from .abc import StreamLog

logger: Final = logging.getLogger("streamscope")
Ts = TypeVarTuple("Ts")


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

    __slots__ = ("_closed", "_host", "_idle", "_left", "_readers", "_record", "_registry", "_scope")

    def __init__(self, host: SessionHost, registry: Registry, record: SessionRecord, scope: trio.CancelScope) -> None:
        self._host = host
        self._registry = registry
        self._record = record
        self._scope = scope
        self._closed: trio.Event | None = None
        self._left = False
        self._readers: dict[StreamId, list[EventReader]] = {}
        limits = registry.limits
        self._idle = IdleDeadline(scope, limits.idle_timeout, trio.current_time() + limits.max_age)
        self._idle.touch()
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
        return self._idle.timeout

    @idle_timeout.setter
    @trio.lowlevel.enable_ki_protection
    def idle_timeout(self, seconds: float) -> None:
        if seconds != self._idle.timeout:
            self._idle.timeout = check_seconds("idle_timeout", seconds)
            self._idle.touch()

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
        idle_timeout: float = math.inf,
    ) -> OpenStream:
        """Open a stream for the length of a block; see `StreamManager.open_stream`."""
        return self._host.streams._opening(
            self._check_there, self.id, kind, connection_info, holds_session, idle_timeout
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
        idle_timeout: float = math.inf,
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
        opening = self.open_stream(
            kind=kind, connection_info=connection_info, holds_session=holds_session, idle_timeout=idle_timeout
        )
        if self._record.state is not State.OPEN:
            # The nursery may be closed by now, and would say so instead.
            await trio.lowlevel.checkpoint()
            raise self._ended()
        return await start_scope(self._host.nursery, self.id, opening, async_fn, *args)

    def open_reader(self, stream_id: StreamId, *, after: int = 0, supersede: bool = False) -> OpenReader:
        """Read a stream's events for the length of a block: ``async with session.open_reader(id) as reader``.

        The stream may have ended, as long as its events are kept. While it is
        read, neither it nor the session is idle.

        Args:
            stream_id: A stream of this session.
            after: The number of the last event that the reader already has; 0 for none.
            supersede: Whether the other readers of the stream are ended, as ``superseded``.

        Raises:
            UnknownStreamError: This session has no such stream, or no longer.
            UnknownEventError: The stream has no event of that number yet.
            EventsExpiredError: Some of the events after that one are no longer kept.
            SessionClosedError: The session has ended.
        """
        return OpenReader(self, stream_id, after, supersede=supersede)

    def get_readers(self, stream_id: StreamId) -> list[EventReader]:
        """Return the readers of a stream that are attached now, the oldest first."""
        return list(self._readers.get(stream_id, ()))

    # Life

    @trio.lowlevel.enable_ki_protection
    def touch(self) -> None:
        """Note that something happened, and count the idle time-out anew from now."""
        at = now()
        self._registry.claim()
        self._record.last_activity = at
        self._idle.touch()

    @trio.lowlevel.enable_ki_protection
    def close(self, reason: CloseReason = CloseReason.CANCELLED) -> None:
        """End the session: cancel its scope and all of its streams. Idempotent, and does not wait.

        Args:
            reason: Why. The first reason stays.
        """
        self._end_streams(self._refusal() or reason)
        self._scope.cancel(reason=f"session ended: {self._record.reason}")

    async def wait_closed(self) -> None:
        """Wait until the session and all of its streams have ended. Always a checkpoint."""
        if self._record.state is State.CLOSED:
            await trio.lowlevel.checkpoint()
            return
        if self._closed is None:
            self._closed = trio.Event()
        await self._closed.wait()

    def _begin_to_leave(self, exc: BaseException | None) -> None:
        """Begin to end the session because its block is being left."""
        # Where a deadline has passed, others were told so already, whatever the block made of it.
        self._end_streams(self._refusal() or end_reason(exc, self._scope))

    def _leave(self) -> None:
        """Take the session out: now, or with its last stream."""
        self._left = True
        if not self._record.streams:
            self._discharge()

    async def _drain(self) -> None:
        """Wait until the session's streams have unwound, shielded, for at most ``drain_timeout`` seconds."""
        if not self._record.streams:
            return
        timeout = self._registry.limits.drain_timeout
        with trio.CancelScope(shield=True, relative_deadline=timeout):
            await self.wait_closed()
        if left := len(self._record.streams):
            logger.warning("%d streams of a session still run %g seconds after its end", left, timeout)

    def _end_streams(self, reason: CloseReason) -> None:
        for stream in self._registry.close_session(self._record, reason):
            self._host.streams._end(stream, reason)

    def _discharge(self) -> None:
        self._registry.discharge_session(self._record)
        self._host._session_over(self)
        if self._closed is not None:
            self._closed.set()

    # What the stream manager tells

    def _refusal(self) -> CloseReason | None:
        """Say why the session takes no streams, or ``None`` where it does.

        A deadline may have passed before the session's own task could run.
        """
        reason = self._record.reason
        if reason is None and self._scope.deadline != math.inf and reading_time(self._record) >= self._scope.deadline:
            return self._deadline_reason()
        return reason

    def _stream_opened(self, stream: StreamRecord) -> None:
        """Take note of a new stream."""
        if stream.holds_session:
            self._idle.hold()
        if self._host._observed():
            self._host._publish(StreamOpened(stream.snapshot(stream.created)))

    def _stream_closed(self, stream: StreamRecord, *, last: bool) -> None:
        """Take note of a stream's end."""
        if stream.holds_session:
            self._idle.release()
        if self._host._observed():
            assert stream.reason is not None
            self._host._publish(StreamClosed(stream.snapshot(trio.current_time()), stream.reason))
        self._host._stream_over()
        if last and self._left:
            self._discharge()

    def _deadline_reason(self) -> CloseReason:
        return CloseReason.EXPIRED if self._idle.expired else CloseReason.IDLE

    # What readers tell

    async def _find_log(self, stream_id: StreamId) -> StreamLog:
        """Find the events of one of the session's streams. Always a checkpoint."""
        try:
            log = await self._host.streams.log.find_stream(self.id, stream_id)
        except UnknownStreamError:
            if self._refusal() is not None:
                raise self._ended() from None
            raise
        if self._refusal() is not None:
            raise self._ended()
        return log

    def _reader_attached(self, reader: EventReader, *, supersede: bool) -> None:
        """Take note of a new reader."""
        others = self._readers.setdefault(reader.stream_id, [])
        if supersede:
            for other in others:
                other.end(CloseReason.SUPERSEDED)
        others.append(reader)
        self._idle.hold()
        if (stream := self._host.streams.get_stream(reader.stream_id)) is not None:
            stream._reader_attached()
        if self._host._observed():
            self._host._publish(ReaderAttached(self.metadata, reader.position))

    def _reader_moved(self, reader: EventReader) -> None:
        """Take note of a reader's progress."""
        if (stream := self._host.streams.get_stream(reader.stream_id)) is not None:
            stream.touch()

    def _reader_detached(self, reader: EventReader, reason: CloseReason) -> None:
        """Take note of a reader's end."""
        others = self._readers[reader.stream_id]
        others.remove(reader)
        if not others:
            del self._readers[reader.stream_id]
        self._idle.release()
        if (stream := self._host.streams.get_stream(reader.stream_id)) is not None:
            stream._reader_detached()
        if self._host._observed():
            self._host._publish(ReaderDetached(self.metadata, reader.position, reason))


@final
class OpenSession:
    """The context manager behind ``open_session()``: a class, so that Ctrl-C finds it whole.

    Args:
        enter: Admits the session and makes its scope; synchronous, may refuse.
    """

    __slots__ = ("_enter", "_session")

    def __init__(self, enter: Callable[[], Session]) -> None:
        self._enter: Callable[[], Session] | None = enter
        self._session: Session | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Session:
        if self._enter is None:
            raise RuntimeError("open_session() can be entered only once")
        await trio.lowlevel.checkpoint()
        session = self._session = self._enter()
        # It need not live as long as the scope.
        self._enter = None
        session._scope.__enter__()
        return session

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        session = self._session
        assert session is not None
        session._begin_to_leave(exc)
        waits = True
        try:
            return session._scope.__exit__(exc_type, exc, traceback)
        except RuntimeError:
            # This very task has left a stream of the session open, and cannot end it while it waits here.
            waits = False
            raise
        finally:
            session._leave()
            if waits:
                await session._drain()  # noqa: ASYNC102 - has its own shield
