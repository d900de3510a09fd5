"""Framing: what is written is what a standard parser reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope import Event, EventId, StreamId
from streamscope.mcp import _jsonrpc, _sse
from tests.mcp.sse import Frame, Parser

# Whatever could end a line or a frame for somebody, and much else.
nasty = st.text(st.sampled_from("\r\n\u2028\u2029\x85\x0b\x0c\0: \t{}data") | st.characters(exclude_categories=["Cs"]))
messages = st.builds(_jsonrpc.notification, nasty, st.dictionaries(nasty, nasty, max_size=3))


def parse(written: bytes, step: int | None = None) -> Parser:
    parser = Parser()
    for start in range(0, len(written), step or max(1, len(written))):
        parser.frames += parser.feed(written[start : start + (step or len(written))])
    return parser


@given(st.lists(messages), st.integers(1, 10**15), st.integers(1, 7))
def test_events_read_back_with_their_positions(data, first, step):
    stream_id = StreamId.new()
    events = [Event(first + i, message) for i, message in enumerate(data)]
    parser = parse(_sse.frames(stream_id, events), step)
    assert [json.loads(frame.data) for frame in parser.frames] == [json.loads(message) for message in data]
    assert [EventId.parse(frame.id) for frame in parser.frames] == [EventId(stream_id, event.seq) for event in events]
    assert {frame.event for frame in parser.frames} <= {"message"}
    assert not parser.unknown
    assert not parser.comments


@given(messages)
def test_an_event_that_nobody_can_resume_after_has_no_identifier(message):
    parser = parse(_sse.frame(message))
    assert parser.frames == [Frame(message.decode())]
    assert not parser.unknown


@given(nasty)
def test_line_ends_within_a_message_break_nothing(value):
    (frame,) = parse(_sse.frame(_jsonrpc.result(1, {"text": value}))).frames
    assert json.loads(frame.data)["result"]["text"] == value


@pytest.mark.parametrize(("retry", "milliseconds"), [(None, None), (0, 0), (0.001, 1), (1, 1000), (2.5, 2500)])
def test_priming_gives_a_position_and_no_message(retry, milliseconds):
    stream_id = StreamId.new()
    (frame,) = parse(_sse.priming(stream_id, 7, retry)).frames
    assert frame == Frame("", id=str(EventId(stream_id, 7)), retry=milliseconds)


def test_a_ping_is_a_comment():
    parser = parse(_sse.PING)
    assert (parser.frames, parser.comments, parser.unknown) == ([], ["ping"], [])


@given(st.lists(st.sampled_from(["priming", "ping", "frame"]), max_size=6), st.integers(1, 5))
def test_frames_stand_next_to_each_other(kinds, step):
    stream_id = StreamId.new()
    written = {
        "priming": _sse.priming(stream_id, 0, 1),
        "ping": _sse.PING,
        "frame": _sse.frame(b"{}"),
    }
    parser = parse(b"".join(written[kind] for kind in kinds), step)
    data = {"priming": "", "frame": "{}"}
    assert [frame.data for frame in parser.frames] == [data[kind] for kind in kinds if kind in data]
    assert len(parser.comments) == kinds.count("ping")


# The parser of the tests has to be right itself.


@pytest.mark.parametrize(
    ("written", "frames"),
    [
        (b"data: a\n\n", [Frame("a")]),
        (b"data: a\r\rdata:b\r\n\r\n", [Frame("a"), Frame("b")]),
        (b"data: a\ndata: b\n\n", [Frame("a\nb")]),
        (b"data\n\n", [Frame("")]),
        (b"data:\n\n", [Frame("")]),
        (b"id: 1\n\n", []),
        (b"event: x\nid: 1\nretry: 5\ndata:  a\n\n", [Frame(" a", "x", "1", 5)]),
        (b"data: unfinished\n", []),
    ],
)
def test_the_parser(written, frames):
    for step in (1, 2, None):
        assert parse(written, step).frames == frames


def test_the_parser_tells_what_it_does_not_know():
    assert parse(b"what: 1\nid: a\0b\nretry: x\n: note\n").unknown == ["what: 1", "id: a\0b", "retry: x"]
