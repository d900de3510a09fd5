"""Who is open: sessions, their streams, their owners, and who was active last.

Theory of operation. The registry is plain data and synchronous code: no clock
(``now`` is an argument), no scope (a record carries something that can be
cancelled, and the registry never calls it), no callbacks. A method checks
first and changes afterwards, so whatever it refuses has changed nothing; and
as no method awaits, no other task sees it half done.

Each operation costs the same however much is open. Streams are kept in the
order of their last activity, so a clean-up looks at those that it returns and
at one more. A stream that is closing has left that order already: it is never
found twice.

Only the thread that runs the event loop may change the registry. Any thread
may read it: a look-up is one dict operation, a listing one copy of a dict's
keys, and both are atomic with and without the GIL.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Protocol, final

import attrs

from ._errors import (
    SessionClosedError,
    SessionLimitError,
    StreamLimitError,
    UnknownSessionError,
    UnknownStreamError,
    WrongThreadError,
)
from ._ids import SessionId, StreamId
from ._limits import Limits
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


@final
class Registry:
    """The sessions and streams that are open, with their indexes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.streams: dict[StreamId, StreamRecord] = {}
        self.by_principal: dict[str | None, dict[SessionRecord, None]] = {}
        self._by_activity: OrderedDict[StreamRecord, None] = OrderedDict()
        self._thread = threading.get_ident()
        self.working: int = 0
        """Open streams that hold their session."""
        self.opened_sessions: int = 0
        self.opened_streams: int = 0
        self.closed_sessions: Counter[CloseReason] = Counter()
        self.closed_streams: Counter[CloseReason] = Counter()
        self.sent_events: int = 0
        self.sent_bytes: int = 0

    def claim(self) -> None:
        """Make sure that this thread may change the registry.

        An empty registry belongs to whichever thread changes it first, so that
        a manager can be made before the event loop runs, perhaps in a thread of its own.

        Raises:
            WrongThreadError: It holds something, and belongs to another thread.
        """
        here = threading.get_ident()
        if here != self._thread:
            if self.streams or self.sessions:
                raise WrongThreadError
            self._thread = here

    # Sessions

    def admit_session(
        self,
        session_id: SessionId,
        *,
        now: float,
        wall: float,
        principal: str | None = None,
        connection_info: str | None = None,
        owner: SessionOwner | None = None,
    ) -> SessionRecord:
        """Register a session.

        Raises:
            SessionLimitError: There is no room for it.
            ValueError: A session of that id is there already.
        """
        self.claim()
        if session_id in self.sessions:
            raise ValueError("a session of that id is open already; take SessionId.new()")
        if len(self.sessions) >= self.limits.max_sessions:
            raise SessionLimitError("max_sessions", self.limits.max_sessions)
        mine = self.by_principal.get(principal, ()) if principal is not None else ()
        if len(mine) >= self.limits.max_sessions_per_principal:
            raise SessionLimitError("max_sessions_per_principal", self.limits.max_sessions_per_principal)
        return self._add_session(
            SessionRecord(
                id=session_id,
                principal=principal,
                declared=True,
                owner=owner,
                created=now,
                created_at=wall,
                last_activity=now,
                connection_info=connection_info,
            )
        )

    def _add_session(self, record: SessionRecord) -> SessionRecord:
        self.sessions[record.id] = record
        self.by_principal.setdefault(record.principal, {})[record] = None
        self.opened_sessions += record.declared
        return record

    def find_session(self, session_id: SessionId) -> SessionRecord:
        """Return a session's record.

        Raises:
            UnknownSessionError: There is none of that id.
        """
        record = self.sessions.get(session_id)
        if record is None:
            raise UnknownSessionError
        return record

    def close_session(self, record: SessionRecord, reason: CloseReason) -> list[StreamRecord]:
        """Begin to end a session.

        Returns:
            Its streams that were open. They are closing now: whoever called
            must cancel those that have a scope and discharge those that have none.
        """
        self.claim()
        if record.state is not State.OPEN:
            return []
        record.move(State.CLOSING, reason)
        streams = [stream for stream in record.streams if stream.state is State.OPEN]
        for stream in streams:
            self.close_stream(stream, reason)
        return streams

    def discharge_session(self, record: SessionRecord) -> None:
        """Take out a session that is closing and has no stream left."""
        self.claim()
        if record.streams:
            raise RuntimeError(f"{len(record.streams)} streams of the session are still open")
        record.move(State.CLOSED, CloseReason.COMPLETED)
        del self.sessions[record.id]
        peers = self.by_principal[record.principal]
        del peers[record]
        if not peers:
            del self.by_principal[record.principal]
        if record.declared:
            self.closed_sessions[record.reason or CloseReason.COMPLETED] += 1

    # Streams

    def admit_stream(
        self,
        session_id: SessionId,
        *,
        now: float,
        wall: float,
        kind: str = "stream",
        connection_info: str | None = None,
        scope: Cancellable | None = None,
        holds_session: bool = True,
        declared: bool = False,
    ) -> StreamRecord:
        """Register a stream under a session.

        Args:
            session_id: Its session.
            now: The time of the event loop's clock.
            wall: The time of day, as seconds since 1970.
            kind: What it serves.
            connection_info: Where its peer is.
            scope: What ends it.
            holds_session: Whether the session is not idle while the stream is open.
            declared: Whether the session must have been opened as such. Otherwise a session
                that is not known yet is made for the stream, and goes with its last stream.

        Raises:
            SessionClosedError: The session is closing.
            UnknownSessionError: There is no such session, and it had to be declared.
            StreamLimitError: The session has as many streams as it may have.
        """
        self.claim()
        session = self.sessions.get(session_id)
        if session is None:
            if declared:
                raise UnknownSessionError
            session = SessionRecord(
                id=session_id,
                principal=None,
                declared=False,
                created=now,
                created_at=wall,
                last_activity=now,
                connection_info=None,
            )
        elif session.state is not State.OPEN:
            raise SessionClosedError(session_id, session.reason or CloseReason.COMPLETED)
        if len(session.streams) >= self.limits.max_streams_per_session:
            raise StreamLimitError("max_streams_per_session", self.limits.max_streams_per_session)
        if session.id not in self.sessions:
            self._add_session(session)
        record = StreamRecord(
            id=StreamId.new(),
            session=session,
            kind=kind,
            scope=scope,
            holds_session=holds_session,
            created=now,
            created_at=wall,
            last_activity=now,
            connection_info=connection_info,
        )
        self.streams[record.id] = record
        session.streams[record] = None
        session.last_activity = now
        self._by_activity[record] = None
        self.opened_streams += 1
        self.working += holds_session
        return record

    def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamRecord:
        """Return the record of a stream of this very session.

        Raises:
            UnknownStreamError: There is none, or it is another session's.
        """
        record = self.streams.get(stream_id)
        if record is None or record.session.id != session_id:
            raise UnknownStreamError(stream_id)
        return record

    def close_stream(self, record: StreamRecord, reason: CloseReason) -> bool:
        """Begin to end a stream.

        Returns:
            Whether it was open, so that it is the caller's to cancel.
        """
        self.claim()
        if record.state is not State.OPEN:
            return False
        record.move(State.CLOSING, reason)
        del self._by_activity[record]
        return True

    def discharge_stream(self, record: StreamRecord, reason: CloseReason) -> bool:
        """Take out a stream.

        Args:
            record: The stream.
            reason: Why it ends, unless it is closing for another reason already.

        Returns:
            Whether it was the last stream of a session that is closing.
        """
        self.claim()
        if record.state is State.OPEN:
            del self._by_activity[record]
        record.move(State.CLOSED, reason)
        session = record.session
        del self.streams[record.id]
        del session.streams[record]
        self.closed_streams[record.reason or reason] += 1
        self.working -= record.holds_session
        if session.streams:
            return False
        if not session.declared and session.state is State.OPEN:
            self.discharge_session(session)
        return session.state is State.CLOSING

    def touch(self, record: StreamRecord, now: float) -> None:
        """Note that something happened on a stream."""
        if record.state is State.OPEN:
            self._by_activity.move_to_end(record)
        record.last_activity = record.session.last_activity = now

    def record_event(self, record: StreamRecord, size: int, now: float) -> None:
        """Note that an event of ``size`` bytes was sent on a stream."""
        record.event_count += 1
        record.byte_count += size
        self.sent_events += 1
        self.sent_bytes += size
        self.touch(record, now)

    def expire_streams(self, now: float, max_age: float) -> list[StreamRecord]:
        """Begin to end the streams on which nothing happened for more than ``max_age`` seconds.

        Returns:
            Those streams, the least active first; as with `close_session`, the
            caller cancels those with a scope and discharges the others.
        """
        self.claim()
        expired: list[StreamRecord] = []
        while self._by_activity:
            record = next(iter(self._by_activity))
            if now - record.last_activity <= max_age:
                break
            self.close_stream(record, CloseReason.IDLE)
            expired.append(record)
        return expired
