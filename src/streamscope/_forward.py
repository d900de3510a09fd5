"""Logs that pass everything on to another log, for those that change a part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ._ids import SessionId, StreamId
from ._statistics import EventLogStatistics
from .abc import Batch, EventLog, SavedSession, StreamLog


class ForwardingEventLog(EventLog):
    """Passes everything on. Override `wrap` to hand out streams of another class.

    Args:
        inner: The log to pass it on to.
    """

    def __init__(self, inner: EventLog) -> None:
        self.inner: EventLog = inner

    def wrap(self, stream_id: StreamId, inner: StreamLog) -> StreamLog:
        """Return what is handed out for a stream of the inner log."""
        return inner

    @property
    def durable(self) -> bool:
        return self.inner.durable

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        return self.wrap(stream_id, self.inner.open_stream(session_id, stream_id))

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        return self.wrap(stream_id, await self.inner.find_stream(session_id, stream_id))

    def discard_session(self, session_id: SessionId) -> None:
        self.inner.discard_session(session_id)

    def save_session(self, session: SavedSession) -> None:
        self.inner.save_session(session)

    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        return await self.inner.find_session(session_id)

    def statistics(self) -> EventLogStatistics:
        return self.inner.statistics()


class ForwardingStreamLog(StreamLog):
    """Passes everything on.

    Args:
        inner: The stream to pass it on to.
    """

    __slots__ = ("inner",)

    def __init__(self, inner: StreamLog) -> None:
        self.inner: StreamLog = inner

    @property
    def first(self) -> int:
        return self.inner.first

    @property
    def last(self) -> int:
        return self.inner.last

    @property
    def finished(self) -> bool:
        return self.inner.finished

    def first_after(self, size: int) -> int:
        return self.inner.first_after(size)

    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        return self.inner.append_nowait(data, last=last)

    async def append(self, data: bytes, *, last: bool = False) -> int:
        return await self.inner.append(data, last=last)

    def finish(self) -> None:
        self.inner.finish()

    def discard(self) -> None:
        self.inner.discard()

    def set_will(self, events: Sequence[bytes]) -> None:
        self.inner.set_will(events)

    async def read(self, after: int, limit: int) -> Batch:
        return await self.inner.read(after, limit)

    def read_nowait(self, after: int, limit: int) -> Batch | None:
        return self.inner.read_nowait(after, limit)

    def attach(self, wake: Callable[[], None]) -> None:
        self.inner.attach(wake)

    def detach(self, wake: Callable[[], None]) -> None:
        self.inner.detach(wake)
