"""The registry against a model of plain lists, which looks at everything each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamscope import (
    CloseReason,
    Limits,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    State,
    StreamId,
    StreamLimitError,
    UnknownSessionError,
    UnknownStreamError,
)
from streamscope._records import Record, SessionRecord, StreamRecord
from streamscope._registry import Registry

WALL = 1_700_000_000.0
# Few names, so that sessions of the same name come again.
session_ids = st.sampled_from([SessionId(f"s{number}") for number in range(6)])
principals = st.sampled_from([None, "alice", "bob"])
reasons = st.sampled_from(CloseReason)
limits = st.builds(
    Limits,
    max_sessions=st.integers(1, 5),
    max_sessions_per_principal=st.integers(1, 3),
    max_streams_per_session=st.integers(1, 5),
)


@attrs.define(eq=False)
class ModelSession:
    record: SessionRecord
    id: SessionId
    principal: str | None
    declared: bool
    created: float
    active: float
    state: State = State.OPEN
    reason: CloseReason | None = None


@attrs.define(eq=False)
class ModelStream:
    record: StreamRecord
    session: ModelSession
    holds: bool
    created: float
    active: float
    state: State = State.OPEN
    reason: CloseReason | None = None
    sizes: list[int] = attrs.Factory(list)

    def close(self, reason: CloseReason) -> None:
        self.state, self.reason = State.CLOSING, reason


class RegistryMachine(RuleBasedStateMachine):
    """Sessions and streams that have ended stay in the model's lists: one may come back to ask for them."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[ModelSession] = []
        self.streams: list[ModelStream] = []
        # Open streams, the one that was active last at the end.
        self.order: list[ModelStream] = []
        self.now = 100.0

    @initialize(limits=limits)
    def start(self, limits: Limits) -> None:
        self.limits = limits
        self.registry = Registry(limits)

    # What there is

    def open_sessions(self) -> list[ModelSession]:
        return [session for session in self.sessions if session.state is not State.CLOSED]

    def open_streams(self, session: ModelSession | None = None) -> list[ModelStream]:
        return [
            stream
            for stream in self.streams
            if stream.state is not State.CLOSED and (session is None or stream.session is session)
        ]

    def known(self, session_id: SessionId) -> ModelSession | None:
        return next((session for session in self.open_sessions() if session.id == session_id), None)

    def activity(self, stream: ModelStream) -> None:
        stream.active = stream.session.active = self.now
        if stream in self.order:
            self.order.remove(stream)
            self.order.append(stream)

    def refused(self, error: type[Exception], change: Callable[[], object], match: str | None = None) -> None:
        before = self.everything()
        with pytest.raises(error, match=match):
            change()
        assert self.everything() == before

    def everything(self) -> object:
        """All that the registry holds, as values."""
        registry = self.registry
        records: list[Record] = [model.record for model in self.sessions]
        records += [model.record for model in self.streams]
        return (
            [attrs.asdict(record, recurse=False, value_serializer=_freeze) for record in records],
            list(registry.sessions.items()),
            list(registry.streams.items()),
            [(principal, list(mine)) for principal, mine in registry.by_principal.items()],
            list(registry._by_activity),
            [(timeout, list(queue)) for timeout, queue in registry._idle._queues.items()],
            (registry.working, registry.opened_sessions, registry.opened_streams),
            (dict(registry.closed_sessions), dict(registry.closed_streams)),
            (registry.sent_events, registry.sent_bytes),
        )

    # Time

    @rule(seconds=st.sampled_from([0.25, 1.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # Sessions

    @rule(session_id=session_ids, principal=principals)
    def admit_session(self, session_id: SessionId, principal: str | None) -> None:
        def admit() -> SessionRecord:
            return self.registry.admit_session(session_id, now=self.now, wall=WALL + self.now, principal=principal)

        mine = [session for session in self.open_sessions() if session.principal == principal]
        if self.known(session_id) is not None:
            self.refused(ValueError, admit, "is open already")
        elif principal is not None and len(mine) >= self.limits.max_sessions_per_principal:
            self.refused(SessionLimitError, admit, "^max_sessions_per_principal=")
        elif len(self.open_sessions()) >= self.limits.max_sessions:
            self.refused(SessionLimitError, admit, "^max_sessions=")
        else:
            record = admit()
            assert (record.id, record.principal, record.declared) == (session_id, principal, True)
            self.sessions.append(ModelSession(record, session_id, principal, True, self.now, self.now))

    @rule(session_id=session_ids)
    def find_session(self, session_id: SessionId) -> None:
        known = self.known(session_id)
        if known is None:
            self.refused(UnknownSessionError, lambda: self.registry.find_session(session_id))
        else:
            assert self.registry.find_session(session_id) is known.record

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), reason=reasons)
    def close_session(self, data: st.DataObject, reason: CloseReason) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        ended = [stream for stream in self.open_streams(session) if stream.state is State.OPEN]
        if session.state is not State.OPEN:
            ended = []
        else:
            session.state, session.reason = State.CLOSING, reason
        assert self.registry.close_session(session.record, reason) == [stream.record for stream in ended]
        for stream in ended:
            stream.close(reason)
            self.order.remove(stream)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def discharge_session(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        if left := len(self.open_streams(session)):
            self.refused(
                RuntimeError, lambda: self.registry.discharge_session(session.record), f"^{left} streams of the session"
            )
        elif session.state is State.CLOSED:
            self.refused(RuntimeError, lambda: self.registry.discharge_session(session.record), "cannot become closed")
        else:
            self.registry.discharge_session(session.record)
            session.reason = session.reason or CloseReason.COMPLETED
            session.state = State.CLOSED

    # Streams

    @rule(session_id=session_ids, holds=st.booleans(), declared=st.booleans())
    def admit_stream(self, session_id: SessionId, holds: bool, declared: bool) -> None:
        def admit() -> StreamRecord:
            return self.registry.admit_stream(
                session_id, now=self.now, wall=WALL + self.now, kind="get", holds_session=holds, declared=declared
            )

        session = self.known(session_id)
        if session is None and declared:
            self.refused(UnknownSessionError, admit)
        elif session is not None and session.state is not State.OPEN:
            self.refused(SessionClosedError, admit, str(session.reason))
        elif session is not None and len(self.open_streams(session)) >= self.limits.max_streams_per_session:
            self.refused(StreamLimitError, admit, "^max_streams_per_session=")
        else:
            record = admit()
            assert (record.session.id, record.kind, record.holds_session) == (session_id, "get", holds)
            assert record.id not in {stream.record.id for stream in self.streams}
            if session is None:
                session = ModelSession(record.session, session_id, None, False, self.now, self.now)
                self.sessions.append(session)
            assert record.session is session.record
            session.active = self.now
            self.streams.append(ModelStream(record, session, holds, self.now, self.now))
            self.order.append(self.streams[-1])

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), session_id=session_ids)
    def find_stream(self, data: st.DataObject, session_id: SessionId) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        stream_id = stream.record.id
        if stream.state is not State.CLOSED and stream.session.id == session_id:
            assert self.registry.find_stream(session_id, stream_id) is stream.record
        else:
            self.refused(UnknownStreamError, lambda: self.registry.find_stream(session_id, stream_id), str(stream_id))

    @rule(session_id=session_ids)
    def find_no_stream(self, session_id: SessionId) -> None:
        self.refused(UnknownStreamError, lambda: self.registry.find_stream(session_id, StreamId.new()))

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), reason=reasons)
    def close_stream(self, data: st.DataObject, reason: CloseReason) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        was_open = stream.state is State.OPEN
        assert self.registry.close_stream(stream.record, reason) is was_open
        if was_open:
            stream.close(reason)
            self.order.remove(stream)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), reason=reasons)
    def discharge_stream(self, data: st.DataObject, reason: CloseReason) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        session = stream.session
        if stream.state is State.CLOSED:
            self.refused(
                RuntimeError, lambda: self.registry.discharge_stream(stream.record, reason), "cannot become closed"
            )
            return
        if stream in self.order:
            self.order.remove(stream)
        stream.reason = stream.reason or reason
        stream.state = State.CLOSED
        last = not self.open_streams(session)
        assert self.registry.discharge_stream(stream.record, reason) is (last and session.state is State.CLOSING)
        if last and session.state is State.OPEN and not session.declared:
            session.state, session.reason = State.CLOSED, CloseReason.COMPLETED

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        self.registry.touch(stream.record, self.now)
        self.activity(stream)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), size=st.integers(0, 100))
    def record_event(self, data: st.DataObject, size: int) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        self.registry.record_event(stream.record, size, self.now)
        stream.sizes.append(size)
        self.activity(stream)

    @rule(max_age=st.sampled_from([0.0, 0.25, 1.0, 2.0, 8.0, 20.0]))
    def expire_streams(self, max_age: float) -> None:
        expired = [stream for stream in self.order if self.now - stream.active > max_age]
        assert self.registry.expire_streams(self.now, max_age) == [stream.record for stream in expired]
        for stream in expired:
            stream.close(CloseReason.IDLE)
            self.order.remove(stream)

    # What always holds

    @invariant()
    def the_indexes_agree_with_the_model_and_so_with_each_other(self) -> None:
        registry = self.registry
        sessions, streams = self.open_sessions(), self.open_streams()
        assert list(registry.sessions.items()) == [(session.id, session.record) for session in sessions]
        assert list(registry.streams.items()) == [(stream.record.id, stream.record) for stream in streams]
        for session in self.sessions:
            assert list(session.record.streams) == [stream.record for stream in self.open_streams(session)]
        assert {principal: list(mine) for principal, mine in registry.by_principal.items()} == {
            principal: [session.record for session in sessions if session.principal == principal]
            for principal in {session.principal for session in sessions}
        }

    @invariant()
    def open_streams_are_in_the_order_of_their_activity(self) -> None:
        assert list(self.registry._by_activity) == [stream.record for stream in self.order]
        assert {stream for stream in self.streams if stream.state is State.OPEN} == set(self.order)
        times = [record.last_activity for record in self.registry._by_activity]
        assert times == sorted(times)

    @invariant()
    def the_records_say_what_the_model_says(self) -> None:
        for session in self.sessions:
            shown = session.record.snapshot(self.now)
            assert (shown.state, shown.reason) == (session.state, session.reason)
            assert (shown.age, shown.idle) == (self.now - session.created, self.now - session.active)
            assert shown.created_at.timestamp() == WALL + session.created
            assert shown.stream_count == len(self.open_streams(session))
        for stream in self.streams:
            snapshot = stream.record.snapshot(self.now)
            assert (snapshot.state, snapshot.reason) == (stream.state, stream.reason)
            assert (snapshot.age, snapshot.idle) == (self.now - stream.created, self.now - stream.active)
            assert (snapshot.event_count, snapshot.byte_count) == (len(stream.sizes), sum(stream.sizes))

    @invariant()
    def the_counters_are_right(self) -> None:
        registry = self.registry
        declared = [session for session in self.sessions if session.declared]
        sizes = [size for stream in self.streams for size in stream.sizes]
        assert registry.working == sum(stream.holds for stream in self.open_streams())
        assert (registry.opened_sessions, registry.opened_streams) == (len(declared), len(self.streams))
        assert registry.closed_sessions == _count(declared)
        assert registry.closed_streams == _count(self.streams)
        assert (registry.sent_events, registry.sent_bytes) == (len(sizes), sum(sizes))


def _count(models: list[ModelSession] | list[ModelStream]) -> Counter[CloseReason | None]:
    return Counter(model.reason for model in models if model.state is State.CLOSED)


def _freeze(_: object, __: object, value: object) -> object:
    return list(value) if isinstance(value, dict) else value


TestRegistry = RegistryMachine.TestCase
