"""From an application's messages to the bytes of one response, without any I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, final

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_A_LINE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LOOKED_AT: Final = frozenset({b"content-length", b"date", b"connection", b"transfer-encoding"})
# Bytes of a value that is worth to be remembered.
_SHORT: Final = 100
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@final
class Response:
    """Writes one response.

    Args:
        method: The method of the request: the answer to HEAD has no body.
        http_version: The version of the request: only HTTP/1.1 has chunks.
        keep_alive: Whether the connection may be used again after it.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_headers",
        "_left",
        "_method",
        "_modern",
        "_status",
        "begun",
        "complete",
        "keep_alive",
    )

    def __init__(self, method: str, http_version: str, *, keep_alive: bool) -> None:
        self._method = method
        self._modern = http_version == "1.1"
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._bodiless = False
        self._chunked = False
        self._left: int | None = None
        self.keep_alive = keep_alive
        self.begun = False
        """Whether any of it has been written."""
        self.complete = False

    def start(self, message: Mapping[str, Any]) -> None:
        """Take a ``http.response.start``. Nothing is written before there is a body to go with it.

        Raises:
            RuntimeError: There was one before.
            ValueError: The status is none that a response can end with.
        """
        if self._status:
            raise RuntimeError("http.response.start was sent twice")
        status = message["status"]
        if not 200 <= status <= 999:
            raise ValueError(f"A response's status is between 200 and 999, not {status!r}")
        self._status = int(status)
        # RFC 9112, section 6.3: whatever the header says.
        self._bodiless = self._method == "HEAD" or status in {204, 304}
        self._headers = message.get("headers", ())

    def body(self, message: Mapping[str, Any]) -> bytes:
        """Take a ``http.response.body``; return what is to be written.

        Raises:
            RuntimeError: It is not its turn, or there is more of it than ``Content-Length`` announces.
            ValueError: A header field cannot be written.
        """
        if not self._status or self.complete:
            raise RuntimeError(
                "http.response.body was sent "
                + ("before http.response.start" if not self._status else "after the end of the response")
            )
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self.begun:
            written = self._frame(body, more=more)
        else:
            head = self._write_head(body, more=more)
            written = head + self._frame(body, more=more)
            self.begun = True
        self.complete = not more
        return written

    def whole(self, status: int, text: str) -> bytes:
        """Return a response of the server's own, after which the connection is closed."""
        self.keep_alive = False
        body = text.encode() + b"\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        self._status = 0
        self.start({"status": status, "headers": headers})
        return self.body({"body": body})

    def _frame(self, body: bytes, *, more: bool) -> bytes:
        """Put a part of the body into its frame."""
        if self._bodiless:
            return b""
        if self._left is not None:
            if len(body) > self._left:
                raise RuntimeError("The response's body is longer than its Content-Length")
            self._left -= len(body)
            if self._left and not more:
                raise RuntimeError("The response's body is shorter than its Content-Length")
        elif self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        return body

    def _write_head(self, body: bytes, *, more: bool) -> bytes:
        lines, looked_at = _write_fields(self._headers)
        connection = looked_at.get(b"connection")
        if connection is not None and b"close" in connection.lower():
            self.keep_alive = False
        lines.extend(self._choose_framing(looked_at.get(b"content-length"), body, more=more))
        lines.append(b"date: " + looked_at[b"date"] if b"date" in looked_at else date_line())
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif connection is not None:
            lines.append(b"connection: " + connection)
        elif not self._modern:
            lines.append(b"connection: keep-alive")
        return b"\r\n".join([status_line(self._status), *lines, b"\r\n"])

    def _choose_framing(self, length: bytes | None, body: bytes, *, more: bool) -> list[bytes]:
        """Decide how the client tells where the body ends; return the lines that say so."""
        if length is None and not self._bodiless and not more:
            # All of it is here, so its length is known.
            length = b"%d" % len(body)
        if length is not None:
            if not length.isdigit():
                raise ValueError("A response has one Content-Length, which is a number")
            self._left = int(length)
            # RFC 9110, section 8.6: a 204 must not have it.
            return [b"content-length: " + length] if self._status != 204 else []
        self._chunked = self._modern and not self._bodiless
        if self._chunked:
            return [b"transfer-encoding: chunked"]
        if not self._bodiless:
            # Its end is the connection's.
            self.keep_alive = False
        return []


def _write_fields(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Write the application's header fields; return those apart that the server writes itself."""
    lines: list[bytes] = []
    looked_at: dict[bytes, bytes] = {}
    for name, value in headers:
        # Most responses of an application have the same few.
        line, special = _known_field(name, value) if len(value) <= _SHORT else _field(name, value)
        if special is None:
            lines.append(line)
        else:
            looked_at[special] = looked_at[special] + b", " + value if special in looked_at else value
    return lines, looked_at


def _field(name: bytes, value: bytes) -> tuple[bytes, bytes | None]:
    """Return the line of a header field, and its name if the server looks at it."""
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header field")
    if _NOT_IN_A_LINE.search(value):
        raise ValueError("A response header field has a control character in it")
    lower = name.lower()
    return name + b": " + value, lower if lower in _LOOKED_AT else None


_known_field: Final = lru_cache(maxsize=1000)(_field)


@lru_cache(maxsize=1000)
def status_line(status: int) -> bytes:
    """Return the first line of a response (RFC 9112, section 4)."""
    return f"HTTP/1.1 {status} {_PHRASES.get(status, '')}".encode()


_date: tuple[int, bytes] = (0, b"")


def date_line() -> bytes:
    """Return the line that says what time it is (RFC 9110, section 6.6.1), made once a second."""
    global _date  # noqa: PLW0603 - one line for all connections
    now = int(time.time())
    if _date[0] != now:
        _date = (now, b"date: " + formatdate(now, usegmt=True).encode())
    return _date[1]
