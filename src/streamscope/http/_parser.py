"""From bytes to requests, without any I/O.

Bytes are fed as they come. Requests are asked for one by one, and the body of each before the next, so
that nothing is parsed before somebody wants it, and what comes too early stays bytes.
"""

from __future__ import annotations

from typing import Final, final

from ._body import AnnouncedBody, Body, ChunkedBody
from ._head import Request, check_unfinished, read_head, read_usual_head
from ._limits import HTTPLimits

# Bytes of a head that is worth to be remembered.
_USUAL: Final = 1024


@final
class RequestParser:
    """Parses the requests of one connection.

    Args:
        scheme: The scheme of the connection, ``http`` or ``https``.
        limits: How large a request may be.
    """

    __slots__ = ("_body", "_checked", "_data", "_limits", "_may_skip", "_scheme")

    def __init__(self, scheme: str, limits: HTTPLimits) -> None:
        self._scheme = scheme
        self._limits = limits
        self._data = b""
        self._checked = 0
        self._may_skip = True
        self._body: Body | None = None

    @property
    def buffered(self) -> int:
        """How many bytes there are that nobody has asked for."""
        return len(self._data)

    @property
    def body_complete(self) -> bool:
        """Whether all of the request's body has been taken."""
        return self._body is None or self._body.complete

    @property
    def body_arrived(self) -> bool:
        """Whether all of the request's body is known to have arrived, taken or not."""
        body = self._body
        return body is None or body.complete or (isinstance(body, AnnouncedBody) and body.left <= len(self._data))

    @property
    def body_left(self) -> int:
        """How many bytes of the request's body are known to follow those that have been taken."""
        return 0 if self._body is None else self._body.left

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data = self._data + data if self._data else data

    def next_request(self) -> Request | None:
        """Return the next request once its head is complete. The body of the one before has been taken.

        Raises:
            RefusedError: There is no telling what it is, or it is too large.
        """
        if not self._data:
            return None
        if self._may_skip and self._data.startswith(b"\r\n"):
            # RFC 9112, section 2.2: an empty line before a request is to be ignored.
            self._data = self._data[2:]
            self._checked = 0
            self._may_skip = False
        # The end may have arrived in two parts.
        end = self._data.find(b"\r\n\r\n", self._checked - 3 if self._checked > 3 else 0) + 4
        if end < 4:
            check_unfinished(self._data, self._checked, self._limits)
            self._checked = len(self._data)
            return None
        read = read_usual_head if end <= _USUAL else read_head
        request = read(self._data[:end], self._scheme, self._limits)
        self._data = self._data[end:]
        self._checked = 0
        self._may_skip = True
        if request.body_length == 0:
            self._body = None
        elif request.body_length is None:
            self._body = ChunkedBody(self._limits)
        else:
            self._body = AnnouncedBody(request.body_length)
        return request

    def take_body(self) -> bytes:
        """Return what has arrived of the request's body, and was not taken before.

        Raises:
            RefusedError: It is malformed or too large.
        """
        if self._body is None:
            return b""
        body, self._data = self._body.read(self._data)
        return body
