"""The default event log: in memory, bounded, gone with the process."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import final

import trio

from ._errors import EventsExpiredError, EventTooLargeError, StreamClosedError, UnknownStreamError
from ._ids import SessionId, StreamId
from ._statistics import EventLogStatistics
from ._util import check_count, check_seconds
from ._window import EventWindow
from .abc import Batch, EventLog, StreamLog


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
        self.max_events: float = check_count("max_events", max_events)
        self.max_stream_bytes: float = check_count("max_stream_bytes", max_stream_bytes)
        self.max_bytes: float = check_count("max_bytes", max_bytes)
        if max_bytes < max_stream_bytes:
            raise ValueError(f"max_bytes={max_bytes:.12g} has no room for max_stream_bytes={max_stream_bytes:.12g}")
        self.max_finished: float = check_count("max_finished", max_finished)
        self.resume_window: float = check_seconds("resume_window", resume_window)
        self.size: int = 0
        self._sessions: dict[SessionId, dict[StreamId, _MemoryStreamLog]] = {}
        # Open streams of which events are kept, the one that was silent longest first.
        self._by_append: OrderedDict[_MemoryStreamLog, None] = OrderedDict()
        self._finished: OrderedDict[_MemoryStreamLog, float] = OrderedDict()

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        self._expire()
        streams = self._sessions.setdefault(session_id, {})
        if stream_id in streams:
            raise ValueError(f"the log has stream {stream_id} already")
        stream = streams[stream_id] = _MemoryStreamLog(self, session_id, stream_id)
        return stream

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await trio.lowlevel.checkpoint()
        self._expire()
        try:
            return self._sessions[session_id][stream_id]
        except KeyError:
            raise UnknownStreamError(stream_id) from None

    def discard_session(self, session_id: SessionId) -> None:
        for stream in list(self._sessions.get(session_id, {}).values()):
            stream.discard()

    def statistics(self) -> EventLogStatistics:
        streams = [stream for session in list(self._sessions.values()) for stream in list(session.values())]
        return EventLogStatistics(
            streams=len(streams),
            finished_streams=len(self._finished),
            events=sum(len(stream.window) for stream in streams),
            bytes=self.size,
        )

    def appended(self, stream: _MemoryStreamLog, growth: int) -> None:
        """Count the bytes by which a stream has grown as it appended an event, and keep the bounds."""
        self.size += growth
        self._by_append[stream] = None
        self._by_append.move_to_end(stream)
        while self.size > self.max_bytes:
            self._make_room(stream.window)

    def _make_room(self, window: EventWindow) -> None:
        if self._finished:
            next(iter(self._finished)).discard()
        elif len(window) > 1:
            self.size -= window.drop_oldest()
        else:
            silent = next(iter(self._by_append))
            self.size -= silent.window.drop_oldest()
            if not len(silent.window):
                del self._by_append[silent]

    def ended(self, stream: _MemoryStreamLog) -> None:
        """Keep a stream that has ended, for a while."""
        self._by_append.pop(stream, None)
        self._finished[stream] = trio.current_time()
        if len(self._finished) > self.max_finished:
            next(iter(self._finished)).discard()
        self._expire()

    def forget(self, stream: _MemoryStreamLog) -> None:
        """Take a stream out."""
        streams = self._sessions[stream.session_id]
        del streams[stream.stream_id]
        if not streams:
            del self._sessions[stream.session_id]
        self._by_append.pop(stream, None)
        self._finished.pop(stream, None)
        self.size -= stream.window.size

    def _expire(self) -> None:
        if self._finished and self.resume_window != math.inf:
            horizon = trio.current_time() - self.resume_window
            while self._finished:
                stream, since = next(iter(self._finished.items()))
                if since > horizon:
                    break
                stream.discard()


@final
class _MemoryStreamLog(StreamLog):
    __slots__ = ("_kept", "_log", "_wakes", "session_id", "stream_id", "window")

    def __init__(self, log: MemoryEventLog, session_id: SessionId, stream_id: StreamId) -> None:
        self._log = log
        self._kept = True
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

    @trio.lowlevel.enable_ki_protection
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        if self.window.finished:
            raise StreamClosedError(self.stream_id)
        log, window = self._log, self.window
        if len(data) > log.max_stream_bytes:
            raise EventTooLargeError("max_stream_bytes", log.max_stream_bytes)
        before = window.size
        seq = window.append(data)
        # A stream that was discarded is bounded, too, as long as somebody appends to it.
        while len(window) > log.max_events or window.size > log.max_stream_bytes:
            window.drop_oldest()
        if self._kept:
            log.appended(self, window.size - before)
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
            if self._kept:
                self._log.ended(self)
            self._wake()

    @trio.lowlevel.enable_ki_protection
    def discard(self) -> None:
        if self._kept:
            self._kept = False
            self._log.forget(self)

    async def read(self, after: int, limit: int) -> Batch:
        await trio.lowlevel.checkpoint()
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
