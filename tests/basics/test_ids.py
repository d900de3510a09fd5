from __future__ import annotations

import copy
import json
import math
import os
import pickle
import re
import subprocess
import sys
import uuid
from threading import Thread

import attrs
import cattrs
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamscope import EventId, SessionId, StreamId, configure_converter
from streamscope._util import shorten

UUID_TEXT = "3f0c8c1e-5d0e-4a0b-9c39-0f6a4b1f2d77"

stream_ids = st.uuids(version=4).map(StreamId)
session_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128).map(SessionId)
event_ids = st.builds(EventId, stream_ids, st.integers(min_value=0, max_value=10**18 - 1))

each_kind = pytest.mark.parametrize(
    ("kind", "text"), [(StreamId, UUID_TEXT), (SessionId, "visible-ASCII_~!")], ids=["StreamId", "SessionId"]
)


# All kinds


@each_kind
def test_text_round_trip(kind, text):
    identifier = kind.parse(text)
    assert str(identifier) == text
    assert f"{identifier}" == text
    shown = text if kind is StreamId else "visi…"  # who knows a session's identifier may use the session
    assert repr(identifier) == f"{kind.__name__}({shown!r})"
    assert kind.parse(str(identifier)) == identifier
    assert json.loads(json.dumps({"id": str(identifier)})) == {"id": text}


@each_kind
def test_equal_by_text_and_kind(kind, text):
    one, same, other = kind.parse(text), kind.parse(text), kind.new()
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert {one, same, other} == {one, other}
    # A session's identifier must not pass for its text, nor for a stream's identifier of that text.
    assert one != text
    assert SessionId(UUID_TEXT) != StreamId.parse(UUID_TEXT)
    assert StreamId.parse(UUID_TEXT) != SessionId(UUID_TEXT)


@each_kind
def test_no_order(kind, text):
    with pytest.raises(TypeError, match="not supported between instances"):
        kind.new() < kind.new()  # noqa: B015 - the comparison is what raises


@each_kind
def test_immutable(kind, text):
    identifier = kind.parse(text)
    for name in ("_text", "other"):
        with pytest.raises(AttributeError, match=f"a {kind.__name__} is immutable"):
            setattr(identifier, name, "x")
    with pytest.raises(AttributeError, match=f"a {kind.__name__} is immutable"):
        del identifier._text
    assert not hasattr(identifier, "__dict__")
    assert str(identifier) == text


@each_kind
def test_a_copy_is_the_identifier_itself(kind, text):
    identifier = kind.parse(text)
    assert copy.copy(identifier) is identifier
    assert copy.deepcopy(identifier) is identifier
    assert copy.deepcopy({"nested": [identifier]})["nested"][0] is identifier


@each_kind
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(kind, text, protocol):
    identifier = kind.parse(text)
    again = pickle.loads(pickle.dumps(identifier, protocol))
    assert again == identifier
    assert type(again) is kind


@each_kind
def test_a_tampered_pickle_is_refused(kind, text):
    pickled = pickle.dumps(kind.parse(text), 0)
    assert text.encode() in pickled
    with pytest.raises(ValueError, match=f"not a {kind.__name__}"):
        pickle.loads(pickled.replace(text.encode(), b"not visible " + "é".encode("raw_unicode_escape")))


# StreamId


def test_a_new_stream_id_is_a_version_4_uuid():
    for _ in range(1000):
        value = StreamId.new().uuid
        assert value.version == 4
        assert value.variant == uuid.RFC_4122


def test_all_122_free_bits_of_a_stream_id_vary():
    values = [StreamId.new().uuid.int for _ in range(1000)]
    assert len(set(values)) == 1000
    ever_set, always_set = 0, 2**128 - 1
    for value in values:
        ever_set |= value
        always_set &= value
    fixed = ((2**128 - 1) ^ ever_set) | always_set
    assert fixed.bit_count() == 6


def test_new_identifiers_of_several_threads_are_distinct():
    made: list[list[StreamId]] = [[] for _ in range(4)]
    threads = [Thread(target=lambda to=to: to.extend(StreamId.new() for _ in range(5000))) for to in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for some in made for each in some}) == 20_000


FORKING = """
import os, sys
from streamscope import StreamId
StreamId.new()
read, write = os.pipe()
if not (child := os.fork()):
    os.write(write, " ".join(str(StreamId.new()) for _ in range(300)).encode())
    os._exit(0)
os.waitpid(child, 0)
theirs = set(os.read(read, 65536).decode().split())
ours = {str(StreamId.new()) for _ in range(300)}
print(len(theirs), len(ours), len(theirs & ours))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork() here")
def test_a_forked_process_makes_others():
    result = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.split() == ["300", "300", "0"]


@given(st.uuids(version=4))
def test_stream_id_from_a_uuid_and_back(value):
    identifier = StreamId(value)
    assert identifier.uuid == value
    assert str(identifier) == str(value)
    assert StreamId.parse(str(value)) == identifier


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (uuid.uuid1(), "1"),
        (uuid.uuid3(uuid.NAMESPACE_DNS, "x"), "3"),
        (uuid.uuid5(uuid.NAMESPACE_DNS, "x"), "5"),
        (uuid.UUID(int=0), "None"),
    ],
    ids=["1", "3", "5", "nil"],
)
def test_stream_id_from_another_uuid(value, version):
    with pytest.raises(ValueError, match=f"must be a version 4 UUID, not version {version}: {value}"):
        StreamId(value)


@given(st.text() | st.uuids().map(str) | st.text("0123456789abcdef-", min_size=30, max_size=40))
@example("")
@example(UUID_TEXT.upper())
@example(UUID_TEXT + "\n")
@example(" " + UUID_TEXT)
@example("{" + UUID_TEXT + "}")
@example("urn:uuid:" + UUID_TEXT)
@example(UUID_TEXT.replace("-", ""))
@example(UUID_TEXT.replace("-4", "-1"))
@example(UUID_TEXT.replace("-9", "-c"))
@example(UUID_TEXT.replace("3", "\N{ARABIC-INDIC DIGIT THREE}"))
def test_stream_id_from_any_text(text):
    try:
        good = str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4
    except ValueError:
        good = False
    if good:
        assert str(StreamId.parse(text)) == text
    else:
        with pytest.raises(ValueError, match=r"^not a StreamId: .*expected a version 4 UUID") as caught:
            StreamId.parse(text)
        assert shorten(text) in str(caught.value)


def test_a_long_bad_text_is_quoted_shortened():
    with pytest.raises(ValueError, match=r"^not a StreamId: 'x{47}'… ") as caught:
        StreamId.parse("x" * 10_000)
    assert len(str(caught.value)) < 200


# SessionId


def test_a_new_session_id_has_192_bits_of_visible_ascii():
    texts = [str(SessionId.new()) for _ in range(1000)]
    assert len(set(texts)) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", text) for text in texts)
    # Each of the 32 characters takes (nearly) each of 64 values; a fixed or a poor one would show here.
    assert all(len(set(column)) > 60 for column in zip(*texts, strict=True))
    assert 32 * math.log2(64) >= 128


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128))
def test_session_id_from_visible_ascii(text):
    assert str(SessionId(text)) == text
    assert SessionId(text) == SessionId.parse(text)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)), st.characters(max_codepoint=0x20), st.integers())
def test_session_id_with_an_invisible_character(text, invisible, at):
    position = at % (len(text) + 1)
    with pytest.raises(ValueError, match="not a SessionId"):
        SessionId(text[:position] + invisible + text[position:])


@pytest.mark.parametrize("text", ["", "x" * 129, "é", "a b", "a\n", "\x7f"], ids=range(6))
def test_session_id_from_bad_text(text):
    with pytest.raises(ValueError, match=r"^not a SessionId: .* \(expected 1 to 128 visible ASCII characters\)$"):
        SessionId(text)


# EventId


@given(event_ids)
def test_event_id_round_trip(event_id):
    text = str(event_id)
    assert text == f"{event_id.stream_id}.{event_id.seq}"
    assert EventId.parse(text) == event_id
    assert hash(EventId.parse(text)) == hash(event_id)
    assert pickle.loads(pickle.dumps(event_id)) == event_id
    assert copy.deepcopy(event_id) == event_id


def test_event_id_is_immutable():
    event_id = EventId(StreamId.new(), 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event_id.seq = 2  # type: ignore[misc]


@given(
    st.text()
    | st.builds("{}.{}".format, stream_ids, st.text())
    | st.builds("{}{}{}".format, stream_ids, st.characters(), st.integers(0, 10**18 - 1))
    | st.builds("{}.{}".format, st.text(), st.integers())
    | st.builds("{}.{}".format, stream_ids, st.integers(max_value=-1) | st.integers(min_value=10**18))
)
@example("")
@example(".")
@example("1")
@example(UUID_TEXT)
@example(f"{UUID_TEXT}.")
@example(f"{UUID_TEXT}.01")
@example(f"{UUID_TEXT}.+1")
@example(f"{UUID_TEXT}.1_0")
@example(f"{UUID_TEXT}.1 ")
@example(f"{UUID_TEXT}.1\n")
@example(f"{UUID_TEXT}.1.1")
@example(f"{UUID_TEXT}.\N{ARABIC-INDIC DIGIT ONE}")
@example(f"{UUID_TEXT.upper()}.1")
@example(f"{UUID_TEXT}." + "9" * 19)
@example(f"{UUID_TEXT}." + "9" * 5000)
def test_event_id_from_any_text(text):
    stream, dot, seq = text.rpartition(".")
    good = bool(dot and re.fullmatch("0|[1-9][0-9]{0,17}", seq))
    try:
        StreamId.parse(stream)
    except ValueError:
        good = False
    if good:
        assert str(EventId.parse(text)) == text
    else:
        with pytest.raises(ValueError, match=r"^not an EventId: ") as caught:
            EventId.parse(text)
        assert str(caught.value).endswith("(expected a StreamId, a dot and a number)")
        assert shorten(text) in str(caught.value)
        assert len(str(caught.value)) < 48 * len(r"\U00000000") + 100


# pydantic


class Row(pydantic.BaseModel):
    stream: StreamId
    session: SessionId
    counts: dict[StreamId, int] = {}


def make_row() -> Row:
    return Row(stream=StreamId.new(), session=SessionId.new(), counts={StreamId.new(): 3})


def test_pydantic_takes_identifiers_and_their_text():
    row = make_row()
    assert Row.model_validate({"stream": str(row.stream), "session": str(row.session)}).stream == row.stream
    assert Row.model_validate(row.model_dump()) == row
    assert isinstance(row.model_dump()["stream"], StreamId)


def test_pydantic_json_round_trip():
    row = make_row()
    text = row.model_dump_json()
    (counted,) = row.counts
    assert json.loads(text) == {
        "stream": str(row.stream),
        "session": str(row.session),
        "counts": {str(counted): 3},
    }
    again = Row.model_validate_json(text)
    assert again == row
    assert type(again.stream) is StreamId
    assert type(again.session) is SessionId


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_pydantic_json_schema(mode):
    schema = Row.model_json_schema(mode=mode)
    assert schema["properties"]["stream"] == {"title": "Stream", "type": "string"}
    assert schema["properties"]["session"] == {"title": "Session", "type": "string"}
    assert "stream" in schema["required"]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("nonsense", "not a StreamId: 'nonsense'"),
        (SessionId(UUID_TEXT), "should be a valid string"),
        (uuid.UUID(UUID_TEXT), "should be a valid string"),
        (7, "should be a valid string"),
        (None, "should be a valid string"),
    ],
    ids=["text", "session", "uuid", "int", "none"],
)
def test_pydantic_refuses_anything_else(stream, message):
    with pytest.raises(pydantic.ValidationError, match=message) as caught:
        Row(stream=stream, session=SessionId.new())
    assert [error["loc"] for error in caught.value.errors()] == [("stream",)]


# cattrs


@attrs.frozen
class Record:
    stream: StreamId
    session: SessionId
    event: EventId
    others: list[StreamId]


def make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    configure_converter(converter)
    return converter


def test_cattrs_round_trip_through_json():
    stream = StreamId.new()
    record = Record(stream, SessionId.new(), EventId(stream, 7), [StreamId.new(), StreamId.new()])
    converter = make_converter()

    values = json.loads(json.dumps(converter.unstructure(record)))

    assert values["stream"] == str(stream)
    assert values["event"] == f"{stream}.7"
    assert converter.structure(values, Record) == record


@pytest.mark.parametrize("kind", [StreamId, SessionId, EventId])
def test_cattrs_refuses_bad_text(kind):
    with pytest.raises(ValueError, match=f"not an? {kind.__name__}"):
        make_converter().structure("not one", kind)


# Imports


def test_neither_pydantic_nor_cattrs_is_imported_before_it_is_used():
    program = """
import sys
import streamscope
identifier = streamscope.StreamId.parse(str(streamscope.StreamId.new()))
for name in ("pydantic", "pydantic_core", "cattrs", "cattr"):
    assert name not in sys.modules, name
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
