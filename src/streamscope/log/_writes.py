"""What goes into one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs

from .._ids import SessionId
from ..abc import SavedSession


@final
@attrs.define
class Writes:
    """What one transaction writes. Streams go by the number of their row.

    Within a transaction nobody sees an order, so each kind has a collection of
    its own, in which the later of two that exclude each other stays.
    """

    opened: list[tuple[int, str, str]] = attrs.Factory(list[tuple[int, str, str]])
    """New streams: row, session, stream."""
    events: list[tuple[int, int, bytes]] = attrs.Factory(list[tuple[int, int, bytes]])
    """Events: row, number, bytes."""
    ended: dict[int, float] = attrs.Factory(dict[int, float])
    """Streams that have ended, and the time of day of that."""
    wills: dict[int, Sequence[bytes]] = attrs.Factory(dict[int, Sequence[bytes]])
    """What is to be appended to a stream that nobody ends."""
    sessions: dict[SessionId, SavedSession | None] = attrs.Factory(dict[SessionId, SavedSession | None])
    """Sessions that are saved, or with ``None`` forgotten."""
    discarded: set[int] = attrs.Factory(set[int])
    """Streams that nobody is to find any more, though somebody may still read them."""
    deleted: set[int] = attrs.Factory(set[int])
    """Streams that nobody can read any more."""
    trimmed: dict[int, int] = attrs.Factory(dict[int, int])
    """Streams of which the events up to a number are dropped."""

    def __bool__(self) -> bool:
        return any(attrs.astuple(self, recurse=False))
