"""JSON-RPC messages: what is one, and what is refused by which name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.mcp import _jsonrpc
from streamscope.mcp._jsonrpc import Answer, MalformedMessageError, Notification, Request, parse

text = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | text
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
objects = st.dictionaries(text, values, max_size=4)
ids = st.integers(-(2**70), 2**70) | text


def refusal(body: object) -> MalformedMessageError:
    with pytest.raises(MalformedMessageError) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


# What is a message


@given(ids, text, objects | st.none())
def test_requests_and_notifications(request_id, method, params):
    message = {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})
    assert parse(json.dumps(message).encode()) == Notification(method, params)
    assert parse(json.dumps({**message, "id": request_id}).encode()) == Request(request_id, method, params)


@given(ids, objects, st.booleans())
def test_answers(request_id, body, succeeded):
    message = {"jsonrpc": "2.0", "id": request_id, "result" if succeeded else "error": body}
    expected = Answer(request_id, body, None) if succeeded else Answer(request_id, None, body)
    assert parse(json.dumps(message).encode()) == expected
    # Peers that write out what they do not mean, as null, are understood.
    message["error" if succeeded else "result"] = None
    assert parse(json.dumps(message).encode()) == expected


def test_a_bytearray_is_read_like_bytes():
    assert parse(bytearray(b'{"jsonrpc": "2.0", "method": "m"}')) == Notification("m", None)


def test_null_params_are_none():
    assert parse(b'{"jsonrpc": "2.0", "id": 1, "method": "m", "params": null}') == Request(1, "m", None)


def test_a_number_and_its_text_are_two_identifiers():
    number, string = (parse(b'{"jsonrpc": "2.0", "id": %s, "method": "m"}' % form) for form in (b"1", b'"1"'))
    assert number != string


def test_of_a_repeated_key_the_last_counts():
    assert parse(b'{"jsonrpc": "2.0", "id": 1, "id": 2, "method": "a", "method": "b"}') == Request(2, "b", None)


def test_a_batch_is_a_list_of_messages():
    messages = [{"jsonrpc": "2.0", "id": 1, "method": "a"}, {"jsonrpc": "2.0", "method": "b"}]
    assert parse(json.dumps(messages).encode()) == [Request(1, "a", None), Notification("b", None)]


# What is none


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"jsonrpc": "2.0", "method": "m"} {}',
        b"{'jsonrpc': '2.0'}",
        b'{"jsonrpc": "2.0", "method": "m", "params": {"x": NaN}}',
        b'{"jsonrpc": "2.0", "method": "m", "params": {"x": Infinity}}',
        b'{"jsonrpc": "2.0", "method": "m", "params": {"x": -Infinity}}',
        b'{"jsonrpc": "2.0", "method": "\xff"}',
        b'{"jsonrpc": "2.0", "method": "\xed\xa0\x80"}',
        rb'{"jsonrpc": "2.0", "method": "\ud800"}',
        b'\xef\xbb\xbf{"jsonrpc": "2.0", "method": "m"}',
        '{"jsonrpc": "2.0", "method": "m"}'.encode("utf-16"),
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"jsonrpc": "2.0", "method": "m", "id": ' + b"9" * 100_000 + b"}",
        b'{"jsonrpc": "2.0", "method": "m", "params": {"x": ' + b"9" * 1_000_000 + b"}}",
    ],
    ids=lambda body: repr(body[:40]) + str(len(body)),
)
def test_what_is_no_json_is_a_parse_error(body):
    exc = refusal(body)
    assert (exc.code, exc.request_id) == (_jsonrpc.PARSE_ERROR, None)
    # It goes into an answer, so it must not echo what was sent.
    assert len(str(exc)) < 200


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [], [[]], [1], {}, {"jsonrpc": "1.0", "method": "m"}])
def test_json_that_is_no_message(value):
    exc = refusal(value)
    assert (exc.code, exc.request_id) == (_jsonrpc.INVALID_REQUEST, None)


@pytest.mark.parametrize("version", [None, 2.0, 2, "2", "2.0 ", ["2.0"]], ids=repr)
def test_the_version_must_be_2_0(version):
    assert '"jsonrpc" must be "2.0"' in str(refusal({"jsonrpc": version, "id": 1, "method": "m"}))


@pytest.mark.parametrize("request_id", [None, True, False, 1.0, 1.5, [1], {}, 1e300], ids=repr)
@pytest.mark.parametrize("rest", [{"method": "m"}, {"result": {}}, {"error": {"code": 1, "message": ""}}])
def test_an_identifier_that_nobody_could_correlate_is_no_notification(request_id, rest):
    exc = refusal({"jsonrpc": "2.0", "id": request_id, **rest})
    assert (exc.code, exc.request_id) == (_jsonrpc.INVALID_REQUEST, None)
    assert '"id" must be a string or an integer' in str(exc)


@pytest.mark.parametrize("method", [1, True, [], {}, ["m"]], ids=repr)
def test_a_method_must_be_a_string(method):
    exc = refusal({"jsonrpc": "2.0", "id": 7, "method": method})
    assert (exc.code, exc.request_id) == (_jsonrpc.INVALID_REQUEST, 7)
    assert '"method" must be a string' in str(exc)


@pytest.mark.parametrize("params", [[], [1], "text", 1, True, 0, False, ""], ids=repr)
@pytest.mark.parametrize("request_id", [7, "seven"])
def test_params_must_be_an_object(params, request_id):
    exc = refusal({"jsonrpc": "2.0", "id": request_id, "method": "m", "params": params})
    assert (exc.code, exc.request_id) == (_jsonrpc.INVALID_REQUEST, request_id)
    assert '"params" must be an object' in str(exc)
    assert refusal({"jsonrpc": "2.0", "method": "m", "params": params}).request_id is None


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"result": None},
        {"result": 1},
        {"result": []},
        {"error": "text"},
        {"error": None},
        {"result": {}, "error": {}},
        {"method": None},
    ],
)
def test_neither_a_request_nor_an_answer(rest):
    exc = refusal({"jsonrpc": "2.0", "id": 7, **rest})
    assert (exc.code, exc.request_id) == (_jsonrpc.INVALID_REQUEST, 7)


def test_an_answer_must_say_to_what():
    assert refusal({"jsonrpc": "2.0", "result": {}}).request_id is None


def test_an_empty_batch():
    assert "an empty batch" in str(refusal([]))


def test_one_bad_message_spoils_its_batch():
    exc = refusal([{"jsonrpc": "2.0", "method": "m"}, {"jsonrpc": "2.0", "id": 3, "method": 4}])
    assert exc.request_id == 3


# Whatever comes


def check(body: bytes) -> None:
    try:
        message = parse(body)
    except MalformedMessageError as exc:
        refused = exc
    else:
        for one in message if isinstance(message, list) else [message]:
            assert isinstance(one, Request | Notification | Answer)
            if isinstance(one, Request):
                assert json.loads(_jsonrpc.result(one.id, {}))["id"] == one.id
        return
    # The refusal itself can be sent.
    assert json.loads(_jsonrpc.error(refused.request_id, refused.code, str(refused)))["error"]["code"] == refused.code


@given(st.binary())
def test_any_bytes(body):
    check(body)


@given(values)
def test_any_json(value):
    check(json.dumps(value).encode())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
            "id": scalars,
            "method": text | scalars,
            "params": objects | values,
            "result": objects | values,
            "error": objects | values,
        },
    )
)
def test_anything_like_a_message(value):
    check(json.dumps(value).encode())
    check(json.dumps([value, value]).encode())


@given(objects, st.data())
def test_a_message_that_was_cut(params, data):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}).encode()
    check(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.integers(1, 5000))
def test_any_depth(depth):
    check(b'{"jsonrpc": "2.0", "method": "m", "params": ' + b'{"a":' * depth + b"{}" + b"}" * depth + b"}")


@given(st.integers(1, 10_000), ids)
def test_any_length_of_a_number(digits, request_id):
    check(b'{"jsonrpc": "2.0", "method": "m", "id": %s}' % (b"7" * digits))


# What is written


@given(ids, text, objects)
def test_what_is_written_reads_back(request_id, method, params):
    assert parse(_jsonrpc.request(request_id, method, params)) == Request(request_id, method, params or None)
    assert parse(_jsonrpc.request(request_id, method, None)) == Request(request_id, method, None)
    assert parse(_jsonrpc.notification(method, params)) == Notification(method, params)
    assert parse(_jsonrpc.notification(method, None)) == Notification(method, None)
    assert parse(_jsonrpc.result(request_id, params)) == Answer(request_id, params, None)
    for data in (None, params):
        error = {"code": -1, "message": method} | ({} if data is None else {"data": data})
        assert parse(_jsonrpc.error(request_id, -1, method, data)) == Answer(request_id, None, error)


def test_an_error_may_belong_to_no_request():
    assert json.loads(_jsonrpc.error(None, -1, "m")) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -1, "message": "m"},
    }


@given(text)
def test_what_is_written_is_one_line(value):
    for written in (_jsonrpc.notification(value, {value: value}), _jsonrpc.error(value, 1, value, [value])):
        assert not {b"\r", b"\n"} & {bytes([byte]) for byte in written}


def test_numbers_that_json_does_not_have_are_null():
    assert json.loads(_jsonrpc.result(1, {"x": float("nan"), "y": float("inf")}))["result"] == {"x": None, "y": None}
