"""What can go wrong, named after whose doing it was."""

from __future__ import annotations

from typing import final

import trio

from ._ids import SessionId, StreamId
from ._reasons import CloseReason


@final
class SessionClosedError(trio.BrokenResourceError):
    """The session ended under you: by its client, by a time-out, by the operator or with the server.

    Attributes:
        session_id: The session.
        reason: Why it ended.
    """

    def __init__(self, session_id: SessionId, reason: CloseReason) -> None:
        super().__init__(session_id, reason)
        self.session_id = session_id
        self.reason = reason

    def __str__(self) -> str:
        return f"the session has ended: {self.reason}"


@final
class ManagerClosedError(trio.ClosedResourceError):
    """The session manager is draining or closed, and opens no sessions any more."""

    def __str__(self) -> str:
        return "the session manager opens no new sessions: it is stopping"


@final
class StreamClosedError(trio.ClosedResourceError):
    """The stream has ended, so nothing can be sent on it or registered with it any more.

    Attributes:
        stream_id: The stream.
    """

    def __init__(self, stream_id: StreamId) -> None:
        super().__init__(stream_id)
        self.stream_id = stream_id

    def __str__(self) -> str:
        return f"stream {self.stream_id} has ended"


@final
class ReaderClosedError(trio.BrokenResourceError):
    """The reader was ended from outside; the stream goes on.

    Attributes:
        reason: Why: `CloseReason.SUPERSEDED`, `CloseReason.SLOW_READER`, ….
    """

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the reader was ended: {self.reason}"


@final
class UnknownSessionError(LookupError):
    """There is no such session, or it is not the caller's."""

    def __str__(self) -> str:
        return "no such session; it may have ended"


@final
class UnknownStreamError(LookupError):
    """There is no such stream in this session.

    Attributes:
        stream_id: The stream that was asked for.
    """

    def __init__(self, stream_id: StreamId) -> None:
        super().__init__(stream_id)
        self.stream_id = stream_id

    def __str__(self) -> str:
        return f"no stream {self.stream_id} in this session"


@final
class UnknownEventError(LookupError):
    """The stream has no such event yet.

    Attributes:
        stream_id: The stream.
        seq: The event that was asked for.
    """

    def __init__(self, stream_id: StreamId, seq: int) -> None:
        super().__init__(stream_id, seq)
        self.stream_id = stream_id
        self.seq = seq

    def __str__(self) -> str:
        return f"stream {self.stream_id} has no event {self.seq}"


@final
class EventsExpiredError(LookupError):
    """Events that were asked for are no longer kept.

    Attributes:
        stream_id: The stream.
        after: The position that was asked for.
        first: The number of the oldest event that is still there, or that will come next.
    """

    def __init__(self, stream_id: StreamId, after: int, first: int) -> None:
        super().__init__(stream_id, after, first)
        self.stream_id = stream_id
        self.after = after
        self.first = first

    def __str__(self) -> str:
        return (
            f"events {self.after + 1} to {self.first - 1} of stream {self.stream_id} are no longer kept; "
            f"the oldest one there is {self.first}"
        )


class LimitError(Exception):
    """A documented bound was reached, and nothing was changed.

    Attributes:
        limit: The name of the option that sets the bound.
        value: The bound.
    """

    def __init__(self, limit: str, value: float) -> None:
        super().__init__(limit, value)
        self.limit = limit
        self.value = value

    def __str__(self) -> str:
        return f"{self.limit}={self.value:.12g} is reached"


@final
class SessionLimitError(LimitError):
    """There are as many sessions as may be open at once."""


@final
class StreamLimitError(LimitError):
    """There are as many streams as may be open at once."""


@final
class EventTooLargeError(LimitError):
    """One event alone is larger than everything that may be kept."""


class EventLogError(Exception):
    """An event log that does input or output could not do it."""


@final
class EventLogFailedError(EventLogError):
    """The log could not do what it was asked to: the disk is full, or broken. Nothing was changed.

    What had been stored before is still there. Whatever comes next is tried again.

    Attributes:
        cause: What the storage said.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"the event log has failed: {self.cause}"


@final
class WrongThreadError(RuntimeError):
    """State was to be changed from a thread that does not run the event loop."""

    def __str__(self) -> str:
        return (
            "sessions and streams may be read from any thread, but changed only from the thread that runs "
            "Trio; call trio.from_thread.run_sync(...) to get there"
        )
