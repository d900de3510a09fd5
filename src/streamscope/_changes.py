"""What happened, as values: the registry's changes, told to observers afterwards."""

from __future__ import annotations

from typing import TypeAlias, final

import attrs

from ._ids import EventId
from ._metadata import SessionMetadata, StreamMetadata
from ._reasons import CloseReason


@final
@attrs.frozen
class SessionOpened:
    """A session was opened."""

    session: SessionMetadata
    """The session, as it was then."""


@final
@attrs.frozen
class SessionClosed:
    """A session has ended, and all of its streams before it."""

    session: SessionMetadata
    """The session, as it was at its end."""

    reason: CloseReason
    """Why."""


@final
@attrs.frozen
class StreamOpened:
    """A stream was opened."""

    stream: StreamMetadata
    """The stream, as it was then."""


@final
@attrs.frozen
class StreamClosed:
    """A stream has ended."""

    stream: StreamMetadata
    """The stream, as it was at its end."""

    reason: CloseReason
    """Why."""


@final
@attrs.frozen
class ReaderAttached:
    """A reader began to read a stream's events."""

    session: SessionMetadata
    """The session, as it was then."""

    position: EventId
    """The last event that it already had; number 0 for none."""


@final
@attrs.frozen
class ReaderDetached:
    """A reader stopped reading a stream's events. The stream may go on."""

    session: SessionMetadata
    """The session, as it was then."""

    position: EventId
    """The last event that it received."""

    reason: CloseReason
    """Why."""


@final
@attrs.frozen
class ChangesMissed:
    """A watcher did not keep up, and this many changes were not kept for it."""

    count: int
    """How many."""


Change: TypeAlias = (
    SessionOpened | SessionClosed | StreamOpened | StreamClosed | ReaderAttached | ReaderDetached | ChangesMissed
)
"""Any of the changes that an observer is told of."""
