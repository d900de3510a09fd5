"""What an event log keeps, of many streams, within its bounds."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar, final

from ._errors import UnknownStreamError
from ._ids import SessionId, StreamId
from ._statistics import EventLogStatistics
from ._util import check_count, check_seconds


class Window(Protocol):
    """The events of one stream that are kept, or what is known of them."""

    @property
    def first(self) -> int: ...
    @property
    def size(self) -> int: ...
    def __len__(self) -> int: ...
    def size_of(self, index: int) -> int: ...
    def drop_oldest(self) -> int: ...


class Kept(Protocol):
    """One stream of a log."""

    @property
    def session_id(self) -> SessionId: ...
    @property
    def stream_id(self) -> StreamId: ...
    @property
    def window(self) -> Window: ...
    def discard(self) -> None: ...


K = TypeVar("K", bound=Kept)


@final
class Retention(Generic[K]):
    """Knows which streams a log keeps, and decides what goes where a bound is reached.

    Args:
        max_events: Events kept per stream.
        max_stream_bytes: Bytes kept per stream.
        max_bytes: Bytes kept in all.
        max_finished: Streams that have ended, kept for readers that come back.
        resume_window: Seconds that those are kept.

    Raises:
        ValueError: One of them is no bound, or the whole has no room for one stream.
    """

    def __init__(
        self, *, max_events: float, max_stream_bytes: float, max_bytes: float, max_finished: float, resume_window: float
    ) -> None:
        self.max_events: float = check_count("max_events", max_events)
        self.max_stream_bytes: float = check_count("max_stream_bytes", max_stream_bytes)
        self.max_bytes: float = check_count("max_bytes", max_bytes)
        if max_bytes < max_stream_bytes:
            raise ValueError(f"max_bytes={max_bytes:.12g} has no room for max_stream_bytes={max_stream_bytes:.12g}")
        self.max_finished: float = check_count("max_finished", max_finished)
        self.resume_window: float = check_seconds("resume_window", resume_window)
        self.size: int = 0
        """Bytes of all events that are kept."""
        self.sessions: dict[SessionId, dict[StreamId, K]] = {}
        self.by_append: OrderedDict[K, None] = OrderedDict()
        """Open streams of which events are kept, the one that was silent longest first."""
        self.finished: OrderedDict[K, float] = OrderedDict()
        """Streams that have ended, with the time of that, the one that ended first first."""

    def require_new(self, session_id: SessionId, stream_id: StreamId, now: float) -> None:
        """Make sure that a stream can be added.

        Raises:
            ValueError: It is there already.
        """
        self.expire(now)
        if stream_id in self.sessions.get(session_id, ()):
            raise ValueError(f"the log has stream {stream_id} already")

    def add(self, stream: K) -> None:
        """Keep a new stream."""
        self.sessions.setdefault(stream.session_id, {})[stream.stream_id] = stream

    def restore(self, stream: K, since: float) -> None:
        """Keep a stream that ended before there was this log, no earlier than those that were restored before it."""
        self.add(stream)
        self.size += stream.window.size
        self.finished[stream] = since
        while len(self.finished) > self.max_finished or self.size > self.max_bytes:
            next(iter(self.finished)).discard()

    def find(self, session_id: SessionId, stream_id: StreamId, now: float) -> K:
        """Find a stream.

        Raises:
            UnknownStreamError: There is none in this session, or no longer.
        """
        self.expire(now)
        try:
            return self.sessions[session_id][stream_id]
        except KeyError:
            raise UnknownStreamError(stream_id) from None

    def discard_session(self, session_id: SessionId) -> None:
        """Discard all streams of a session."""
        for stream in list(self.sessions.get(session_id, {}).values()):
            stream.discard()

    def trim(self, window: Window) -> None:
        """Keep one stream's bounds. A stream that was discarded has them too, as long as somebody appends to it."""
        while len(window) > self.max_events or window.size > self.max_stream_bytes:
            window.drop_oldest()

    def first_after(self, window: Window, size: int, *, count: int = 1, counted: bool = True) -> int:
        """Return the number of the oldest event that a stream would keep if it took some more now.

        Args:
            window: What is kept of the stream.
            size: Bytes of the events that it would take.
            count: How many these are.
            counted: Whether they count among those of all streams. Not where the stream was discarded.
        """
        kept = len(window)
        over_events = max(0, kept + count - self.max_events)
        over_bytes = window.size + size - self.max_stream_bytes
        over_all = self.size + size - self.max_bytes if counted else 0
        if not over_events and over_bytes <= 0 and over_all <= 0:
            return window.first
        dropped = freed = 0
        while dropped < kept and (dropped < over_events or freed < over_bytes):
            freed += window.size_of(dropped)
            dropped += 1
        over_all -= freed
        for stream in self.finished:
            if over_all <= 0:
                break
            over_all -= stream.window.size
        while dropped < kept and over_all > 0:
            over_all -= window.size_of(dropped)
            dropped += 1
        if dropped == kept and (freed < over_bytes or over_all > 0):
            # Of those that are not there yet only the sum is known, so they count as going together.
            dropped += count - 1
        return window.first + max(dropped, int(over_events))

    def appended(self, stream: K, growth: int) -> None:
        """Count the bytes by which a stream has grown as it appended an event, and keep the bounds."""
        self.size += growth
        self.by_append[stream] = None
        self.by_append.move_to_end(stream)
        while self.size > self.max_bytes:
            self._make_room(stream.window)

    def _make_room(self, window: Window) -> None:
        if self.finished:
            next(iter(self.finished)).discard()
        elif len(window) > 1:
            self.size -= window.drop_oldest()
        else:
            silent = next(iter(self.by_append))
            self.size -= silent.window.drop_oldest()
            if not len(silent.window):
                del self.by_append[silent]

    def ended(self, stream: K, now: float) -> None:
        """Keep a stream that has ended, for a while."""
        self.by_append.pop(stream, None)
        self.finished[stream] = now
        if len(self.finished) > self.max_finished:
            next(iter(self.finished)).discard()
        self.expire(now)

    def forget(self, stream: K) -> None:
        """Take a stream out."""
        streams = self.sessions[stream.session_id]
        del streams[stream.stream_id]
        if not streams:
            del self.sessions[stream.session_id]
        self.by_append.pop(stream, None)
        self.finished.pop(stream, None)
        self.size -= stream.window.size

    def expire(self, now: float) -> None:
        """Discard the streams that ended so long ago."""
        if self.finished and self.resume_window != math.inf:
            horizon = now - self.resume_window
            while self.finished:
                stream, since = next(iter(self.finished.items()))
                if since > horizon:
                    break
                stream.discard()

    def statistics(self) -> EventLogStatistics:
        """Count what is kept. May be called in any thread."""
        streams = [stream for session in list(self.sessions.values()) for stream in list(session.values())]
        return EventLogStatistics(
            streams=len(streams),
            finished_streams=len(self.finished),
            events=sum(len(stream.window) for stream in streams),
            bytes=self.size,
        )
