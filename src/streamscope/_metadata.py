"""Frozen snapshots of what is known about a session or a stream, for showing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, final

import attrs

from ._ids import SessionId, StreamId
from ._reasons import CloseReason, State


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, State):
        return value.value
    return value if value is None or isinstance(value, int | float) else str(value)


@attrs.frozen(kw_only=True)
class _Metadata:
    """What sessions and streams have in common."""

    principal: str | None
    """Whose it is; ``None`` where nobody was authenticated."""

    connection_info: str | None
    """Where the peer is, as far as it is known: ``"203.0.113.7:50412"``."""

    state: State
    """Open, or closing while its block unwinds."""

    reason: CloseReason | None
    """Why it is closing or has ended; ``None`` while it is open."""

    created_at: datetime
    """When it was opened, as an aware UTC datetime."""

    age: float
    """Seconds since it was opened."""

    idle: float
    """Seconds since its last activity."""

    @property
    def last_activity(self) -> datetime:
        """When something last happened on it, as an aware UTC datetime."""
        return self.created_at + timedelta(seconds=self.age - self.idle)

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as a dict that `json.dumps` takes.

        ``last_activity`` is in it for readers of the JSON; `from_dict` derives it again.
        """
        values = {field.name: _to_json(getattr(self, field.name)) for field in attrs.fields(type(self))}
        return {**values, "last_activity": self.last_activity.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read a snapshot back from what `to_dict` gave.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is malformed.
        """
        return cls(**{field.name: _from_json(field.name, values[field.name]) for field in attrs.fields(cls)})


@final
@attrs.frozen(kw_only=True)
class StreamMetadata(_Metadata):
    """A snapshot of one stream."""

    stream_id: StreamId
    """The stream."""

    session_id: SessionId
    """The session it belongs to."""

    kind: str
    """What it serves: ``"post"``, ``"get"``, ``"listen"``, or whatever the application says."""

    event_count: int
    """Events sent on it so far."""

    byte_count: int
    """Bytes of those events."""


@final
@attrs.frozen(kw_only=True)
class SessionMetadata(_Metadata):
    """A snapshot of one session."""

    session_id: SessionId
    """The session."""

    stream_count: int
    """Streams open in it now."""


_PARSERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "stream_id": StreamId.parse,
    "session_id": SessionId.parse,
    "created_at": datetime.fromisoformat,
    "state": State,
    "reason": CloseReason,
}


def _from_json(name: str, value: Any) -> Any:
    parser = _PARSERS.get(name)
    return value if parser is None or value is None else parser(value)


def utc(seconds: float) -> datetime:
    """Return a Unix time as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)
