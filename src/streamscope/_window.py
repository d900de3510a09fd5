"""One stream's events, the newest of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

import attrs

_COMPACT_AT: Final = 32


@final
@attrs.frozen
class Event:
    """One event of a stream.

    Args:
        seq: Its number within the stream: 1, 2, 3, ….
        data: Its bytes.
    """

    seq: int
    data: bytes


@final
class EventWindow:
    """A stream's newest events, numbered without a hole.

    A list with a moving start: appending, dropping the oldest and reading from
    any position cost the same however many events are kept. (A deque would take
    700 bytes more for the one event that most streams have.)

    Args:
        first: The number of the first event.
        events: Those that are there from the beginning.
    """

    __slots__ = ("_events", "_first", "_start", "finished", "size")

    def __init__(self, first: int = 1, events: Iterable[bytes] = ()) -> None:
        self._events: list[bytes] = list(events)
        self._start = 0
        self._first = first
        self.size: int = sum(map(len, self._events))
        """Bytes of the events that are kept."""
        self.finished: bool = False
        """Whether no event will follow the last one."""

    def __len__(self) -> int:
        return len(self._events) - self._start

    @property
    def first(self) -> int:
        """The number of the oldest event kept, or of the next one to come where none is."""
        return self._first

    @property
    def last(self) -> int:
        """The number of the newest event ever appended; one less than `first` where none is kept."""
        return self._first + len(self) - 1

    def append(self, data: bytes) -> int:
        """Append an event.

        Returns:
            Its number.
        """
        self._events.append(data)
        self.size += len(data)
        return self.last

    def drop_oldest(self) -> int:
        """Forget the oldest event.

        Returns:
            The number of bytes that were freed.

        Raises:
            IndexError: There is none.
        """
        if not len(self):
            raise IndexError("no event is kept")
        freed = len(self._events[self._start])
        self._events[self._start] = b""
        self._start += 1
        self._first += 1
        self.size -= freed
        if self._start >= _COMPACT_AT and 2 * self._start >= len(self._events):
            del self._events[: self._start]
            self._start = 0
        return freed

    def after(self, seq: int, limit: int) -> list[Event]:
        """Return the events that follow number ``seq``, oldest first, at most ``limit``.

        The caller has seen to it that they are still there: ``seq >= first - 1``.
        """
        begin = self._start + seq + 1 - self._first
        events = self._events[begin : begin + limit]
        return list(map(Event, range(seq + 1, seq + 1 + len(events)), events))
