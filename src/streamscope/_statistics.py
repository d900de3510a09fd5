"""Frozen counts of what a manager or a log holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from ._reasons import CloseReason


@final
@attrs.frozen(kw_only=True)
class StreamManagerStatistics:
    """What a `StreamManager` has seen."""

    open_streams: int
    """Streams registered now, those that are closing among them."""

    opened_streams: int
    """Streams ever registered."""

    closed_streams: Mapping[CloseReason, int]
    """Streams that have ended, by reason."""

    sent_events: int
    """Events ever sent."""

    sent_bytes: int
    """Bytes of those events."""

    coalesced_events: int
    """Events that were not sent, because an equal one was there that nobody had received."""

    waited_sends: int
    """Times that a producer has waited for a slow reader."""

    skipped_events: int
    """Events that slow readers have skipped."""

    slow_readers: int
    """Readers that have ended as ``slow_reader``."""


@final
@attrs.frozen(kw_only=True)
class SessionManagerStatistics:
    """What a `SessionManager` has seen."""

    open_sessions: int
    """Sessions registered now, those that are closing among them."""

    opened_sessions: int
    """Sessions ever registered."""

    closed_sessions: Mapping[CloseReason, int]
    """Sessions that have ended, by reason."""

    streams: StreamManagerStatistics
    """The same for the streams."""


@final
@attrs.frozen(kw_only=True)
class EventLogStatistics:
    """What an event log holds."""

    streams: int
    """Streams whose events are kept, those that have ended among them."""

    finished_streams: int
    """Streams that have ended, kept for readers that come back."""

    events: int
    """Events kept."""

    bytes: int
    """Bytes of those events."""
