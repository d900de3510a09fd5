from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope import CloseReason, SessionId, SessionMetadata, State, StreamId, StreamMetadata
from streamscope._metadata import utc
from tests.values.samples import SESSION, STREAM

# hypothesis wants these bare, and adds the zone.
EARLIEST, LATEST = (datetime(year, 1, 1) for year in (1970, 9000))  # noqa: DTZ001

texts = st.text()
stream_ids = st.uuids(version=4).map(StreamId)
session_ids = st.uuids().map(str).map(SessionId)
seconds = st.floats(min_value=0, max_value=1e9)
counts = st.integers(min_value=0)
common = {
    "principal": st.none() | texts,
    "connection_info": st.none() | texts,
    "state": st.sampled_from(State),
    "reason": st.none() | st.sampled_from(CloseReason),
    "created_at": st.datetimes(min_value=EARLIEST, max_value=LATEST, timezones=st.just(UTC)),
    "age": seconds,
    "idle": seconds,
    "session_id": session_ids,
}
stream_metadata = st.builds(
    StreamMetadata, stream_id=stream_ids, kind=texts, event_count=counts, byte_count=counts, **common
)
session_metadata = st.builds(SessionMetadata, stream_count=counts, **common)

STREAM_DICT = {
    "stream_id": "3f0c8c1e-5d0e-4a0b-9c39-0f6a4b1f2d77",
    "session_id": "s1",
    "kind": "post",
    "principal": "alice",
    "connection_info": "203.0.113.7:50412",
    "state": "closing",
    "reason": "idle",
    "created_at": "2026-01-02T03:04:05+00:00",
    "last_activity": "2026-01-02T03:04:12.500000+00:00",
    "age": 10.0,
    "idle": 2.5,
    "event_count": 3,
    "byte_count": 99,
}


@given(stream_metadata | session_metadata)
def test_round_trip_through_json(metadata):
    values = json.loads(json.dumps(metadata.to_dict()))
    again = type(metadata).from_dict(values)
    assert again == metadata
    # Equality would let `True` pass for 1 and a text for a reason.
    fields = attrs.fields(type(metadata))
    assert [type(getattr(again, f.name)) for f in fields] == [type(getattr(metadata, f.name)) for f in fields]
    assert again.created_at.tzinfo is UTC
    assert again.to_dict() == values


@given(stream_metadata | session_metadata)
def test_last_activity_lies_as_far_back_as_idle_says(metadata):
    assert metadata.last_activity == metadata.created_at + timedelta(seconds=metadata.age - metadata.idle)
    assert metadata.last_activity.utcoffset() == timedelta(0)


def test_the_names_are_part_of_the_interface():
    assert STREAM.to_dict() == STREAM_DICT
    assert SESSION.to_dict() == {
        "session_id": "s1",
        "principal": None,
        "connection_info": None,
        "state": "open",
        "reason": None,
        "created_at": "2026-01-02T03:04:05+00:00",
        "last_activity": "2026-01-02T03:04:05+00:00",
        "age": 1.0,
        "idle": 1.0,
        "stream_count": 0,
    }


def test_what_later_versions_add_is_skipped():
    assert StreamMetadata.from_dict({**STREAM_DICT, "added_later": 1}) == STREAM


@pytest.mark.parametrize("name", sorted(set(STREAM_DICT) - {"last_activity"}))
def test_a_missing_value_is_named(name):
    values = {key: value for key, value in STREAM_DICT.items() if key != name}
    with pytest.raises(KeyError, match=name):
        StreamMetadata.from_dict(values)


@pytest.mark.parametrize("name", ["stream_id", "session_id", "state", "reason", "created_at"])
def test_a_malformed_value_is_refused(name):
    with pytest.raises(ValueError, match="no such thing"):
        StreamMetadata.from_dict({**STREAM_DICT, name: "no such thing"})


def test_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        STREAM.idle = 0  # type: ignore[misc]
    assert len({STREAM, StreamMetadata.from_dict(STREAM_DICT)}) == 1


@pytest.mark.parametrize("metadata", [STREAM, SESSION], ids=["stream", "session"])
def test_made_by_keyword_only(metadata):
    # So that a field may be added anywhere.
    values = attrs.asdict(metadata, recurse=False)
    assert type(metadata)(**values) == metadata
    with pytest.raises(TypeError):
        type(metadata)(*values.values())


def test_utc():
    assert utc(0.5) == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
