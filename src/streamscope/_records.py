"""What is known of each session and each stream that is registered."""

from __future__ import annotations

import math
from typing import Protocol, final

import attrs

from ._ids import SessionId, StreamId
from ._metadata import SessionMetadata, StreamMetadata, utc
from ._reasons import TRANSITIONS, CloseReason, State


class Cancellable(Protocol):
    """What ends a stream: a `trio.CancelScope`, as far as the registry knows."""

    def cancel(self, reason: str | None = None) -> None: ...


class SessionOwner(Protocol):
    """What is told of a session's streams, where the session is more than a name.

    The registry keeps it beside the session, and never calls it.
    """

    def _refusal(self) -> CloseReason | None: ...
    def _stream_opened(self, stream: StreamRecord) -> None: ...
    def _stream_closed(self, stream: StreamRecord, *, last: bool) -> None: ...


@attrs.define(eq=False, kw_only=True)
class Record:
    """What the registry knows of a session and of a stream alike."""

    created: float
    created_at: float
    last_activity: float
    connection_info: str | None
    state: State = State.OPEN
    reason: CloseReason | None = None

    def move(self, state: State, reason: CloseReason) -> None:
        """Take a step in the scope's life; the first reason stays."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.state.value} cannot become {state.value}")
        # Another thread may take a snapshot between these two; it takes what has no reason yet for open.
        self.state = state
        if self.reason is None:
            self.reason = reason


@final
@attrs.define(eq=False, kw_only=True)
class SessionRecord(Record):
    """One session.

    ``declared`` tells a session that was opened as such from one that is known
    only by the streams registered under its id, and goes with the last of them.
    """

    id: SessionId
    principal: str | None
    declared: bool
    owner: SessionOwner | None = None
    streams: dict[StreamRecord, None] = attrs.Factory(dict["StreamRecord", None])
    idle_since: float | None = None
    idle_timeout: float = math.inf

    @property
    def idles_out(self) -> tuple[float, float]:
        """When the session will idle out if nothing happens, and, for those that never will, since when it is idle."""
        assert self.idle_since is not None
        return self.idle_since + self.idle_timeout, self.idle_since

    def snapshot(self, now: float) -> SessionMetadata:
        """Return what is known of the session at ``now``."""
        reason = self.reason  # see move()
        return SessionMetadata(
            session_id=self.id,
            principal=self.principal,
            connection_info=self.connection_info,
            state=self.state if reason else State.OPEN,
            reason=reason,
            created_at=utc(self.created_at),
            age=now - self.created,
            idle=max(0.0, now - self.last_activity),
            stream_count=len(self.streams),
        )


@final
@attrs.define(eq=False, kw_only=True)
class StreamRecord(Record):
    """One stream, and what ends it."""

    id: StreamId
    session: SessionRecord
    kind: str
    scope: Cancellable | None
    holds_session: bool
    handle: object = None
    event_count: int = 0
    byte_count: int = 0

    def snapshot(self, now: float) -> StreamMetadata:
        """Return what is known of the stream at ``now``."""
        reason = self.reason  # see move()
        return StreamMetadata(
            stream_id=self.id,
            session_id=self.session.id,
            principal=self.session.principal,
            kind=self.kind,
            connection_info=self.connection_info,
            state=self.state if reason else State.OPEN,
            reason=reason,
            created_at=utc(self.created_at),
            age=now - self.created,
            idle=max(0.0, now - self.last_activity),
            event_count=self.event_count,
            byte_count=self.byte_count,
        )
