"""Who is open: sessions, their streams, their owners, and who was active last.

Theory of operation. The registry is plain data and synchronous code: no clock
(``now`` is an argument), no scope (a record carries something that can be
cancelled, and the registry never calls it), no callbacks. A method checks
first and changes afterwards, so whatever it refuses has changed nothing; and
as no method awaits, no other task sees it half done.

Each operation costs the same however much is open. Streams are kept in the
order of their last activity, so a clean-up looks at those that it returns and
at one more; idle sessions in the order in which they will idle out, so the one
that makes room for another is found at once. What is closing has left these
orders already: it is never found twice.

Only the thread that runs the event loop may change the registry. Any thread
may read it: a look-up is one dict operation, a listing one copy of a dict's
keys, and both are atomic with and without the GIL.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import final

from ._errors import (
    SessionClosedError,
    SessionLimitError,
    StreamLimitError,
    UnknownSessionError,
    UnknownStreamError,
    WrongThreadError,
)
from ._idle_order import IdleOrder
from ._ids import SessionId, StreamId
from ._limits import Limits
from ._reasons import CloseReason, State
from ._records import Cancellable, SessionOwner, SessionRecord, StreamRecord


@final
class Registry:
    """The sessions and streams that are open, with their indexes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.streams: dict[StreamId, StreamRecord] = {}
        self.by_principal: dict[str | None, dict[SessionRecord, None]] = {}
        self._by_activity: OrderedDict[StreamRecord, None] = OrderedDict()
        self._idle = IdleOrder()
        self._thread = threading.get_ident()
        self.working: int = 0
        """Open streams that hold their session."""
        self.opened_sessions: int = 0
        self.opened_streams: int = 0
        self.closed_sessions: Counter[CloseReason] = Counter()
        self.closed_streams: Counter[CloseReason] = Counter()
        self.sent_events: int = 0
        self.sent_bytes: int = 0
        self.coalesced_events: int = 0
        self.waited_sends: int = 0
        self.skipped_events: int = 0
        self.slow_readers: int = 0

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
        if (bound := self.find_bound(principal)) is not None:
            raise SessionLimitError(bound, getattr(self.limits, bound))
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

    def _peers(self, principal: str | None) -> dict[SessionRecord, None]:
        """Return the sessions that count against the bound per principal; where nobody was authenticated, none."""
        return {} if principal is None else self.by_principal.get(principal, {})

    def find_bound(self, principal: str | None) -> str | None:
        """Return the name of the bound that keeps out another session of ``principal``, if one does."""
        if len(self._peers(principal)) >= self.limits.max_sessions_per_principal:
            return "max_sessions_per_principal"
        return "max_sessions" if len(self.sessions) >= self.limits.max_sessions else None

    def find_evictable(self, principal: str | None) -> SessionRecord | None:
        """Return the session that is to make room for one of ``principal``.

        That is the one which would be the first to idle out: of the
        principal's own where it has as many as it may have, else of all.

        Returns:
            ``None`` where there is room, where nothing is idle, or where none is to be evicted.
        """
        bound = self.find_bound(principal)
        if bound is None or not self.limits.evict_idle:
            return None
        if bound == "max_sessions":
            return self._idle.first()
        idle = (record for record in self._peers(principal) if record.idle_since is not None)
        return min(idle, key=lambda record: record.idles_out, default=None)

    def mark_idle(self, record: SessionRecord, now: float, timeout: float) -> None:
        """Note that nothing holds a session, so that it will idle out ``timeout`` seconds from now."""
        self.claim()
        if record.state is State.OPEN:
            self._idle.add(record, now, timeout)

    def mark_held(self, record: SessionRecord) -> None:
        """Note that something holds a session. Idempotent."""
        self.claim()
        self._idle.remove(record)

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
        self._idle.remove(record)
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
        self._idle.remove(record)
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

    def record_coalesced(self, record: StreamRecord, now: float) -> None:
        """Note that an event was not sent, as an equal one was there to be read."""
        self.coalesced_events += 1
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
