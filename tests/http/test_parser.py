"""Bytes to requests: what is refused and how, and that it does not matter how the bytes are cut."""

from __future__ import annotations

import math

import attrs
import pytest

from streamscope.http import HTTPLimits
from streamscope.http._errors import RefusedError
from streamscope.http._parser import RequestParser

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@attrs.frozen
class Parsed:
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


def parse(data, cuts=(), *, scheme="http", limits=None):
    """Parse all requests in some bytes, cut like this; a refusal is the last."""
    parser = RequestParser(scheme, limits or HTTPLimits())
    found, request, body = [], None, b""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            parser.feed(data[start:end])
            while True:
                if request is None and (request := parser.next_request()) is None:
                    break
                body += parser.take_body()
                if not parser.body_complete:
                    break
                found.append(Parsed(request.method, request.target.path, request.headers, body))
                request, body = None, b""
    except RefusedError as refused:
        assert str(refused)
        found.append(refused.status)
    return found


def refusal(data, **options):
    """How some bytes are refused: the same, however they are cut."""
    found = parse(data, **options)
    for cut in range(1, len(data)):
        assert parse(data, [cut], **options) == found, f"cut at {cut}"
    return found[-1] if isinstance(found[-1], int) else None


MALFORMED = {
    # How lines end
    "LF for CR LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "LF for CR LF, once": GET + b"A: b\n\r\n",
    "LF before the end": GET + b"A: b\r\n\n",
    "CR in a value": GET + b"A: b\rc\r\n\r\n",
    "CR at the end of a value": GET + b"A: b\r\r\n\r\n",
    "LF in a value": GET + b"A: b\nTransfer-Encoding: chunked\r\n\r\n",
    "LF before the request": b"\n" + GET + b"\r\n",
    "two empty lines before the request": b"\r\n\r\n" + GET + b"\r\n",
    # Request lines
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces behind the target": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab for a space": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space at the end of the line": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a space at the beginning of the line": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case HTTP": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "another protocol": b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n",
    "a long version": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "a short version": b"GET / HTTP/1\r\nHost: a\r\n\r\n",
    "a method that is no token": b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    # Targets
    "bytes beyond ASCII in the target": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    "neither a path nor a URI": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority, but no CONNECT": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk, but no OPTIONS": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URI without a host": b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URI with a port only": b"GET http://:80/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URI with a user": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    # Header fields
    "a space before the colon": GET + b"A : b\r\n\r\n",
    "a tab before the colon": GET + b"A\t: b\r\n\r\n",
    "a space before the first name": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a folded line": GET + b"A: b\r\n c\r\n\r\n",
    "a folded line with a tab": GET + b"A: b\r\n\tc\r\n\r\n",
    "no colon": GET + b"A\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "a name that is no token": GET + b"A(b): c\r\n\r\n",
    "a name beyond ASCII": GET + b"\xc3\xa4: c\r\n\r\n",
    "NUL in a value": GET + b"A: b\0c\r\n\r\n",
    "a control character in a value": GET + b"A: b\x01c\r\n\r\n",
    "DEL in a value": GET + b"A: b\x7fc\r\n\r\n",
    # Host
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
    "a list of Hosts": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a Host with a user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "a Host with a bad port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "a Host with a bad address": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    # Content-Length
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of equal lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "a length with a space in it": POST + b"Content-Length: 3 0\r\n\r\nabc",
    "an empty length": POST + b"Content-Length:\r\n\r\nabc",
    "an underscore in a length": POST + b"Content-Length: 1_0\r\n\r\nabc",
    # Transfer-Encoding
    "both": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way round": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two fields": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two fields, one of them known": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "chunked is not the last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "no chunks": POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "an empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "almost chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
    # Chunks
    "a chunk without a length": CHUNKED + b"\r\n",
    "a signed chunk": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "an underscore in the length of a chunk": CHUNKED + b"1_0\r\nabc\r\n0\r\n\r\n",
    "a space before the length of a chunk": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "a space behind the length of a chunk": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a space before an extension of a chunk": CHUNKED + b"3 ;a\r\nabc\r\n0\r\n\r\n",
    "a chunk of too many digits": CHUNKED + b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    "LF behind the length of a chunk": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "CR in an extension of a chunk": CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "LF in an extension of a chunk": CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
    "a chunk that is too long": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk that is too short": CHUNKED + b"3\r\nab\r\n0\r\n\r\n",
    "LF behind a chunk": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "nothing behind a chunk": CHUNKED + b"3\r\nabc0\r\n\r\n",
    "a long line before a chunk": CHUNKED + b"3;" + bytes([97]) * 300 + b"\r\nabc\r\n0\r\n\r\n",
    "a malformed trailer": CHUNKED + b"0\r\nA : b\r\n\r\n",
    "a folded trailer": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer with LF": CHUNKED + b"0\r\nA: b\nC: d\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data):
    assert refusal(data) == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"JUMP / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: x, Chunked\r\n\r\n", 501),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421),
    ],
)
def test_beyond_this_server(data, status):
    assert refusal(data) == status


def test_the_scheme_of_a_target_is_that_of_the_connection():
    data = b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
    assert refusal(data, scheme="https") is None
    assert refusal(data.replace(b"https", b"http"), scheme="https") == 421


GOOD = {
    "no white space": b"GET / HTTP/1.1\r\nHost:a\r\n\r\n",
    "much white space": b"GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n",
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "an address": b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "a future address": b"GET / HTTP/1.1\r\nHost: [v1.a:b]\r\n\r\n",
    "a port that is empty": b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
    "an empty line before it": b"\r\n" + GET + b"\r\n",
    "a token of all characters": GET + b"!#$%&'*+-.^_`|~09azAZ: b\r\n\r\n",
    "all visible characters": b"GET /!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~ HTTP/1.1\r\nHost: a\r\n\r\n",
    "zeros before a length": POST + b"Content-Length: 0003\r\n\r\nabc",
    "an empty body": POST + b"Content-Length: 0\r\n\r\n",
    "an empty body in chunks": CHUNKED + b"0\r\n\r\n",
    "zeros before the length of a chunk": CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n",
    "capital letters": POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "extensions": CHUNKED + b'3;a=b;c="d e"\r\nabc\r\n3; a\r\ndef\r\n0;x\r\n\r\n',
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\nC:\r\n\r\n",
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_good(data):
    assert refusal(data) is None
    (request,) = parse(data)
    # Nothing of it is left for the next.
    assert parse(data + data) == [request, request]
    assert parse(data + data, range(1, 2 * len(data))) == [request, request]


class TestLimits:
    """Each is exact, and does not wait for more than it needs."""

    def test_length_of_the_target(self):
        limits = HTTPLimits(max_target=10)
        good = b"GET /" + bytes([97]) * 9 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        assert refusal(good, limits=limits) is None
        assert refusal(good.replace(b"a ", b"aa "), limits=limits) == 414
        assert parse(b"GET /" + bytes([97]) * 10, limits=limits)[0] == 414

    def test_length_of_the_head(self):
        limits = HTTPLimits(max_head=len(GET) + 2)
        assert refusal(GET + b"\r\n", limits=limits) is None
        longer = GET.replace(b": a", b": aa")
        assert refusal(longer + b"\r\n", limits=limits) == 431
        assert parse(longer + b"A: b", limits=limits)[0] == 431

    def test_number_of_headers(self):
        limits = HTTPLimits(max_headers=3)
        assert refusal(GET + b"A: b\r\n" * 2 + b"\r\n", limits=limits) is None
        assert refusal(GET + b"A: b\r\n" * 3 + b"\r\n", limits=limits) == 431

    def test_announced_body(self):
        limits = HTTPLimits(max_body=10)
        assert refusal(POST + b"Content-Length: 10\r\n\r\n0123456789", limits=limits) is None
        assert parse(POST + b"Content-Length: 11\r\n\r\n", limits=limits)[0] == 413

    # httptools counts in 64 bits, and refuses what has more.
    @pytest.mark.parametrize(("digits", "status"), [(19, 413), (21, 400), (5000, 400)])
    def test_absurd_lengths(self, digits, status):
        data = POST + b"Content-Length: " + b"9" * digits + b"\r\n\r\n"
        assert parse(data, limits=HTTPLimits(max_body=math.inf))[0] == status

    def test_chunked_body(self):
        limits = HTTPLimits(max_body=10)
        assert refusal(CHUNKED + b"5\r\n01234\r\n5\r\n01234\r\n0\r\n\r\n", limits=limits) is None
        assert parse(CHUNKED + b"5\r\n01234\r\n6\r\n", limits=limits)[-1] == 413
        assert parse(CHUNKED + b"ffffffffffffffff\r\n", limits=limits)[-1] == 413

    def test_trailers(self):
        limits = HTTPLimits(max_headers=4)
        assert refusal(CHUNKED + b"0\r\n" + b"A: b\r\n" * 4 + b"\r\n", limits=limits) is None
        assert refusal(CHUNKED + b"0\r\n" + b"A: b\r\n" * 5 + b"\r\n", limits=limits) == 431
        limits = HTTPLimits(max_head=len(CHUNKED))
        assert parse(CHUNKED + b"0\r\nA: " + b"b" * len(CHUNKED), limits=limits)[-1] == 431

    def test_a_long_head_does_not_take_long_to_refuse(self):
        # A regular expression that goes back and forth would not end.
        data = GET + b"A: " + b" a" * 20_000 + b"\x01\r\n\r\n"
        assert parse(data)[0] == 400
        assert parse(GET + b"a" * 50_000 + b"\r\n\r\n")[0] == 400


def test_what_is_not_asked_for_is_not_parsed():
    parser = RequestParser("http", HTTPLimits())
    second = b"no request\r\n\r\n"
    parser.feed(POST + b"Content-Length: 3\r\n\r\nabc" + second)
    assert parser.next_request() is not None
    assert not parser.body_complete
    assert parser.take_body() == b"abc"
    assert parser.body_complete
    assert parser.buffered == len(second)
    with pytest.raises(RefusedError):
        parser.next_request()


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(HTTPLimits)])
def test_limits_are_checked(name):
    for bad in (0, -1, math.nan):
        with pytest.raises(ValueError, match=name):
            HTTPLimits(**{name: bad})
    HTTPLimits(**{name: math.inf})
