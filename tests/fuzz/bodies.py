"""Bodies as clients send them: sound messages of both eras, and everything that looks like one or does not."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.fuzz.server import SLOWEST
from tests.fuzz.shots import Piece, Times, plain
from tests.mcp.helpers import HANDSHAKE, MODERN, envelope, initialize, notification, request

T = TypeVar("T")


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of some strategies, the one more often than the other."""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda one: one)


# -- JSON -------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
odd_numbers = st.sampled_from([2**31, 2**53 + 1, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, 5e-324])
scalars = st.none() | st.booleans() | st.integers(-99, 99) | odd_numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
wrong_ids = st.sampled_from([None, 1.0, 1.5, True, False, [1], {"id": 1}, 1e300])
ids = st.sampled_from([1, "1", 0, -1, "", "é", 2**53, 2**64, -(2**70), 10**400, "x" * 2000]) | st.integers(1, 4)
revisions = st.sampled_from(["2024-11-05", "2025-03-26", "2025-06-18", HANDSHAKE, MODERN, "1999-01-01", "", "\0"])

# -- Sound messages ---------------------------------------------------------------------------------

seconds = st.sampled_from([0, 0.05, 0.1, 1, SLOWEST])
calls = st.one_of(
    st.tuples(st.just("echo"), st.fixed_dictionaries({"value": values})),
    st.tuples(st.just("count"), st.fixed_dictionaries({"n": st.integers(0, 5), "pause": seconds})),
    st.tuples(st.just("nap"), st.fixed_dictionaries({"seconds": seconds})),
    st.tuples(st.just("fail"), st.fixed_dictionaries({"how": st.sampled_from(["tool", "mcp", "many"])})),
    st.tuples(st.just("ask"), st.fixed_dictionaries({"timeout": seconds})),
    st.tuples(st.just("whisper"), st.fixed_dictionaries({"text": texts})),
    st.tuples(st.just("release"), st.fixed_dictionaries({"seconds": seconds})),
    st.tuples(st.just("change"), st.just({})),
    st.tuples(st.just("weather"), st.just({"city": "Rome", "days": 3})),
)


@st.composite
def called(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name, arguments = draw(calls)
    return "tools/call", {"name": name, "arguments": arguments}


plain_requests: list[tuple[str, dict[str, Any]]] = [
    ("ping", {}),
    ("tools/list", {}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "fuzz://static"}),
    ("resources/read", {"uri": "fuzz://none"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "greeting", "arguments": {"name": "you"}}),
    ("logging/setLevel", {"level": "debug"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "greeting"}, "argument": {"name": "n", "value": ""}},
    ),
    ("server/discover", {}),
    ("no/such/method", {}),
]
asked = called() | st.sampled_from(plain_requests)


@st.composite
def requests(draw: st.DrawFn, ids: st.SearchStrategy[Any] = ids) -> dict[str, Any]:
    """A request of the handshake era."""
    method, params = draw(asked)
    request_id = draw(ids)
    if draw(st.booleans()):
        params = {**params, "_meta": {"progressToken": request_id}}
    return request(method, params, request_id)


@st.composite
def modern_requests(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of 2026-07-28, and its headers."""
    listen = st.just(("subscriptions/listen", {"notifications": {"toolsListChanged": True}}))
    method, params = draw(asked | listen)
    message, headers = envelope(method, params, draw(ids))
    if params.get("name") == "weather":
        headers |= {
            "mcp_param_city": str(params["arguments"]["city"]),
            "mcp_param_days": str(params["arguments"]["days"]),
        }
    return message, headers


initializes = revisions.map(lambda version: initialize(version, roots={}))
notifications = st.one_of(
    st.just(notification("notifications/initialized")),
    ids.map(lambda request_id: notification("notifications/cancelled", {"requestId": request_id})),
    st.just(notification("notifications/progress", {"progressToken": 1, "progress": 1})),
    st.just(notification("notifications/roots/list_changed")),
    st.builds(notification, texts),
)
# The server counts its own requests from 1.
answers = st.builds(
    lambda request_id, outcome: {"jsonrpc": "2.0", "id": request_id, **outcome},
    ids,
    st.sampled_from(
        [
            {"result": {"roots": []}},
            {"result": {"roots": 1}},
            {"result": {}},
            {"error": {"code": -1, "message": "no"}},
            {"error": {"code": "x", "message": None, "data": [[]]}},
            {"error": {}},
        ]
    ),
)
messages = weighted((5, requests()), (2, notifications), (1, answers))
batches = st.lists(messages, min_size=1, max_size=4)

# -- Messages that are not sound --------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, message: dict[str, Any]) -> Any:
    """A message with one part replaced, left out, or added."""
    message = json.loads(json.dumps(message))
    place = message
    while draw(st.booleans()):
        inner: list[dict[str, Any]] = [value for value in place.values() if isinstance(value, dict)]
        place = draw(st.sampled_from([*inner, place]))
    name = draw(st.sampled_from([*place, "_meta", "id"]) | texts)
    if draw(st.booleans()):
        place[name] = draw(wrong_ids if name == "id" else values)
    else:
        place.pop(name, None)
    return message


anything_like_one = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
        "id": ids | wrong_ids,
        "method": st.sampled_from(["ping", "initialize", "tools/call", "notifications/initialized"]) | scalars,
        "params": values,
        "result": values,
        "error": values,
    },
)


@st.composite
def repeated_keys(draw: st.DrawFn) -> bytes:
    """A message whose keys are there more than once."""
    again = [("id", 1), ("id", "2"), ("id", None), ("method", "ping"), ("method", 1), ("params", {}), ("jsonrpc", "1")]
    pairs = [*draw(requests()).items(), *draw(st.lists(st.sampled_from(again), min_size=1, max_size=3))]
    pairs = draw(st.permutations(pairs))
    return b"{%s}" % b",".join(
        b"%s:%s" % (json.dumps(key).encode(), json.dumps(value).encode()) for key, value in pairs
    )


WITH = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"value":'
odd_values = st.one_of(
    st.sampled_from(
        [b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"1e999", b"1e-999", b"-", b"0x1", b"'a'"]
    ),
    st.sampled_from(
        [rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"']
    ),
    st.sampled_from([b'"\n"', b'"\0"', rb'"\u0000"', rb'"\x"', b'"\x7f"', b"/**/1", b"1,", b'"\xe2\x80\xa8"']),
).map(lambda value: (WITH + value + b"}}}",))


@st.composite
def nested(draw: st.DrawFn) -> tuple[Piece, ...]:
    """What is nested as deep as a parser goes, or much deeper; closed or not."""
    depth = draw(st.integers(1, 260) | st.sampled_from([1000, 10_000, 200_000]))
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    end = Times(closing, depth) if draw(st.booleans()) else b""
    if draw(st.booleans()):
        return (Times(opening, depth), b"1", end)
    return (WITH, Times(opening, depth), b"1", end, b"}}}")


@st.composite
def huge(draw: st.DrawFn) -> tuple[Piece, ...]:
    """Much of something: digits, text, keys, elements."""
    piece = draw(
        st.sampled_from(
            [b"9", b"0", b"1.", b"-1", b"1e", b"a", rb"\u0041", b"\xc3\xa9", b'"k":1,', b"0,", b"[],", b" "]
        )
    )
    many = Times(piece, draw(st.sampled_from([300, 4300, 4301, 20_000, 100_000, 1_000_000])) // len(piece))
    return draw(
        st.sampled_from(
            [
                (WITH, many, b"}}}"),
                (WITH, b'"', many, b'"}}}'),
                (WITH, b"[", many, b"0]}}}"),
                (WITH, b"{", many, b'"k":0}}}}'),
                (b'{"jsonrpc":"2.0","method":"ping","id":', many, b"}"),
                (b'{"jsonrpc":"2.0","method":"ping","id":"', many, b'"}'),
                (b'{"jsonrpc":"2.0","id":1,"method":"', many, b'"}'),
                (b"[", many, b"0]"),
                (many,),
            ]
        )
    )


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """The bytes of a message with some cut off, put in, or encoded otherwise."""
    body = json.dumps(draw(messages | batches), ensure_ascii=draw(st.booleans())).encode()
    at = draw(st.integers(0, len(body)))
    how = draw(st.sampled_from(["cut", "insert", "replace", "delete", "bom", "utf-16", "twice", "tail", "padded"]))
    match how:
        case "cut":
            return body[:at]
        case "insert":
            return body[:at] + draw(st.binary(min_size=1, max_size=3)) + body[at:]
        case "replace":
            return body[:at] + draw(st.binary(min_size=1, max_size=1)) + body[at + 1 :]
        case "delete":
            return body[:at] + body[at + 1 :]
        case "bom":
            return b"\xef\xbb\xbf" + body
        case "utf-16":
            return body.decode().encode("utf-16")
        case "twice":
            return body + b"\n" + body
        case "tail":
            return body + draw(st.sampled_from([b"\0", b"}", b"]", b",", b"x", b"\r\n\r\n"]))
    return b" \t\r\n" + body + b"\r\n"


def written(value: Any) -> tuple[Piece, ...]:
    return (json.dumps(value).encode(),)


sound = messages.map(written)
unsound: st.SearchStrategy[tuple[Piece, ...]] = st.one_of(
    messages.flatmap(mutated).map(written),
    requests().flatmap(mutated).map(written),
    initializes.flatmap(mutated).map(written),
    batches.map(written),
    st.lists(values, max_size=3).map(written),
    anything_like_one.map(written),
    values.map(written),
    mangled().map(lambda body: (body,)),
    repeated_keys().map(lambda body: (body,)),
    st.binary(max_size=30).map(lambda body: (body,)),
    odd_values,
    nested(),
    huge(),
    st.just(()),
)


@st.composite
def cut(draw: st.DrawFn, body: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The body in other pieces; some of them may be empty."""
    whole = b"".join(map(plain, body))
    if len(whole) > 5000:
        return body
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    return tuple(whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True))
