"""The streams of a session that carry what belongs to no request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

import trio

from .._ids import StreamId
from .._reasons import CloseReason
from .._session import Session
from .._stream import Stream


@final
class ListeningStreams:
    """Opens a session's listening streams, and says which of them a message goes to.

    2025-11-25, "Multiple Connections": a client may hold several GET streams,
    and each message goes to exactly one. Here that is the newest that has a
    reader, else the newest, whose reader may come back. Where the client has
    opened none yet, a stream is opened for it, and its first GET reads it from
    the start: what was said before it came is not lost.

    A client that comes back for a stream that has ended meanwhile, because it
    came too late or the server was restarted, goes on with a new one.

    Args:
        session: The session.
        grace: Seconds that a stream waits for a reader.
        limit: Streams that a client may hold. One more ends the oldest, as ``superseded``.
        changed: Called when there is one more to come back for.
    """

    __slots__ = ("_changed", "_grace", "_known", "_limit", "_session", "_streams", "_unclaimed")

    def __init__(self, session: Session, grace: float, limit: int, changed: Callable[[], None] | None = None) -> None:
        self._session = session
        self._grace = grace
        self._limit = limit
        self._changed = changed
        self._known: dict[StreamId, None] = {}
        self._streams: list[Stream] = []
        self._unclaimed: Stream | None = None

    @property
    def streams(self) -> list[Stream]:
        """The streams that are open, the oldest first."""
        return [stream for stream in self._streams if stream.reason is None]

    @property
    def known(self) -> list[StreamId]:
        """The newest streams that a client may come back for, whether or not they have ended; the oldest first."""
        return list(self._known)

    def remember(self, streams: Iterable[StreamId]) -> None:
        """Know streams that another process has opened."""
        self._known = {**dict.fromkeys(streams), **self._known}

    def claim(self, connection_info: str | None) -> Stream:
        """Return the stream that a new GET reads.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        stream, self._unclaimed = self._unclaimed, None
        if stream is not None and stream.reason is None:
            return stream
        if len(self.streams) >= self._limit:
            self.streams[0].cancel(CloseReason.SUPERSEDED)
        return self._open(connection_info)

    def outlet(self) -> Stream:
        """Return the stream that a message of the server goes to.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        stream = self._newest()
        if stream is None:
            stream = self._unclaimed = self._open(None)
        return stream

    def _newest(self) -> Stream | None:
        """Return the newest stream that has a reader, else the newest."""
        streams = self.streams
        for stream in reversed(streams):
            if self._session.get_readers(stream.id):
                return stream
        return streams[-1] if streams else None

    def _open(self, connection_info: str | None) -> Stream:
        # It does not hold the session: its readers do. Nor do handlers wait for one that is slow: what they say here is
        # for all clients.
        stream = self._session.start_stream_nowait(
            self._serve, kind="get", connection_info=connection_info, holds_session=False, idle_timeout=self._grace
        )
        self._streams.append(stream)
        self._known[stream.id] = None
        # A client that holds as many as it may can lose them all at once.
        while len(self._known) > 2 * self._limit:
            del self._known[next(iter(self._known))]
        if self._changed is not None:
            self._changed()
        return stream

    async def _serve(self, stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._streams.remove(stream)
            if stream.reason is CloseReason.SUPERSEDED:
                # Its client would take turns with itself.
                self._known.pop(stream.id, None)
