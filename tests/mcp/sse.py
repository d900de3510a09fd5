"""Server-sent events as a client reads them: the HTML standard's parser, by the letter (section 9.2.6)."""

from __future__ import annotations

import re

import attrs

_LINE = re.compile(rb"\r\n|\n|\r(?!\Z)")


@attrs.frozen
class Frame:
    """One event that would be dispatched, with what its block said itself."""

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None


class Parser:
    """Takes bytes as they come and gives the events that they complete."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.frames: list[Frame] = []
        """What `feed` has completed, for those who collect it here."""
        self.unknown: list[str] = []
        """Lines whose field the standard does not know."""
        self._buffer = b""
        self._start()

    def _start(self) -> None:
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        self._buffer += chunk
        *lines, self._buffer = _LINE.split(self._buffer)
        return [frame for line in lines if (frame := self._line(line.decode())) is not None]

    def _line(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self._retry = int(value)
            case _:
                self.unknown.append(line)
        return None

    def _dispatch(self) -> Frame | None:
        frame = Frame("\n".join(self._data), self._event or "message", self._id, self._retry) if self._data else None
        self._start()
        return frame
