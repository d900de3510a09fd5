"""Headers as clients send them: those that are due, in all the ways that they can be wrong."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.shots import Header, Piece, Times
from tests.fuzz.sound import session
from tests.mcp.helpers import HANDSHAKE, MODERN

Head = tuple[Header, ...]

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", HANDSHAKE, MODERN]

# What a server lets pass as the value of a header: anything but CR, LF and NUL (RFC 9110, section 5.5).
junk = st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0$"))
huge = st.sampled_from(
    [Times(b"x", 200), Times(b"x", 100_000), Times(b"a,", 5000), Times(b"9", 5000), Times(b";", 9000)]
)


def texts(*values: str) -> st.SearchStrategy[bytes]:
    return st.sampled_from([value.encode("latin-1") for value in values])


streams = texts("$finished", "$theirs", "$listener", "$latest")
numbers = texts("0", "1", "2", "3", "4", "17", "-1", "01", "1e1", "9" * 18, "9" * 19, "9" * 5000, "", " 1", "x", "\xb2")
events = st.builds(lambda stream, number: stream + b"." + number, streams, numbers)
weights = texts("", "", ";q=1", ";q=0", "; q=0.000", ";q=", ";q=x", ";q=0;q=1", "; charset=utf-8")
ranges = texts(
    "application/json", "text/event-stream", "*/*", "application/*", "text/*", "text/html", "*", "", "/", "a/b/c"
)
accepts = st.lists(st.builds(bytes.__add__, ranges, weights), max_size=4).map(b", ".join)

VALUES: dict[bytes, st.SearchStrategy[Piece]] = {
    b"host": texts(
        "localhost", "[::1]:9", "LOCALHOST:", "evil.example", "127.0.0.1.evil.example", "127.0.0.1:80:80", ""
    ),
    b"origin": texts(
        "http://localhost", "https://[::1]:1", "null", "", "http://evil.example", "://", "http://", "file://localhost"
    ),
    b"accept": accepts,
    b"content-type": texts(
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/json;",
        "text/plain",
        "application/jsonx",
        ";",
        "",
    ),
    b"content-length": texts("0", "1", "007", "-1", "1e3", "5, 5", "9" * 20, "9" * 5000, "4194305", "", "\xb2"),
    b"mcp-session-id": texts("$mine", "$batching", "$foreign", "$ended", "$finished", "$mine,", "x", "x y", "\x7f", ""),
    b"mcp-protocol-version": texts(
        *REVISIONS, "2025-11-26", "1", "2025-11-25, 2025-11-25", "DRAFT-2026-v1", "", "\xe9"
    ),
    b"last-event-id": events | streams,
    b"mcp-method": texts("ping", "tools/call", "tools/list", "Ping", "=?base64?cGluZw==?=", ""),
    b"mcp-name": texts(
        "echo", "count", "weather", "Echo", "=?base64?ZWNobw==?=", "=?base64?ZWNobx==?=", "=?base64?!?=", ""
    ),
    b"mcp-param-city": texts("Rome", "rome", "=?base64?Um9tZQ==?=", "=?base64?/w==?=", ""),
    b"mcp-param-days": texts("3", "3.0", "3.1", "03", "9" * 5000, "-", "true", ""),
    b"transfer-encoding": texts("chunked", "gzip"),
    b"x-other": texts("anything"),
}


@st.composite
def fields(draw: st.DrawFn, name: bytes) -> Head:
    """One header in some state: right or not, malformed, huge, repeated, absent."""
    one = st.tuples(st.just(name), VALUES[name] | VALUES[name] | junk | huge)
    return tuple(draw(st.lists(one, max_size=2) | st.lists(one, min_size=1, max_size=1)))


@st.composite
def spelt(draw: st.DrawFn, header: Header) -> Header:
    """A header in odd case and with odd white space around it."""
    name, value = header
    name = draw(st.sampled_from([name, name.upper(), name.title()]))
    if isinstance(value, bytes):
        value = draw(st.sampled_from([b"%s", b" %s", b"%s\t", b"\t %s  "])) % value
    return name, value


@st.composite
def disturbed(draw: st.DrawFn, head: Head) -> Head:
    """Sound headers of which a few are in some other state, in another order."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    kept = [header for header in head if header[0] not in names]
    added = [header for name in names for header in draw(fields(name))]
    every = [*kept, *added]
    if draw(st.booleans()):
        every = [draw(spelt(header)) for header in draw(st.permutations(every))]
    return tuple(every)


def crowd(count: int, *, same: bool) -> Head:
    """More headers than anybody needs."""
    return tuple((b"x-same" if same else b"x-%d" % number, b"y") for number in range(count))


sessions = st.builds(
    session,
    st.sampled_from(["$mine", "$mine", "$batching", "$foreign", "$ended"]),
    st.sampled_from([HANDSHAKE, HANDSHAKE, "2025-03-26", None]),
)
