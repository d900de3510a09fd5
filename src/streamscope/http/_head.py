"""The head of a request: what is one, and what it says.

One regular expression says what a head is, and it says it more strictly than httptools, which tolerates
some of what others read differently: two servers that disagree about where a request ends can be made
to take a part of one client's request for the next client's. httptools takes the head apart then, and
has to agree that it is one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, final

import attrs
import httptools

from ._errors import RefusedError
from ._limits import HTTPLimits
from ._target import Target, is_host, read_target

# RFC 9110, sections 5.5 and 5.6.2. No quantifier gives back what it took, so a match takes linear time.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS: Final = rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+"
_REQUEST_LINE: Final = rb"(" + _TOKEN + rb") ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])\r\n"
_HEAD: Final = re.compile(_REQUEST_LINE + _FIELDS + rb"\r\n")
_HEAD_LINE: Final = re.compile(_REQUEST_LINE)
_TRAILERS: Final = re.compile(_FIELDS + rb"\r\n")
# What can be in no head, so that nobody has to wait for its end: control characters, and CR or LF alone.
_NEVER: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]+")
_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
_READ: Final = _ONCE | {b"connection", b"expect"}


@final
@attrs.define(eq=False)
class Request:
    """The head of a request. Those that say the same may share one, so nobody changes it."""

    method: str
    target: Target
    http_version: str
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case; values without white space around them."""

    body_length: int | None
    """``None``: the body is chunked."""

    keep_alive: bool
    """Whether the client wants to send further requests (RFC 9112, section 9.3)."""

    expects_continue: bool
    """Whether the client waits for a 100 before it sends the body (RFC 9110, section 10.1.1)."""


@final
class _Fields:
    """Collects the header fields that httptools finds, and those apart that say how to read the request."""

    __slots__ = ("headers", "read", "repeated")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.read: dict[bytes, bytes] = {}
        self.repeated = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = _lower(name)
        # httptools leaves the white space behind a value (RFC 9110, section 5.5).
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in _READ:
            if name in self.read:
                self.repeated = self.repeated or name in _ONCE
                value = self.read[name] + b"," + value
            self.read[name] = value


# So that all requests share the names, which open streams keep.
@lru_cache(maxsize=256)
def _lower(name: bytes) -> bytes:
    return name.lower()


def check_unfinished(data: bytes, start: int, limits: HTTPLimits) -> None:
    """Check the beginning of a head.

    Args:
        data: All that has arrived of it.
        start: How much of that was checked before.
        limits: How long a head may be.

    Raises:
        RefusedError: It cannot become a head: 400, 414 or 431.
    """
    check_lines(data, start)
    if len(data) > limits.max_head:
        raise RefusedError(431, f"The request's head has more than {limits.max_head:g} bytes")
    if len(data) > limits.max_target and b"\r\n" not in data:
        target = data.partition(b" ")[2].partition(b" ")[0]
        if len(target) > limits.max_target:
            raise _target_too_long(limits)


def check_lines(data: bytes, start: int) -> None:
    """Check what has arrived of some lines, from ``start`` on.

    Raises:
        RefusedError: 400: there is something in them that can be in no line.
    """
    if _NEVER.search(data, max(start - 1, 0)):
        raise RefusedError(400, "There is a control character, or an end of line that is not CR LF")


def read_head(head: bytes, scheme: str, limits: HTTPLimits) -> Request:
    """Read a head.

    Args:
        head: The head, up to and including the empty line.
        scheme: The scheme of the connection, ``http`` or ``https``.
        limits: How large a request may be.

    Raises:
        RefusedError: 400, 413, 414, 421, 431, 501 or 505.
    """
    if len(head) > limits.max_head:
        raise RefusedError(431, f"The request's head has more than {limits.max_head:g} bytes")
    match = _HEAD.fullmatch(head)
    if match is None:
        what = "header fields are" if _HEAD_LINE.match(head) else "request line is"
        raise RefusedError(400, f"The {what} malformed")
    raw_method, raw_target, version = match.groups()
    method = raw_method.decode()
    modern = version == b"1.1"
    if not modern and version != b"1.0":
        raise RefusedError(505, "This server speaks HTTP/1.1 and HTTP/1.0")
    if len(raw_target) > limits.max_target:
        raise _target_too_long(limits)
    fields = _Fields()
    refused = _take_apart(head, fields)
    if len(fields.headers) > limits.max_headers:
        raise RefusedError(431, f"The request has more than {limits.max_headers:g} header fields")
    body_length = _body_length(fields, modern=modern, limits=limits)
    if refused is not None:
        raise refused
    target = read_target(method, raw_target, scheme)
    _check_host(fields, target, modern=modern)
    read = fields.read
    connection = _options(read[b"connection"]) if b"connection" in read else ()
    return Request(
        method,
        target,
        "1.1" if modern else "1.0",
        tuple(fields.headers),
        body_length,
        b"close" not in connection and (modern or b"keep-alive" in connection),
        modern and b"expect" in read and b"100-continue" in _options(read[b"expect"]),
    )


@lru_cache(maxsize=512)
def read_usual_head(head: bytes, scheme: str, limits: HTTPLimits) -> Request:
    """Read a head as `read_head` does, and remember it: most clients send the same one again and again."""
    return read_head(head, scheme, limits)


def check_trailers(trailers: bytes, limits: HTTPLimits) -> None:
    """Check the trailer section of a chunked body, which goes no further (RFC 9112, section 7.1.2).

    Args:
        trailers: The section, up to and including the empty line.
        limits: How large it may be.

    Raises:
        RefusedError: 400 or 431.
    """
    if _TRAILERS.fullmatch(trailers) is None:
        raise RefusedError(400, "The trailer fields are malformed")
    if len(trailers) > limits.max_head or trailers.count(b"\r\n") - 1 > limits.max_headers:
        raise RefusedError(431, "The trailer fields are too large or too many")


def _take_apart(head: bytes, fields: _Fields) -> RefusedError | None:
    """Hand the header fields to ``fields``; return a refusal that is less exact than others may be."""
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except httptools.HttpParserUpgrade:
        # To go on with HTTP/1.1 is always right (RFC 9110, section 7.8).
        pass
    except httptools.HttpParserInvalidMethodError:
        return RefusedError(501, "This server does not know the request's method")
    except httptools.HttpParserError as error:
        return RefusedError(400, f"The request is malformed: {error}")
    return None


def _body_length(fields: _Fields, *, modern: bool, limits: HTTPLimits) -> int | None:
    """Tell how long a body is, ``None`` if it is chunked (RFC 9112, section 6.3)."""
    if fields.repeated:
        raise RefusedError(400, "A header field is repeated that may be there only once")
    length = fields.read.get(b"content-length")
    codings = fields.read.get(b"transfer-encoding")
    if codings is not None:
        _check_codings(codings, modern=modern, alone=length is None)
        return None
    if length is None:
        return 0
    if _CONTENT_LENGTH.fullmatch(length) is None:
        raise RefusedError(400, "Content-Length is not a number")
    # int() refuses thousands of digits by an error of its own.
    if len(length) > 18 or int(length) > limits.max_body:
        raise RefusedError(413, f"The request's body has more than {limits.max_body:g} bytes")
    return int(length)


def _check_codings(value: bytes, *, modern: bool, alone: bool) -> None:
    codings = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    if not alone:
        raise RefusedError(400, "The request has both a Content-Length and a Transfer-Encoding")
    if not modern:
        raise RefusedError(400, "HTTP/1.0 has no Transfer-Encoding")
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        raise RefusedError(400, "The last transfer coding has to be chunked, and no other")
    if len(codings) > 1:
        raise RefusedError(501, "This server knows no transfer coding but chunked")


def _check_host(fields: _Fields, target: Target, *, modern: bool) -> None:
    """Check the ``Host`` header field; a host in the target takes its place (RFC 9112, sections 3.2 and 3.2.2)."""
    host = fields.read.get(b"host")
    if (host is None and modern) or (host is not None and not is_host(host)):
        raise RefusedError(400, "The request has no valid Host header field")
    if target.authority is not None:
        fields.headers = [(name, value) for name, value in fields.headers if name != b"host"]
        fields.headers.insert(0, (b"host", target.authority))


@lru_cache(maxsize=256)
def _options(value: bytes) -> list[bytes]:
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def _target_too_long(limits: HTTPLimits) -> RefusedError:
    return RefusedError(414, f"The request's target has more than {limits.max_target:g} bytes")
