"""Where the body of a request ends (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

import re
from typing import Final, Protocol, final

from ._errors import RefusedError
from ._head import check_lines, check_trailers
from ._limits import HTTPLimits

# RFC 9112, section 7.1.1: extensions that nobody here knows are to be ignored. White space before them, which
# is not to be sent, is refused: others do not agree on what it is.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_MAX_CHUNK_LINE: Final = 256


class Body(Protocol):
    """Reads a body from bytes as they come."""

    complete: bool
    left: int
    """Bytes that are known to follow."""

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what belongs to the body, and what is left.

        Raises:
            RefusedError: It is no such body.
        """
        ...


@final
class AnnouncedBody:
    """A body that has a ``Content-Length``."""

    __slots__ = ("complete", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.complete = length == 0

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Body`."""
        body = data if len(data) <= self.left else data[: self.left]
        self.left -= len(body)
        self.complete = self.left == 0
        return body, data[len(body) :]


@final
class ChunkedBody:
    """A body in chunks, each with its length before it."""

    __slots__ = ("_checked", "_in_chunk", "_limits", "_read", "_trailing", "complete", "left")

    def __init__(self, limits: HTTPLimits) -> None:
        self._limits = limits
        self._read = 0
        self._checked = 0
        self.left = 0
        self._in_chunk = False
        self._trailing = False
        self.complete = False

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Body`."""
        pieces: list[bytes] = []
        at = 0
        while not self.complete:
            found = self._step(data, at, pieces)
            if found == at:
                break
            at = found
        return b"".join(pieces), data[at:]

    def _step(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read one part; return where the next begins, or the same place if there is not enough yet."""
        if self._trailing:
            return self._read_trailers(data, at)
        if not self._in_chunk:
            return self._read_line(data, at)
        if self.left:
            piece = data[at : at + self.left]
            pieces.append(piece)
            self.left -= len(piece)
            return at + len(piece)
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise RefusedError(400, "A chunk is longer than it says")
        if len(end) < 2:
            return at
        self._in_chunk = False
        return at + 2

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + _MAX_CHUNK_LINE) + 1
        if not end:
            if len(data) - at >= _MAX_CHUNK_LINE:
                raise RefusedError(400, f"The line before a chunk has more than {_MAX_CHUNK_LINE} bytes")
            return at
        match = _CHUNK_LINE.fullmatch(data, at, end)
        if match is None:
            raise RefusedError(400, "The line before a chunk is malformed")
        self.left = int(match[1], 16)
        self._read += self.left
        if self._read > self._limits.max_body:
            raise RefusedError(413, f"The request's body has more than {self._limits.max_body:g} bytes")
        self._in_chunk = self.left > 0
        self._trailing = not self._in_chunk
        return end

    def _read_trailers(self, data: bytes, at: int) -> int:
        # There may be none but the empty line.
        end = at if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", at) + 2
        if end < 2 and end != at:
            check_lines(data, at + self._checked)
            self._checked = len(data) - at
            if self._checked > self._limits.max_head:
                raise RefusedError(431, f"The trailer fields have more than {self._limits.max_head:g} bytes")
            return at
        end += 2
        check_trailers(data[at:end], self._limits)
        self.complete = True
        return end
