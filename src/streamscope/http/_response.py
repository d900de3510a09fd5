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

    __slots__ = ("_chunked", "_head", "_headers", "_left", "_method", "_modern", "_status", "complete", "keep_alive")

    def __init__(self, method: str, http_version: str, *, keep_alive: bool) -> None:
        self._method = method
        self._modern = http_version == "1.1"
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._head = False
        self._chunked = False
        self._left: int | None = None
        self.keep_alive = keep_alive
        self.complete = False

    @property
    def begun(self) -> bool:
        """Whether any of it has been written."""
        return self._head

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
        if self._head:
            written = self._frame(body, more=more)
        else:
            head = self._write_head(body, more=more)
            written = head + self._frame(body, more=more)
            self._head = True
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

    @property
    def _bodiless(self) -> bool:
        """Whether there can be no body, whatever the header says (RFC 9112, section 6.3)."""
        return self._method == "HEAD" or self._status in {204, 304}

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
        lines, length, has_date, has_connection = self._write_fields()
        if length is not None:
            self._left = length
        elif self._bodiless:
            pass
        elif not more:
            # All of it is here, so its length is known.
            self._left = len(body)
            lines.append(b"content-length: %d" % len(body))
        elif self._modern:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        else:
            # Its end is the connection's.
            self.keep_alive = False
        if not has_date:
            lines.append(date_line())
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif not self._modern and not has_connection:
            lines.append(b"connection: keep-alive")
        return b"\r\n".join([status_line(self._status), *lines, b"\r\n"])

    def _write_fields(self) -> tuple[list[bytes], int | None, bool, bool]:
        """Write the application's header fields; return what the server has to know of them."""
        lines: list[bytes] = []
        length: int | None = None
        connection: bytes | None = None
        has_date = False
        for name, value in self._headers:
            start, special = _field(name)
            if special is None:
                lines.append(start + value)
            elif special == b"content-length":
                if length is not None or not value.isdigit():
                    raise ValueError("A response has one Content-Length, which is a number")
                length = int(value)
                if self._status != 204:
                    lines.append(start + value)
            elif special == b"date":
                has_date = True
                lines.append(start + value)
            elif special == b"connection":
                connection = value
        if connection is not None:
            self.keep_alive = self.keep_alive and b"close" not in connection.lower()
            if self.keep_alive:
                lines.append(b"connection: " + connection)
        if _NOT_IN_A_LINE.search(b"".join(lines)):
            raise ValueError("A response header field has a control character in it")
        return lines, length, has_date, connection is not None


@lru_cache(maxsize=1000)
def _field(name: bytes) -> tuple[bytes, bytes | None]:
    """Return how the line of a header field begins, and which it is if the server looks at it."""
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header field")
    lower = name.lower()
    looked_at = {b"content-length", b"date", b"connection", b"transfer-encoding"}
    return name + b": ", lower if lower in looked_at else None


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
