"""The readers of one session's streams."""

from __future__ import annotations

from typing import Final, Protocol, final

import trio

from ._changes import Change, ReaderAttached, ReaderDetached
from ._errors import SessionClosedError, UnknownStreamError
from ._ids import SessionId, StreamId
from ._metadata import SessionMetadata
from ._reader import EventReader
from ._reasons import CloseReason
from ._streams import StreamManager
from .abc import StreamLog

# It did not have all that there was, and may come back.
_LOST: Final = frozenset({CloseReason.DISCONNECTED, CloseReason.SLOW_READER})


class ReadSession(Protocol):
    """What readers need of their session."""

    @property
    def id(self) -> SessionId: ...
    @property
    def metadata(self) -> SessionMetadata: ...
    def _refused(self) -> SessionClosedError | None: ...
    def _hold(self, at: float) -> None: ...
    def _touch(self, at: float) -> None: ...
    def _release_hold(self, at: float, *, lost: bool) -> None: ...
    def _observed(self) -> bool: ...
    def _publish(self, change: Change) -> None: ...


@final
class Readers:
    """Finds what readers read, and keeps account of those that are attached.

    While one is, neither its stream nor its session is idle.

    Args:
        session: The session.
        streams: Where its streams are.
    """

    __slots__ = ("_attached", "_session", "_streams")

    def __init__(self, session: ReadSession, streams: StreamManager) -> None:
        self._session = session
        self._streams = streams
        self._attached: dict[StreamId, list[EventReader]] = {}

    @property
    def attached(self) -> list[EventReader]:
        """All that are attached, stream by stream."""
        return [reader for readers in list(self._attached.values()) for reader in readers]

    def of(self, stream_id: StreamId) -> list[EventReader]:
        """Return the readers of a stream, the oldest first."""
        return list(self._attached.get(stream_id, ()))

    async def _find_log(self, stream_id: StreamId) -> StreamLog:
        """Find the events of one of the session's streams. Always a checkpoint."""
        try:
            log = await self._streams.log.find_stream(self._session.id, stream_id)
        except UnknownStreamError:
            if (refusal := self._session._refused()) is not None:
                raise refusal from None
            raise
        if (refusal := self._session._refused()) is not None:
            raise refusal
        return log

    def _open_log(self, stream_id: StreamId) -> StreamLog:
        """Return the events of one of the session's streams that are open."""
        stream = self._streams.get_stream(stream_id)
        if stream is None or stream.session_id != self._session.id:
            raise UnknownStreamError(stream_id)
        return stream.log

    def _reader_attached(self, reader: EventReader, *, supersede: bool) -> None:
        """Take note of a new reader."""
        others = self._attached.setdefault(reader.stream_id, [])
        if supersede:
            for other in others:
                other.end(CloseReason.SUPERSEDED)
        others.append(reader)
        at = trio.current_time()
        # In this order: a session that is held has no idle time-out to count anew.
        self._session._hold(at)
        self._session._touch(at)
        if (stream := self._streams.get_stream(reader.stream_id)) is not None:
            stream._reader_attached(reader, at)
            reader._stream = stream
        if self._session._observed():
            self._session._publish(ReaderAttached(self._session.metadata, reader.position))

    def _reader_skipped(self, count: int) -> None:
        """Count events that a reader did not get."""
        self._streams._registry.skipped_events += count

    def _reader_detached(self, reader: EventReader, reason: CloseReason) -> None:
        """Take note of a reader's end."""
        others = self._attached[reader.stream_id]
        others.remove(reader)
        if not others:
            del self._attached[reader.stream_id]
        lost = reason in _LOST
        self._streams._registry.slow_readers += reason is CloseReason.SLOW_READER
        at = trio.current_time()
        self._session._release_hold(at, lost=lost and not self._attached)
        if reader._stream is not None:
            reader._stream._reader_detached(reader, at, lost=lost)
            # Each would be kept alive by the other.
            reader._stream = None
        if self._session._observed():
            self._session._publish(ReaderDetached(self._session.metadata, reader.position, reason))
