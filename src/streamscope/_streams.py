"""The stream manager: who is streaming, and what ends them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, final

import attrs
import trio

from ._clock import now, reading_time
from ._errors import SessionClosedError
from ._idle import IdleDeadline
from ._ids import SessionId, StreamId
from ._limits import LimitOptions, Limits
from ._memory import MemoryEventLog
from ._metadata import StreamMetadata
from ._opening import no_wait
from ._reasons import CloseReason, State
from ._records import StreamRecord
from ._registry import Registry
from ._slow_readers import SlowReaders
from ._statistics import StreamManagerStatistics
from ._stream import OpenStream, Stream
from ._util import check_delay, check_seconds
from .abc import EventLog

# The keyword arguments of open_stream(), in their order.
StreamOptions: TypeAlias = tuple[str, str | None, bool, SlowReaders, float, float]


def _nothing() -> None:
    """Guard nothing."""


@final
class StreamManager:
    """Knows every open stream, and can end it.

    It works on its own, where a session is no more than the name under which
    streams are registered; and it is what a `SessionManager` stands on, where a
    stream can be opened only in an open session.

    All its methods may be called from the thread that runs Trio. Those that
    only look may be called from any thread.

    Args:
        log: Where the streams' events are kept; a new `MemoryEventLog` if none is given.
        max_streams_per_session: Streams of one session open at once. One more: `StreamLimitError`.
    """

    def __init__(self, *, log: EventLog | None = None, max_streams_per_session: float = 10_000) -> None:
        self.log: EventLog = MemoryEventLog() if log is None else log
        """Where the streams' events are kept."""
        self._registry = Registry(Limits(max_streams_per_session=max_streams_per_session))
        self._declared = False

    def _adopt(self, limits: LimitOptions) -> Registry:
        """Tie the streams to sessions that are opened as such, and hand out the registry."""
        if self._declared or self._registry.streams:
            raise ValueError("the stream manager is in use already")
        self._registry.limits = attrs.evolve(self._registry.limits, **limits)
        self._declared = True
        return self._registry

    # Changing

    def open_stream(
        self,
        session_id: SessionId,
        *,
        kind: str = "stream",
        connection_info: str | None = None,
        holds_session: bool = True,
        slow_readers: SlowReaders = SlowReaders(),  # noqa: B008 - a value that does not change
        idle_timeout: float = math.inf,
        abandon_after: float = math.inf,
    ) -> OpenStream:
        """Open a stream for the length of a block: ``async with streams.open_stream(id) as stream``.

        Entering is a checkpoint, also when it refuses. A stream that is ended
        from outside is cancelled, and the block ends quietly, as a cancel
        scope does; if its session has ended, with `SessionClosedError`.

        Args:
            session_id: The session that it belongs to.
            kind: What it serves.
            connection_info: Where its peer is.
            holds_session: Whether the session is not idle while the stream is open.
            slow_readers: What becomes of readers that do not keep up.
            idle_timeout: Seconds without a reader, or a `Stream.touch`, after which the stream ends.
                Sending does not count.
            abandon_after: Seconds after which the stream ends, as ``disconnected``, where its last reader was cut
                off and has not come back. With 0, at once.

        Raises:
            UnknownSessionError: There is no such session.
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        return self._opening(
            _nothing, session_id, kind, connection_info, holds_session, slow_readers, idle_timeout, abandon_after
        )

    def _opening(self, guard: Callable[[], None], session_id: SessionId, *options: *StreamOptions) -> OpenStream:
        """Open a stream, after a checkpoint, unless ``guard``, which is called on entry, raises."""
        self._check_options(*options)
        return OpenStream(trio.lowlevel.checkpoint, partial(self._enter, guard, session_id, *options), self._leave)

    def _admitted(self, session_id: SessionId, *options: *StreamOptions) -> tuple[Stream, OpenStream]:
        """Admit a stream now, and return with it the way into its scope, which is owed to it."""
        self._check_options(*options)
        stream = self._enter(_nothing, session_id, *options)
        return stream, OpenStream(no_wait, lambda: stream, self._leave)

    @staticmethod
    def _check_options(*options: *StreamOptions) -> None:
        check_seconds("idle_timeout", options[-2])
        check_delay("abandon_after", options[-1])

    def _enter(self, guard: Callable[[], None], session_id: SessionId, *options: *StreamOptions) -> Stream:
        guard()
        kind, connection_info, holds_session, slow_readers, idle_timeout, abandon_after = options
        scope = trio.CancelScope()
        record = self._admit(session_id, kind, connection_info, scope, holds_session=holds_session)
        try:
            log = self.log.open_stream(session_id, record.id)
        except BaseException:
            # Nobody has been told of the stream yet.
            self._registry.discharge_stream(record, CloseReason.FAILED)
            raise
        stream = record.handle = Stream(self._registry, record, scope, log, slow_readers)
        if min(idle_timeout, abandon_after) != math.inf:
            stream._idle = IdleDeadline(scope, idle_timeout, abandon_after)
            stream._idle.touch(record.created)
        self._opened(record)
        return stream

    def _leave(self, stream: Stream, reason: CloseReason) -> None:
        try:
            stream.log.finish()
        finally:
            self._discharge(stream._record, reason)
            stream._wake_producers()
            # A cycle of references would be left for the garbage collector, with all that the stream held.
            stream._record.handle = None

    @trio.lowlevel.enable_ki_protection
    def register_stream(
        self,
        session_id: SessionId,
        *,
        kind: str = "stream",
        connection_info: str | None = None,
        scope: trio.CancelScope | None = None,
    ) -> StreamId:
        """Register a stream that somebody else runs; `unregister_stream` is owed for it.

        Prefer `open_stream`, which cannot be forgotten.

        Args:
            session_id: The session that it belongs to.
            kind: What it serves.
            connection_info: Where its peer is.
            scope: What to cancel when the stream is to end. Without one, ending it means to unregister it.

        Returns:
            The new stream's identifier.

        Raises:
            UnknownSessionError: There is no such session.
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
            WrongThreadError: This is not the thread that runs Trio.
        """
        record = self._admit(session_id, kind, connection_info, scope, holds_session=True)
        self._opened(record)
        return record.id

    def _admit(
        self,
        session_id: SessionId,
        kind: str,
        connection_info: str | None,
        scope: trio.CancelScope | None,
        *,
        holds_session: bool,
    ) -> StreamRecord:
        at = now()
        session = self._registry.sessions.get(session_id)
        if session is not None and session.owner is not None and (reason := session.owner._refusal()) is not None:
            raise SessionClosedError(session_id, reason)
        return self._registry.admit_stream(
            session_id,
            now=at,
            wall=time.time(),
            kind=kind,
            connection_info=connection_info,
            scope=scope,
            holds_session=holds_session,
            declared=self._declared,
        )

    def _opened(self, record: StreamRecord) -> None:
        if (owner := record.session.owner) is not None:
            owner._stream_opened(record)

    @trio.lowlevel.enable_ki_protection
    def unregister_stream(self, session_id: SessionId, stream_id: StreamId) -> None:
        """Take out a stream that `register_stream` has put in.

        Raises:
            UnknownStreamError: This session has no such stream.
            RuntimeError: The stream belongs to an ``open_stream()`` block, which takes it out itself.
            WrongThreadError: This is not the thread that runs Trio.
        """
        now()
        record = self._registry.find_stream(session_id, stream_id)
        if record.handle is not None:
            raise RuntimeError(f"stream {stream_id} ends with its open_stream() block; to end it early, cancel it")
        self._discharge(record, CloseReason.COMPLETED)

    def _discharge(self, record: StreamRecord, reason: CloseReason) -> None:
        last = self._registry.discharge_stream(record, reason)
        if (owner := record.session.owner) is not None:
            owner._stream_closed(record, last=last)

    @trio.lowlevel.enable_ki_protection
    def cancel_stream(
        self, session_id: SessionId, stream_id: StreamId, reason: CloseReason = CloseReason.KILLED
    ) -> None:
        """End one stream: cancel its scope, or unregister it where it has none.

        Raises:
            UnknownStreamError: This session has no such stream.
            WrongThreadError: This is not the thread that runs Trio.
        """
        now()
        record = self._registry.find_stream(session_id, stream_id)
        self._check_deadline(record)
        if self._registry.close_stream(record, reason):
            self._end(record, reason)

    @trio.lowlevel.enable_ki_protection
    def cleanup_inactive_streams(self, max_age: float) -> list[StreamId]:
        """End the streams on which nothing happened for more than ``max_age`` seconds.

        Activity is an event sent, a reader's progress, or a `Stream.touch`. A
        stream's scope is cancelled; the stream stays registered until its
        block has unwound, and is not found again. A stream without a scope is
        unregistered. The cost depends on how many are ended, not on how many are open.

        Args:
            max_age: Seconds.

        Returns:
            The streams that were ended, the least active first.

        Raises:
            ValueError: That is no number of seconds.
            WrongThreadError: This is not the thread that runs Trio.
        """
        if math.isnan(max_age) or max_age < 0:
            raise ValueError(f"max_age must be at least 0 seconds, not {max_age!r}")
        expired = self._registry.expire_streams(now(), max_age)
        for record in expired:
            self._end(record, CloseReason.IDLE)
        return [record.id for record in expired]

    def _check_deadline(self, record: StreamRecord) -> None:
        """See to it that the reason of a stream whose deadline has passed stays, though it could not run since."""
        if isinstance(record.handle, Stream) and (reason := record.handle.reason) is not None:
            self._registry.close_stream(record, reason)

    def _end(self, record: StreamRecord, reason: CloseReason) -> None:
        """Do to a stream that the registry has begun to close what has to be done."""
        if record.scope is not None:
            record.scope.cancel(reason=f"stream ended: {reason}")
            if isinstance(record.handle, Stream):
                record.handle._wake_producers()
        elif record.state is not State.CLOSED:
            # An observer of another stream's end may have unregistered it by now.
            self._discharge(record, reason)

    # Looking

    def get_session_streams(self, session_id: SessionId) -> list[StreamId]:
        """Return the open streams of a session, the oldest first; empty where it has none."""
        session = self._registry.sessions.get(session_id)
        return [] if session is None else [record.id for record in list(session.streams)]

    def is_stream_active(self, stream_id: StreamId) -> bool:
        """Tell whether a stream is registered, which is: whether its scope is open."""
        return stream_id in self._registry.streams

    def get_stream(self, stream_id: StreamId) -> Stream | None:
        """Return the stream of an ``open_stream()`` block that is being run, or ``None``."""
        record = self._registry.streams.get(stream_id)
        return record.handle if record is not None and isinstance(record.handle, Stream) else None

    def get_metadata(self, stream_id: StreamId) -> StreamMetadata | None:
        """Return a snapshot of an open stream, or ``None`` where there is none."""
        record = self._registry.streams.get(stream_id)
        return None if record is None else record.snapshot(reading_time(record))

    def list_streams(self) -> list[StreamMetadata]:
        """Return a snapshot of every open stream, the oldest first."""
        return [record.snapshot(reading_time(record)) for record in list(self._registry.streams.values())]

    def statistics(self) -> StreamManagerStatistics:
        """Count what the manager has seen."""
        registry = self._registry
        return StreamManagerStatistics(
            open_streams=len(registry.streams),
            opened_streams=registry.opened_streams,
            closed_streams=dict(registry.closed_streams),
            sent_events=registry.sent_events,
            sent_bytes=registry.sent_bytes,
            coalesced_events=registry.coalesced_events,
            waited_sends=registry.waited_sends,
            skipped_events=registry.skipped_events,
            slow_readers=registry.slow_readers,
        )
