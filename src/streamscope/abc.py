"""The interfaces that others may implement: event logs and instruments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import final

import attrs

from ._changes import Change
from ._ids import SessionId, StreamId
from ._statistics import EventLogStatistics
from ._window import Event

__all__ = ["Batch", "EventLog", "Instrument", "SavedSession", "StreamLog"]


@final
@attrs.frozen
class Batch:
    """Some consecutive events of a stream.

    Args:
        events: The events, oldest first. Empty where there is none yet.
        finished: Whether no event will ever follow the last of them.
    """

    events: list[Event]
    finished: bool


@final
@attrs.frozen(kw_only=True)
class SavedSession:
    """What a log keeps of a session, so that it can be restored in another process.

    Args:
        session_id: The session.
        principal: Its owner, if it has one.
        connection_info: Where the peer that opened it was.
        created_at: When it was opened.
        state: What whoever saved it needs to restore it. The log does not look into it.
    """

    session_id: SessionId
    principal: str | None
    connection_info: str | None
    created_at: datetime
    state: bytes = attrs.field(repr=False)


class StreamLog(ABC):
    """One stream's events, in order, each stored before a reader sees it.

    A handle stays usable for those who hold it, also after the log has
    forgotten the stream: what was there can still be read, so that a reader
    that is under way sees the end.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def first(self) -> int:
        """The number of the oldest event that readers may read, or of the next one where there is none."""

    @property
    @abstractmethod
    def last(self) -> int:
        """The number of the newest event that readers may read; 0 before the first."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the stream takes no more events. Those that it has taken may have yet to be stored."""

    @abstractmethod
    def first_after(self, size: int) -> int:
        """Return what `first` would be if an event were appended now.

        Those that were taken and are yet to be stored count, and of these the log may take as going together
        what it would drop one by one. It is asked before each event that has a reader, so it should cost next to
        nothing where nothing would be dropped.

        Args:
            size: The event's bytes. With so many that the event would be refused, nothing changes.
        """

    @abstractmethod
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        """Append an event without waiting for it to be stored.

        Where a log does input or output that fails later, the event is lost, and the log says so
        with `logging` alone. What must not be lost is for `append`.

        Args:
            data: The event.
            last: Whether no event will follow: `finish` in the same step, so that no reader sees
                the one without the other.

        Returns:
            Its number.

        Raises:
            StreamClosedError: The stream is finished.
            EventTooLargeError: It is larger than all that may be kept.
            trio.WouldBlock: There is no room for it now.
        """

    @abstractmethod
    async def append(self, data: bytes, *, last: bool = False) -> int:
        """Append an event; it is stored when this returns.

        Always a checkpoint. Where it is cancelled, the event may or may not have been appended.

        Args:
            data: The event.
            last: Whether no event will follow, as with `append_nowait`.

        Returns:
            Its number.

        Raises:
            StreamClosedError: The stream is finished.
            EventTooLargeError: It is larger than all that may be kept.
            EventLogFailedError: It could not be stored. It may be tried again.
        """

    @abstractmethod
    def finish(self) -> None:
        """Say that no event will follow. Idempotent.

        The log keeps the events for readers that come back, for as long as its bounds allow.
        """

    @abstractmethod
    def discard(self) -> None:
        """Forget the stream: nobody will come back to it. Idempotent."""

    @abstractmethod
    def set_will(self, events: Sequence[bytes]) -> None:
        """Say what is to be appended in the stream's name if the process ends before the stream has.

        A log that survives the process appends these events when it is next opened, and finishes the
        stream; any other has nothing to do. Stored in order with the events. Has no effect on a stream
        that is finished.

        Args:
            events: The last events, in order. They replace those of the call before.
        """

    @abstractmethod
    async def read(self, after: int, limit: int) -> Batch:
        """Read events without waiting for new ones. Always a checkpoint.

        Args:
            after: The number of the last event that the reader has; 0 for none.
            limit: The number of events to return at most, at least 1.

        Raises:
            EventsExpiredError: Some of the events after that one are no longer kept.
        """

    @abstractmethod
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        """Do what `read` does, where that takes no time.

        It is asked first. A log that has the newest events in memory saves a reader that keeps up a turn of the
        event loop with each of them.

        Returns:
            ``None`` where `read` has to be called, which a log may always say.

        Raises:
            EventsExpiredError: As with `read`.
        """

    @abstractmethod
    def attach(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever there may be more to read. It must neither block nor raise."""

    @abstractmethod
    def detach(self, wake: Callable[[], None]) -> None:
        """Undo `attach`."""


class EventLog(ABC):
    """Where the events of many streams are kept.

    Every implementation must pass `streamscope.testing.check_event_log`.
    """

    @property
    @abstractmethod
    def durable(self) -> bool:
        """Whether another process will find what this one has stored."""

    @abstractmethod
    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        """Begin the log of a new stream.

        Raises:
            ValueError: The stream is there already.
        """

    @abstractmethod
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        """Find the log of a stream that may have ended. Always a checkpoint.

        Raises:
            UnknownStreamError: There is none in this session, or no longer.
        """

    @abstractmethod
    def discard_session(self, session_id: SessionId) -> None:
        """Forget all streams of a session that has ended, and what was saved of it."""

    @abstractmethod
    def save_session(self, session: SavedSession) -> None:
        """Keep what is needed to restore a session in another process, without waiting for it to be stored.

        It replaces what was saved of that session before. A log that ends with the process has nothing to do.
        """

    @abstractmethod
    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        """Find what was saved of a session; ``None`` where there is nothing. Always a checkpoint."""

    @abstractmethod
    def statistics(self) -> EventLogStatistics:
        """Count what is kept."""


class Instrument(ABC):
    """Something that wants to know what happens to sessions and streams.

    It is called synchronously, after the change, in the thread that runs Trio.
    One that raises is logged and switched off.
    """

    @abstractmethod
    def changed(self, change: Change) -> None:
        """Take note of a change. Must not block."""
