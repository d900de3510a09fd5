"""Decisions about one HTTP request: its headers, its method, its body's era."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope import CloseReason
from streamscope.mcp import _wire
from streamscope.mcp._jsonrpc import Answer, Notification, Request
from streamscope.mcp._wire import JSON, SSE, Headers, RefusedError

VERSION = "io.modelcontextprotocol/protocolVersion"


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])


# Headers


def test_names_are_found_whatever_their_case():
    assert headers(("Content-TYPE", "x")).get("content-type") == "x"
    assert headers().get("content-type") is None


@pytest.mark.parametrize("value", ["x", " x", "x ", "\tx\t ", "  x  "])
def test_white_space_around_a_value_is_not_part_of_it(value):
    assert headers(("h", value)).get("h") == "x"
    assert headers(("h", value), ("H", value)).get("h") == "x, x"


def test_a_repeated_header_is_a_list_and_is_noted():
    found = headers(("a", "1"), ("b", "2"), ("A", "3"), ("a", ""))
    assert found.as_dict() == {"a": "1, 3, ", "b": "2"}
    assert found.duplicates == {"a"}


def test_a_header_that_is_repeated_without_end():
    # A cost that grows with the square of this would be minutes.
    found = Headers([(b"a", b"b")] * 300_000)
    assert found.get("a") == "b, " * 299_999 + "b"
    assert found.duplicates == {"a"}


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.binary(max_size=5))))
def test_any_bytes_are_a_header(raw):
    found = Headers(raw)
    assert set(found.as_dict()) == {name.lower().decode("latin-1") for name, _ in raw}


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("007", 7),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("0x1", None),
        ("1_000", None),
        ("5, 5", None),
        ("²", None),
        ("nonsense", None),
    ],
)
def test_the_length_of_the_body(value, length):
    assert headers(("content-length", value)).content_length() == length


def test_no_length():
    assert headers().content_length() is None


def test_an_endless_length_is_a_large_one():
    # int() itself refuses more than 4,300 digits.
    length = headers(("content-length", "9" * 5000)).content_length()
    assert length is not None
    assert length > 2**64


# Accept


@pytest.mark.parametrize(
    "value",
    [
        "application/json, text/event-stream",
        "text/event-stream,application/json",
        "application/json;q=0.9 , text/event-stream; q=0.1",
        "Application/JSON, TEXT/Event-Stream",
        "*/*",
        "text/html, */*;q=0.1",
        "application/*, text/*",
        "application/json, text/*",
        "application/json; charset=utf-8, text/event-stream",
        "application/json,, text/event-stream,",
        "application/json;q=1.000, text/event-stream;q=0.001",
    ],
)
def test_both_are_accepted(value):
    assert all(map(headers(("accept", value)).accepts, (JSON, SSE)))


def test_accept_may_come_in_several_headers():
    assert all(map(headers(("accept", JSON), ("accept", SSE)).accepts, (JSON, SSE)))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "application/json",
        "text/event-stream",
        "application/*",
        "text/*",
        "application/jsonx, text/event-stream",
        "xapplication/json, text/event-stream",
        "application/json text/event-stream",
        "application/json, text/event-stream;q=0",
        "application/json;q=0.0, text/event-stream",
        "application/json, text/event-stream; q=0.000",
        "application/json, text/event-stream;Q=0",
        "*/*;q=0",
        "application/json, text/*;q=0",
        "text/html",
        "*",
    ],
)
def test_not_both_are_accepted(value):
    assert not all(map(headers(("accept", value)).accepts, (JSON, SSE)))


def test_nothing_said_is_nothing_accepted():
    # The MCP specification demands the header, so its absence does not mean "anything".
    assert not headers().accepts(SSE)


def test_the_most_specific_range_decides():
    # RFC 9110, section 12.5.1.
    assert not headers(("accept", "*/*, text/event-stream;q=0")).accepts(SSE)
    assert headers(("accept", "text/*;q=0, text/event-stream")).accepts(SSE)
    assert headers(("accept", "*/*;q=0, text/*")).accepts(SSE)


# Checks


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_methods_that_there_are(method):
    _wire.check_method(method)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "", "POST "])
def test_methods_that_there_are_not(method):
    with pytest.raises(RefusedError) as caught:
        _wire.check_method(method)
    assert (caught.value.status, caught.value.headers) == (405, {"allow": "GET, POST, DELETE"})


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=x",
        " application/json ",
    ],
)
def test_content_types_that_are_json(content_type):
    _wire.check_post(headers(("accept", "*/*"), ("content-type", content_type)))


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/jsonx", "application/x-json", "application/json, application/json"],
)
def test_content_types_that_are_not(content_type):
    pairs = [("accept", "*/*")] + ([] if content_type is None else [("content-type", content_type)])
    with pytest.raises(RefusedError) as caught:
        _wire.check_post(headers(*pairs))
    assert caught.value.status == 415


def test_what_cannot_be_answered_is_refused_before_what_cannot_be_read():
    with pytest.raises(RefusedError) as caught:
        _wire.check_post(headers(("accept", JSON), ("content-type", "text/plain")))
    assert caught.value.status == 406
    with pytest.raises(RefusedError) as caught:
        _wire.check_accepts_events(headers(("accept", JSON)))
    assert caught.value.status == 406
    _wire.check_accepts_events(headers(("accept", SSE)))


def test_who_is_sent_no_events_need_not_accept_them():
    _wire.check_post(headers(("accept", JSON), ("content-type", JSON)), json_only=True)
    for accept in (SSE, ""):
        with pytest.raises(RefusedError) as caught:
            _wire.check_post(headers(("accept", accept), ("content-type", JSON)), json_only=True)
        assert caught.value.status == 406


def test_a_body_that_is_no_message():
    with pytest.raises(RefusedError) as caught:
        _wire.read_body(b'{"jsonrpc": "2.0", "id": 7, "method": 1}')
    assert caught.value.status == 400
    body = json.loads(caught.value.body)
    assert (body["id"], body["error"]["code"]) == (7, -32600)
    assert _wire.read_body(b'{"jsonrpc": "2.0", "method": "m"}') == Notification("m", None)


@pytest.mark.parametrize(
    ("message", "modern"),
    [
        (Request(1, "m", {"_meta": {VERSION: "2026-07-28"}}), True),
        (Notification("m", {"_meta": {VERSION: None}}), True),
        (Request(1, "m", {"_meta": {"progressToken": 1}}), False),
        (Request(1, "m", {"_meta": [VERSION]}), False),
        (Request(1, "m", {"_meta": None}), False),
        (Request(1, "m", {}), False),
        (Request(1, "m", None), False),
        (Answer(1, {"_meta": {VERSION: "2026-07-28"}}, None), False),
    ],
)
def test_the_era_that_a_message_names(message, modern):
    assert _wire.has_envelope(message) is modern


# Goodbye


@pytest.mark.parametrize("reason", list(CloseReason))
@pytest.mark.parametrize("request_id", [1, "1"], ids=repr)
def test_a_goodbye_names_the_reason(reason, request_id):
    body = json.loads(_wire.goodbye(request_id, reason))
    assert body["id"] == request_id
    assert type(body["id"]) is type(request_id)
    if reason is CloseReason.CANCELLED:
        assert body["error"]["code"] == -32800
    else:
        assert (body["error"]["code"], body["error"]["data"]) == (-32000, {"reason": reason.value})
        assert body["error"]["message"].endswith(reason.value)
