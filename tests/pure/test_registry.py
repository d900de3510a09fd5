from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import pytest
import trio

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
    WrongThreadError,
)
from streamscope._records import SessionRecord, StreamRecord
from streamscope._registry import Registry

S1, S2 = SessionId("s1"), SessionId("s2")
AT = {"now": 10.0, "wall": 1_700_000_000.0}


def admit_session(registry: Registry, session_id: SessionId, **options) -> SessionRecord:
    return registry.admit_session(session_id, **{**AT, **options})


def admit_stream(registry: Registry, session_id: SessionId, **options) -> StreamRecord:
    return registry.admit_stream(session_id, **{**AT, **options})


@pytest.fixture
def registry() -> Registry:
    return Registry(Limits())


# Snapshots


def test_snapshot_of_a_session(registry):
    session = admit_session(registry, S1, principal="alice", connection_info="203.0.113.7:50412")
    stream = admit_stream(registry, S1, now=11.0)
    registry.touch(stream, 13.0)

    metadata = session.snapshot(17.5)

    assert (metadata.session_id, metadata.principal) == (S1, "alice")
    assert metadata.connection_info == "203.0.113.7:50412"
    assert (metadata.state, metadata.reason) == (State.OPEN, None)
    assert metadata.created_at.timestamp() == AT["wall"]
    assert (metadata.age, metadata.idle) == (7.5, 4.5)
    assert metadata.last_activity.timestamp() == AT["wall"] + 3
    assert metadata.stream_count == 1


def test_snapshot_of_a_stream(registry):
    admit_session(registry, S1, principal="alice")
    stream = admit_stream(registry, S1, kind="post", connection_info="203.0.113.7:50412")
    registry.record_event(stream, 30, 12.0)
    registry.record_event(stream, 12, 13.0)
    registry.close_stream(stream, CloseReason.KILLED)

    metadata = stream.snapshot(17.5)

    assert (metadata.stream_id, metadata.session_id, metadata.principal) == (stream.id, S1, "alice")
    assert (metadata.kind, metadata.connection_info) == ("post", "203.0.113.7:50412")
    assert (metadata.state, metadata.reason) == (State.CLOSING, CloseReason.KILLED)
    assert metadata.created_at.timestamp() == AT["wall"]
    assert (metadata.age, metadata.idle) == (7.5, 4.5)
    assert (metadata.event_count, metadata.byte_count) == (2, 42)


def test_a_snapshot_does_not_change_any_more(registry):
    stream = admit_stream(registry, S1)
    before = stream.snapshot(11.0)
    registry.record_event(stream, 1, 12.0)
    assert (before.event_count, stream.snapshot(12.0).event_count) == (0, 1)


# A scope's life


def test_the_first_reason_stays(registry):
    session = admit_session(registry, S1)
    stream = admit_stream(registry, S1)
    assert registry.close_stream(stream, CloseReason.KILLED)
    assert not registry.close_stream(stream, CloseReason.IDLE)
    assert registry.close_session(session, CloseReason.TERMINATED) == []
    assert registry.close_session(session, CloseReason.SHUTDOWN) == []
    assert registry.discharge_stream(stream, CloseReason.FAILED)
    registry.discharge_session(session)
    assert (stream.reason, session.reason) == (CloseReason.KILLED, CloseReason.TERMINATED)
    assert registry.closed_streams == {CloseReason.KILLED: 1}
    assert registry.closed_sessions == {CloseReason.TERMINATED: 1}


def test_a_stream_left_by_its_own_block_ends_for_that_reason(registry):
    admit_session(registry, S1)
    stream = admit_stream(registry, S1)
    assert not registry.discharge_stream(stream, CloseReason.FAILED)
    assert (stream.state, stream.reason) == (State.CLOSED, CloseReason.FAILED)


def test_a_session_cannot_go_before_its_streams(registry):
    session = admit_session(registry, S1)
    admit_stream(registry, S1)
    admit_stream(registry, S1)
    registry.close_session(session, CloseReason.IDLE)
    with pytest.raises(RuntimeError, match="2 streams of the session are still open"):
        registry.discharge_session(session)
    assert session.state is State.CLOSING


def test_nothing_ends_twice(registry):
    session = admit_session(registry, S1)
    stream = admit_stream(registry, S1)
    registry.discharge_stream(stream, CloseReason.COMPLETED)
    with pytest.raises(RuntimeError, match="closed cannot become closed"):
        registry.discharge_stream(stream, CloseReason.COMPLETED)
    registry.discharge_session(session)
    with pytest.raises(RuntimeError, match="closed cannot become closed"):
        registry.discharge_session(session)
    assert registry.close_session(session, CloseReason.IDLE) == []
    assert registry.closed_streams == registry.closed_sessions == {CloseReason.COMPLETED: 1}


def test_closing_a_session_tells_which_streams_are_to_be_cancelled(registry):
    session = admit_session(registry, S1)
    closing, first, second = (admit_stream(registry, S1) for _ in range(3))
    registry.close_stream(closing, CloseReason.IDLE)
    assert registry.close_session(session, CloseReason.TERMINATED) == [first, second]
    assert [stream.reason for stream in (closing, first, second)] == [
        CloseReason.IDLE,
        CloseReason.TERMINATED,
        CloseReason.TERMINATED,
    ]


def test_only_the_last_stream_of_a_closing_session_is_the_last(registry):
    session = admit_session(registry, S1)
    first, second, third = (admit_stream(registry, S1) for _ in range(3))
    assert not registry.discharge_stream(first, CloseReason.COMPLETED)
    registry.close_session(session, CloseReason.TERMINATED)
    assert not registry.discharge_stream(second, CloseReason.COMPLETED)
    assert registry.discharge_stream(third, CloseReason.COMPLETED)
    assert registry.find_session(S1) is session


def test_a_session_that_is_only_a_name_goes_with_its_last_stream(registry):
    first, second = admit_stream(registry, S1), admit_stream(registry, S1)
    registry.discharge_stream(first, CloseReason.COMPLETED)
    assert registry.find_session(S1).declared is False
    assert not registry.discharge_stream(second, CloseReason.COMPLETED)
    with pytest.raises(UnknownSessionError):
        registry.find_session(S1)
    assert registry.by_principal == {}
    # Nobody opened it, so it does not count.
    assert (registry.opened_sessions, registry.closed_sessions) == (0, {})


def test_a_session_that_was_opened_stays_without_streams(registry):
    admit_session(registry, S1)
    registry.discharge_stream(admit_stream(registry, S1), CloseReason.COMPLETED)
    assert registry.find_session(S1).declared is True


# What is refused


def test_limits_name_the_option(registry):
    registry.limits = Limits(max_sessions=3, max_sessions_per_principal=2, max_streams_per_session=1)
    for name in ("a", "b"):
        admit_session(registry, SessionId(name), principal="alice")
    with pytest.raises(SessionLimitError, match=r"^max_sessions_per_principal=2 is reached$"):
        admit_session(registry, S1, principal="alice")
    admit_session(registry, S1, principal="bob")
    with pytest.raises(SessionLimitError, match=r"^max_sessions=3 is reached$"):
        admit_session(registry, S2, principal="carol")
    admit_stream(registry, S1)
    with pytest.raises(StreamLimitError, match=r"^max_streams_per_session=1 is reached$"):
        admit_stream(registry, S1)


def test_sessions_of_nobody_are_not_sessions_of_one_principal(registry):
    registry.limits = Limits(max_sessions_per_principal=1)
    admit_session(registry, S1)
    admit_session(registry, S2)
    assert len(registry.by_principal[None]) == 2


def test_a_limit_counts_what_is_closing(registry):
    registry.limits = Limits(max_sessions=1, max_streams_per_session=1)
    session = admit_session(registry, S1)
    stream = admit_stream(registry, S1)
    registry.close_stream(stream, CloseReason.KILLED)
    with pytest.raises(StreamLimitError):
        admit_stream(registry, S1)
    registry.close_session(session, CloseReason.KILLED)
    with pytest.raises(SessionLimitError):
        admit_session(registry, S2)


def test_a_closing_session_takes_no_stream_and_says_why(registry):
    registry.close_session(admit_session(registry, S1), CloseReason.EXPIRED)
    with pytest.raises(SessionClosedError, match="the session has ended: expired") as caught:
        admit_stream(registry, S1)
    assert (caught.value.session_id, caught.value.reason) == (S1, CloseReason.EXPIRED)


def test_a_stream_is_found_under_its_own_session_only(registry):
    stream = admit_stream(registry, S1)
    admit_stream(registry, S2)
    assert registry.find_stream(S1, stream.id) is stream
    for session_id, stream_id in [(S2, stream.id), (SessionId("s3"), stream.id), (S1, StreamId.new())]:
        with pytest.raises(UnknownStreamError) as caught:
            registry.find_stream(session_id, stream_id)
        assert caught.value.stream_id == stream_id


# Threads


def in_a_thread(function) -> Exception | None:
    caught: list[Exception] = []

    def run() -> None:
        try:
            function()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


CHANGES = {
    "claim": lambda registry, session, stream: registry.claim(),
    "admit_session": lambda registry, session, stream: admit_session(registry, S2),
    "admit_stream": lambda registry, session, stream: admit_stream(registry, S1),
    "close_session": lambda registry, session, stream: registry.close_session(session, CloseReason.KILLED),
    "close_stream": lambda registry, session, stream: registry.close_stream(stream, CloseReason.KILLED),
    "discharge_session": lambda registry, session, stream: registry.discharge_session(session),
    "discharge_stream": lambda registry, session, stream: registry.discharge_stream(stream, CloseReason.KILLED),
    "expire_streams": lambda registry, session, stream: registry.expire_streams(100.0, 1.0),
    "mark_held": lambda registry, session, stream: registry.mark_held(session),
    "mark_idle": lambda registry, session, stream: registry.mark_idle(session, 1.0, 60.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_thread_may_not_change_it(registry, change):
    session, stream = admit_session(registry, S1), admit_stream(registry, S1)
    error = in_a_thread(lambda: CHANGES[change](registry, session, stream))
    assert isinstance(error, WrongThreadError)
    assert "trio.from_thread.run_sync" in str(error)
    assert (session.state, stream.state) == (State.OPEN, State.OPEN)
    assert (list(registry.sessions), list(registry.streams)) == ([S1], [stream.id])


def test_every_change_is_tried_from_another_thread():
    looking = {"find_session", "find_stream", "find_bound", "find_evictable"}
    # These come with every event; it is for their callers to be in the right thread.
    unchecked = {"touch", "record_event", "record_coalesced"}
    assert {name for name in vars(Registry) if not name.startswith("_")} - looking - unchecked == set(CHANGES)


def test_an_empty_registry_belongs_to_whoever_changes_it_first(registry):
    assert in_a_thread(lambda: admit_session(registry, S1)) is None
    # Now it is the other thread's.
    with pytest.raises(WrongThreadError):
        admit_session(registry, S2)


def test_an_empty_registry_can_change_hands_again(registry):
    registry.discharge_session(admit_session(registry, S1))
    assert in_a_thread(registry.claim) is None
    registry.claim()


# What it costs


class Counted(OrderedDict[Any, Any]):
    """Counts the entries that are looked at, also those that an iteration passes."""

    looks = 0

    def _look(self):
        Counted.looks += 1

    def __getitem__(self, key):
        self._look()
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self._look()
        super().__setitem__(key, value)

    def __delitem__(self, key):
        self._look()
        super().__delitem__(key)

    def __contains__(self, key):
        self._look()
        return super().__contains__(key)

    def get(self, key, default=None):
        self._look()
        return super().get(key, default)

    def setdefault(self, key, default=None):
        self._look()
        return super().setdefault(key, default)

    def move_to_end(self, key, last=True):
        self._look()
        super().move_to_end(key, last)

    def __iter__(self):
        for key in super().__iter__():
            self._look()
            yield key


def make_crowded(count: int) -> tuple[Registry, SessionRecord, StreamRecord]:
    """A registry with ``count`` sessions of one principal, the last of which has ``count`` streams."""
    registry = Registry(Limits())
    sessions = [admit_session(registry, SessionId(f"crowd-{n}"), principal="alice") for n in range(count)]
    session = sessions[-1]
    streams = [admit_stream(registry, session.id, now=float(number)) for number in range(count)]
    registry.sessions = Counted(registry.sessions)
    registry.streams = Counted(registry.streams)
    registry.by_principal = Counted({name: Counted(records) for name, records in registry.by_principal.items()})
    registry._by_activity = Counted(registry._by_activity)
    session.streams = Counted(session.streams)
    Counted.looks = 0
    return registry, session, streams[count // 2]


OPERATIONS = {
    "admit_session": lambda registry, session, stream: admit_session(registry, S1, principal="alice"),
    "admit_stream": lambda registry, session, stream: admit_stream(registry, session.id),
    "find_session": lambda registry, session, stream: registry.find_session(session.id),
    "find_stream": lambda registry, session, stream: registry.find_stream(session.id, stream.id),
    "touch": lambda registry, session, stream: registry.touch(stream, 2000.0),
    "record_event": lambda registry, session, stream: registry.record_event(stream, 1, 2000.0),
    "close_stream": lambda registry, session, stream: registry.close_stream(stream, CloseReason.KILLED),
    "discharge_stream": lambda registry, session, stream: registry.discharge_stream(stream, CloseReason.KILLED),
    "expire_streams, none": lambda registry, session, stream: registry.expire_streams(0.0, 1.0),
    "expire_streams, two": lambda registry, session, stream: registry.expire_streams(2.0, 0.5),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_costs_the_same_however_much_is_open(operation):
    looks = []
    for count in (10, 1000):
        OPERATIONS[operation](*make_crowded(count))
        looks.append(Counted.looks)
    assert looks[0] == looks[1] > 0


def test_a_clean_up_looks_at_what_it_ends_and_at_one_more():
    for expired in (0, 1, 7):
        registry, _, _ = make_crowded(1000)
        # The streams were active at 0, 1, 2, …; those before `expired` are too old.
        ended = registry.expire_streams(now=1000.0, max_age=1000.0 - expired)
        assert [record.last_activity for record in ended] == [float(number) for number in range(expired)]
        # Each is looked at once as the first, and once as it leaves the order.
        assert Counted.looks == 2 * expired + 1


def test_ending_a_session_looks_at_its_own_streams_only():
    looks = []
    for others in (0, 1000):
        registry = Registry(Limits())
        session = admit_session(registry, S1)
        for _ in range(5):
            admit_stream(registry, S1)
        for _ in range(others):
            admit_stream(registry, S2)
        registry.streams = Counted(registry.streams)
        registry._by_activity = Counted(registry._by_activity)
        session.streams = Counted(session.streams)
        Counted.looks = 0
        assert len(registry.close_session(session, CloseReason.IDLE)) == 5
        looks.append(Counted.looks)
    assert looks[0] == looks[1] > 0


# As a scope


async def test_a_record_carries_what_ends_the_stream(registry):
    scope = trio.CancelScope()
    stream = admit_stream(registry, S1, scope=scope)
    registry.close_stream(stream, CloseReason.KILLED)
    assert stream.scope is scope
    # The registry never calls it: whoever called close_stream() does.
    assert not scope.cancel_called
