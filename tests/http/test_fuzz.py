"""The parser beside h11, on byte streams that are almost right: both read the same, or the parser refuses.

h11 follows the grammar of RFC 9112 too, was written independently, and is more tolerant. Whatever only
the parser refuses has to have a reason in the table below; whatever it accepts, h11 has to read in the same
way. Where requests end is a part of that, so a request that only one of the two sees is a failure.
"""

from __future__ import annotations

import os
import re
from itertools import pairwise
from urllib.parse import urlsplit

import attrs
import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamscope.http import HTTPLimits
from streamscope.http._errors import RefusedError
from streamscope.http._parser import RequestParser

EXAMPLES = int(os.environ.get("STREAMSCOPE_FUZZ_EXAMPLES", "1000"))
"""How many are tried. ``nox -s fuzz-http`` tries more."""

MAX_BODY = 2**20

# What the parser refuses and h11 does not: with which status, how it is recognised, and why.
STRICTER = [
    (400, rb"(?<!\r)\n|\r(?!\n)", "RFC 9112, 2.2: a recipient may take LF for CR LF, and must not take CR for it"),
    (400, rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "RFC 9110, 5.5: control characters in values are invalid"),
    (400, rb"\n[ \t]", "RFC 9112, 5.2: a server must refuse folded lines, or unfold them"),
    (400, rb"(?is)content-length.*transfer-encoding|transfer-encoding.*content-length", "6.3: may be smuggling"),
    (400, rb"(?is)content-length.*content-length|content-length:[^\n]*,", "6.3: may be taken for one, or refused"),
    (400, rb"(?is)HTTP/1\.0.*transfer-encoding", "RFC 9112, 6.1: the framing of HTTP/1.0 with it is faulty"),
    (400, rb" [^ ]*#[^ ]* HTTP", "RFC 9112, 3.2: no form of a target has a fragment"),
    (400, rb"\A\S+ [^/ ]\S* HTTP", "RFC 9112, 3.2: a target is a path, a URI, or an asterisk for OPTIONS"),
    (400, rb"(?i)host:[^\n]*[^\w.:\n\r \t-]|host:[^\n]*:[^\n]*[^\d\s]|host:[ \t]*\S+[ \t]+\S", "3.2: an invalid Host"),
    (400, rb"\n[0-9A-Fa-f]+[ \t]+\r\n|\n[0-9A-Fa-f]{17}", "RFC 9112, 7.1: no white space behind the length of a chunk"),
    (400, rb"\n[0-9A-Fa-f]+;[^\n]*", "RFC 9112, 7.1.1: an extension of a chunk that is malformed or long"),
    (400, rb"\A(?:DESCRIBE|PLAY|PAUSE|SETUP|SOURCE) ", "httptools knows it from another protocol"),
    (
        400,
        rb"(?i)(?:content-length|transfer-encoding):[^\n]*\t",
        "httptools takes no tab behind these, depending on its release",
    ),
    (413, rb"(?i)content-length:|\n[0-9A-Fa-f]{6,}", "h11 bounds no bodies"),
    (421, rb"\w+://", "RFC 9110, 7.4: a URI of another scheme is not for this connection"),
    (501, rb"\A(?!(?:GET|POST|PUT|PATCH|HEAD|OPTIONS) )\S+ \S+ HTTP", "RFC 9110, 9.1: an unknown method, or CONNECT"),
    (505, rb"HTTP/(?!1\.[01]\r)", "RFC 9110, 15.6.6: another version"),
]


@attrs.frozen
class Read:
    """One request, as it was read."""

    method: bytes
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    source: bytes = attrs.field(default=b"", eq=False, repr=False)


def read_by_h11(data):
    """Read the requests; return them up to the first that h11 refuses."""
    found = []
    # RFC 9112, section 2.2: an empty line before a request should be ignored. h11 refuses it.
    while data := data.removeprefix(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        connection.receive_data(data)
        body = b""
        try:
            request = connection.next_event()
            if request is h11.NEED_DATA:
                break
            while (event := connection.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.EndOfMessage):
                body += event.data
        except h11.RemoteProtocolError:
            break
        if event is h11.NEED_DATA:
            break
        rest, _ = connection.trailing_data
        keep_alive = connection.their_state is not h11.MUST_CLOSE
        source = data.removesuffix(rest)
        found.append(attrs.evolve(describe(request, bytes(body), keep_alive=keep_alive), source=source))
        data = rest
        if not found[-1].keep_alive:
            break
    return found


def describe(request, body, *, keep_alive):
    """What h11 has read, in the words of ASGI."""
    headers = list(request.headers)
    target = request.target
    if not target.startswith((b"/", b"*")):
        # RFC 9112, section 3.2.2: the target's host replaces the header field.
        parts = urlsplit(target)
        headers = [(b"host", parts.netloc), *((name, value) for name, value in headers if name != b"host")]
        bare = not parts.path and not parts.query and b"?" not in target
        path = b"*" if bare and request.method == b"OPTIONS" else parts.path or b"/"
        return Read(request.method, path, parts.query, headers, body, keep_alive)
    path, _, query = target.partition(b"?")
    return Read(request.method, path, query, headers, body, keep_alive)


def read_by_us(data, cuts):
    """Read the requests; return them, and the status where one is refused."""
    parser = RequestParser("http", HTTPLimits(max_body=MAX_BODY))
    found, request, body = [], None, b""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    try:
        for start, end in pairwise(edges):
            parser.feed(data[start:end])
            while True:
                if request is None and (request := parser.next_request()) is None:
                    break
                body += parser.take_body()
                if not parser.body_complete:
                    break
                # h11 writes a coding in lower case, and closes every connection of HTTP/1.0.
                headers = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in request.headers]
                keep_alive = request.keep_alive and request.http_version == "1.1"
                target = request.target
                found.append(
                    Read(request.method.encode(), target.raw_path, target.query_string, headers, body, keep_alive)
                )
                if not keep_alive:
                    return found, None
                request, body = None, b""
    except RefusedError as refused:
        return found, refused.status
    return found, None


def compare(data, cuts):
    ours, status = read_by_us(data, cuts)
    theirs = read_by_h11(data)
    assert ours == theirs[: len(ours)], "a request is read differently, or h11 refuses it"
    if len(ours) < len(theirs):
        assert status is not None, "a request is not seen that h11 sees"
        refused = theirs[len(ours)]
        reasons = [reason for of, evidence, reason in STRICTER if of == status and re.search(evidence, refused.source)]
        assert reasons, f"refused with {status} without a reason in the table: {refused}"


WHITE = st.sampled_from([b" ", b" ", b" ", b"", b"\t", b"  "])
NAMES = [b"Accept", b"X", b"x-a", b"COOKIE", b"Transfer-Encoding", b"Content-Length", b"Host", b"Expect", b"Connection"]
VALUES = [b"", b"a", b"a b", b"a, b", b"\xff", b"chunked", b"close", b"keep-alive", b"3", b"0", b"100-continue"]
TARGETS = [b"/", b"/", b"/a?b", b"*", b"http://h/x?y", b"http://h", b"https://h/", b"h:80", b"//a", b"/?", b"/%41%zz"]
METHODS = [b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"PATCH", b"FOO", b"DESCRIBE"]
VERSIONS = [b"1.1"] * 8 + [b"1.0", b"1.0", b"2.0", b"1.2"]


@st.composite
def requests(draw):
    """One request, mostly a good one."""
    field = st.tuples(st.sampled_from(NAMES[:4]), WHITE, st.sampled_from(VALUES), WHITE)
    fields = [(b"Host", b" ", b"h", b"")] if draw(st.integers(0, 9)) else []
    fields += draw(st.lists(field, max_size=2))
    if not draw(st.integers(0, 9)):
        fields.append((draw(st.sampled_from(NAMES)), b" ", draw(st.sampled_from(VALUES)), b""))
    body = b""
    framing = draw(st.sampled_from(["none", "length", "chunks", "chunks"]))
    if framing == "length":
        body = draw(st.binary(max_size=8))
        fields.append((b"Content-Length", draw(WHITE), b"%d" % len(body), draw(WHITE)))
    elif framing == "chunks":
        fields.append((b"Transfer-Encoding", draw(WHITE), draw(st.sampled_from([b"chunked", b"Chunked"])), b""))
        body = draw(chunks())
    line = b"%b %b HTTP/%b\r\n" % tuple(draw(st.sampled_from(part)) for part in (METHODS, TARGETS, VERSIONS))
    head = b"".join(b"%b:%b%b%b\r\n" % parts for parts in fields)
    return draw(st.sampled_from([b""] * 9 + [b"\r\n"])) + line + head + b"\r\n" + body


@st.composite
def chunks(draw):
    """A body in chunks."""
    data = b""
    for part in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        length = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(part)
        extension = draw(st.sampled_from([b""] * 5 + [b";a", b";a=b", b' ; a="b c"', b" "]))
        data += length + extension + b"\r\n" + part + b"\r\n"
    return data + b"0\r\n" + draw(st.sampled_from([b""] * 4 + [b"A: b\r\n", b"A : b\r\n", b"A: b\r\n c\r\n"])) + b"\r\n"


# What is put in, taken out or put in the place of something.
SNIPPETS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\0",
    b"\x01",
    b"\x7f",
    b"\xff",
    b"0",
    b"a",
    b"#",
    b"",
]
MUTATIONS = st.tuples(st.integers(0, 2**16), st.integers(0, 2), st.sampled_from(SNIPPETS))


@st.composite
def streams(draw):
    """Some requests one after the other, with a few mistakes in them."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for position, removed, snippet in draw(st.lists(MUTATIONS, max_size=3)):
        at = position % (len(data) + 1)
        data = data[:at] + snippet + data[at + removed :]
    return data


@settings(max_examples=EXAMPLES)
@given(streams(), st.lists(st.integers(0, 2**16), max_size=4))
@example(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", [])
def test_read_like_h11_or_refused(data, cuts):
    compare(data, cuts)


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", None),
    ],
)
def test_the_comparison_sees_differences(data, refused, monkeypatch):
    _, status = read_by_us(data, [])
    assert status == refused
    assert len(read_by_h11(data)) == 1
    monkeypatch.setattr("tests.http.test_fuzz.STRICTER", [])
    if refused:
        with pytest.raises(AssertionError, match="without a reason"):
            compare(data, [])
    else:
        compare(data, [])
