from __future__ import annotations

import copy
import math
import pickle

import pytest
import trio

import streamscope
from streamscope import (
    CloseReason,
    EventLogError,
    EventLogFailedError,
    EventsExpiredError,
    EventTooLargeError,
    LimitError,
    ManagerClosedError,
    ReaderClosedError,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    StreamClosedError,
    StreamId,
    StreamLimitError,
    UnknownEventError,
    UnknownSessionError,
    UnknownStreamError,
    WrongThreadError,
)

STREAM = StreamId.parse("3f0c8c1e-5d0e-4a0b-9c39-0f6a4b1f2d77")
SESSION = SessionId("secret-session")

# Each error, whose doing it was (as the class that generic code catches), what it says, what it carries.
CASES = [
    (
        SessionClosedError(SESSION, CloseReason.IDLE),
        trio.BrokenResourceError,
        "the session has ended: idle",
        {"session_id": SESSION, "reason": CloseReason.IDLE},
    ),
    (
        ManagerClosedError(),
        trio.ClosedResourceError,
        "the session manager opens no new sessions: it is stopping",
        {},
    ),
    (StreamClosedError(STREAM), trio.ClosedResourceError, f"stream {STREAM} has ended", {"stream_id": STREAM}),
    (
        ReaderClosedError(CloseReason.SUPERSEDED),
        trio.BrokenResourceError,
        "the reader was ended: superseded",
        {"reason": CloseReason.SUPERSEDED},
    ),
    (UnknownSessionError(), LookupError, "no such session; it may have ended", {}),
    (UnknownStreamError(STREAM), LookupError, f"no stream {STREAM} in this session", {"stream_id": STREAM}),
    (
        UnknownEventError(STREAM, 7),
        LookupError,
        f"stream {STREAM} has no event 7",
        {"stream_id": STREAM, "seq": 7},
    ),
    (
        EventsExpiredError(STREAM, 3, 9),
        LookupError,
        f"events 4 to 8 of stream {STREAM} are no longer kept; the oldest one there is 9",
        {"stream_id": STREAM, "after": 3, "first": 9},
    ),
    (
        SessionLimitError("max_sessions", 10_000.0),
        LimitError,
        "max_sessions=10000 is reached",
        {"limit": "max_sessions", "value": 10_000.0},
    ),
    (
        StreamLimitError("max_streams_per_session", 3),
        LimitError,
        "max_streams_per_session=3 is reached",
        {"limit": "max_streams_per_session", "value": 3},
    ),
    (
        EventTooLargeError("max_stream_bytes", 16 * 2**20),
        LimitError,
        "max_stream_bytes=16777216 is reached",
        {"limit": "max_stream_bytes", "value": 16 * 2**20},
    ),
    (
        EventLogFailedError("database or disk is full"),
        EventLogError,
        "the event log has failed: database or disk is full",
        {"cause": "database or disk is full"},
    ),
    (
        WrongThreadError(),
        RuntimeError,
        (
            "sessions and streams may be read from any thread, but changed only from the thread that runs Trio; "
            "call trio.from_thread.run_sync(...) to get there"
        ),
        {},
    ),
]

each_error = pytest.mark.parametrize(
    ("error", "base", "message", "attributes"), CASES, ids=[type(case[0]).__name__ for case in CASES]
)


@each_error
def test_says_what_happened_and_carries_it(error, base, message, attributes):
    assert isinstance(error, base)
    assert str(error) == message
    assert {name: getattr(error, name) for name in attributes} == attributes


@each_error
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))], ids=range(3))
def test_survives_a_trip_to_another_process(error, base, message, attributes, duplicate):
    again = duplicate(error)
    assert type(again) is type(error)
    assert str(again) == message
    assert {name: getattr(again, name) for name in attributes} == attributes


@each_error
def test_may_be_made_by_keyword(error, base, message, attributes):
    again = pickle.loads(pickle.dumps(type(error)(**attributes)))
    assert str(again) == message
    assert again.args == error.args == tuple(attributes.values())


def test_no_error_is_missing_above():
    public = {obj for obj in vars(streamscope).values() if isinstance(obj, type) and issubclass(obj, Exception)}
    assert public - {EventLogError, LimitError} == {type(case[0]) for case in CASES}


def test_a_limit_may_be_infinite_or_a_fraction():
    assert str(LimitError("drain_timeout", math.inf)) == "drain_timeout=inf is reached"
    assert str(LimitError("drain_timeout", 0.25)) == "drain_timeout=0.25 is reached"


def test_a_session_id_is_in_no_message():
    # Messages are logged, and whoever knows the identifier may use the session.
    assert all("secret" not in str(error) for error, *_ in CASES)
