"""The streams of a session that carry what belongs to no request."""

from __future__ import annotations

from typing import final

import trio

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

    Args:
        session: The session.
        grace: Seconds that a stream waits for a reader.
        limit: Streams that a client may hold. One more ends the oldest, as ``superseded``.
    """

    __slots__ = ("_grace", "_limit", "_lock", "_session", "_streams", "_unclaimed")

    def __init__(self, session: Session, grace: float, limit: int) -> None:
        self._session = session
        self._grace = grace
        self._limit = limit
        self._streams: list[Stream] = []
        self._unclaimed: Stream | None = None
        self._lock: trio.Lock | None = None

    @property
    def streams(self) -> list[Stream]:
        """The streams that are open, the oldest first."""
        return [stream for stream in self._streams if stream.reason is None]

    async def claim(self, connection_info: str | None) -> Stream:
        """Return the stream that a new GET reads. Always a checkpoint.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        async with self._opening():
            stream, self._unclaimed = self._unclaimed, None
            if stream is not None and stream.reason is None:
                return stream
            if len(self.streams) >= self._limit:
                self.streams[0].cancel(CloseReason.SUPERSEDED)
            return await self._open(connection_info)

    async def outlet(self) -> Stream:
        """Return the stream that a message of the server goes to. A checkpoint only where it opens one.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        stream = self._newest()
        if stream is None:
            async with self._opening():
                # Another task may have been quicker.
                stream = self._newest()
                if stream is None:
                    stream = self._unclaimed = await self._open(None)
        return stream

    def _newest(self) -> Stream | None:
        """Return the newest stream that has a reader, else the newest."""
        streams = self.streams
        for stream in reversed(streams):
            if self._session.get_readers(stream.id):
                return stream
        return streams[-1] if streams else None

    def _opening(self) -> trio.Lock:
        """Return what keeps others out: to open a stream takes time, in which another task may look for one."""
        # Most sessions have no such stream, ever.
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock

    async def _open(self, connection_info: str | None) -> Stream:
        # It does not hold the session: its readers do. Nor do handlers wait for one that is slow: what they say here is
        # for all clients.
        return await self._session.start_stream(
            self._serve, kind="get", connection_info=connection_info, holds_session=False, idle_timeout=self._grace
        )

    async def _serve(self, stream: Stream) -> None:
        self._streams.append(stream)
        try:
            await trio.sleep_forever()
        finally:
            self._streams.remove(stream)
