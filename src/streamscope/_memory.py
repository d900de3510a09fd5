"""The default event log: in memory, bounded, gone with the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import trio

from ._errors import EventsExpiredError, EventTooLargeError, StreamClosedError
from ._ids import SessionId, StreamId
from ._retention import Retention
from ._statistics import EventLogStatistics
from ._window import EventWindow
from .abc import Batch, EventLog, SavedSession, StreamLog


@final
class MemoryEventLog(EventLog):
    """Keeps events in memory.

    Each stream has a window of its newest events. A reader that asks for one
    that has left the window is told so (`EventsExpiredError`). Where the whole
    log is full, room is made in this order: streams that have ended, those that
    ended first; then the oldest events of the stream that is being appended to;
    then the oldest events of the stream that was silent longest.

    Args:
        max_events: Events kept per stream.
        max_stream_bytes: Bytes kept per stream.
        max_bytes: Bytes kept in all.
        max_finished: Streams that have ended, kept for readers that come back.
        resume_window: Seconds that those are kept.
    """

    def __init__(
        self,
        *,
        max_events: float = 1024,
        max_stream_bytes: float = 16 * 2**20,
        max_bytes: float = 256 * 2**20,
        max_finished: float = 10_000,
        resume_window: float = 300.0,
    ) -> None:
        self._kept: Retention[_MemoryStreamLog] = Retention(
            max_events=max_events,
            max_stream_bytes=max_stream_bytes,
            max_bytes=max_bytes,
            max_finished=max_finished,
            resume_window=resume_window,
        )

    @property
    def durable(self) -> bool:
        return False

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        self._kept.require_new(session_id, stream_id, trio.current_time())
        stream = _MemoryStreamLog(self._kept, session_id, stream_id)
        self._kept.add(stream)
        return stream

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await trio.lowlevel.checkpoint()
        return self._kept.find(session_id, stream_id, trio.current_time())

    def discard_session(self, session_id: SessionId) -> None:
        self._kept.discard_session(session_id)

    def save_session(self, session: SavedSession) -> None:
        """Do nothing: what is in memory ends with the process, and so does the session."""

    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        await trio.lowlevel.checkpoint()
        return None

    def statistics(self) -> EventLogStatistics:
        return self._kept.statistics()


@final
class _MemoryStreamLog(StreamLog):
    __slots__ = ("_discarded", "_kept", "_wakes", "session_id", "stream_id", "window")

    def __init__(self, kept: Retention[_MemoryStreamLog], session_id: SessionId, stream_id: StreamId) -> None:
        self._kept = kept
        self._discarded = False
        self._wakes: dict[Callable[[], None], None] = {}
        self.session_id: SessionId = session_id
        self.stream_id: StreamId = stream_id
        self.window: EventWindow = EventWindow()

    @property
    def first(self) -> int:
        return self.window.first

    @property
    def last(self) -> int:
        return self.window.last

    @property
    def finished(self) -> bool:
        return self.window.finished

    def first_after(self, size: int) -> int:
        kept, window = self._kept, self.window
        if window.finished or size > kept.max_stream_bytes:
            return window.first
        return kept.first_after(window, size, counted=not self._discarded)

    @trio.lowlevel.enable_ki_protection
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        if self.window.finished:
            raise StreamClosedError(self.stream_id)
        kept, window = self._kept, self.window
        if len(data) > kept.max_stream_bytes:
            raise EventTooLargeError("max_stream_bytes", kept.max_stream_bytes)
        before = window.size
        seq = window.append(data)
        kept.trim(window)
        if not self._discarded:
            kept.appended(self, window.size - before)
        if last:
            self.finish()
        else:
            self._wake()
        return seq

    @trio.lowlevel.enable_ki_protection
    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return self.append_nowait(data, last=last)
        finally:
            # Also where it is refused: whoever tries again must not keep others from running.
            await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    def finish(self) -> None:
        if not self.window.finished:
            self.window.finished = True
            if not self._discarded:
                self._kept.ended(self, trio.current_time())
            self._wake()

    @trio.lowlevel.enable_ki_protection
    def discard(self) -> None:
        if not self._discarded:
            self._discarded = True
            self._kept.forget(self)

    def set_will(self, events: Sequence[bytes]) -> None:
        """Do nothing: the stream ends with the process, and nobody can ask for it any more."""

    async def read(self, after: int, limit: int) -> Batch:
        await trio.lowlevel.checkpoint()
        return self.read_nowait(after, limit)

    def read_nowait(self, after: int, limit: int) -> Batch:
        window = self.window
        if after + 1 < window.first:
            raise EventsExpiredError(self.stream_id, after, window.first)
        events = window.after(after, limit)
        return Batch(events, window.finished and after + len(events) >= window.last)

    def attach(self, wake: Callable[[], None]) -> None:
        self._wakes[wake] = None

    def detach(self, wake: Callable[[], None]) -> None:
        self._wakes.pop(wake, None)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()
