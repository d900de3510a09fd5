"""One stream's events, the newest of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Final, NamedTuple, final

_COMPACT_AT: Final = 32


@final
class Event(NamedTuple):
    """One event of a stream.

    Args:
        seq: Its number within the stream: 1, 2, 3, ….
        data: Its bytes.
    """

    seq: int
    data: bytes


# Making its events is the most of what a replay does in Python. Without the call of Event() it takes half as long.
_make: Final[Callable[[tuple[int, bytes]], Event]] = partial(tuple.__new__, Event)  # pyright: ignore[reportUnknownMemberType] - typeshed's


def make_events(after: int, data: Iterable[bytes]) -> list[Event]:
    """Return events that follow number ``after``, and have these bytes."""
    return list(map(_make, zip(count(after + 1), data, strict=False)))


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

    __slots__ = ("_events", "_start", "finished", "first", "last", "size")

    def __init__(self, first: int = 1, events: Iterable[bytes] = ()) -> None:
        self._events: list[bytes] = list(events)
        self._start = 0
        self.first: int = first
        """The number of the oldest event kept, or of the next one to come where none is."""
        self.last: int = first + len(self._events) - 1
        """The number of the newest event ever appended; one less than `first` where none is kept."""
        self.size: int = sum(map(len, self._events))
        """Bytes of the events that are kept."""
        self.finished: bool = False
        """Whether no event will follow the last one."""

    def __len__(self) -> int:
        return len(self._events) - self._start

    def append(self, data: bytes) -> int:
        """Append an event.

        Returns:
            Its number.
        """
        self._events.append(data)
        self.size += len(data)
        self.last += 1
        return self.last

    def size_of(self, index: int) -> int:
        """Return the bytes of an event that is kept: of the oldest with 0, of the next one with 1."""
        return len(self._events[self._start + index])

    def drop_oldest(self) -> int:
        """Forget the oldest event.

        Returns:
            The number of bytes that were freed.

        Raises:
            IndexError: There is none.
        """
        if self.first > self.last:
            raise IndexError("no event is kept")
        freed = len(self._events[self._start])
        self._events[self._start] = b""
        self._start += 1
        self.first += 1
        self.size -= freed
        if self._start >= _COMPACT_AT and 2 * self._start >= len(self._events):
            del self._events[: self._start]
            self._start = 0
        return freed

    def after(self, seq: int, limit: int) -> list[Event]:
        """Return the events that follow number ``seq``, oldest first, at most ``limit``.

        The caller has seen to it that they are still there: ``seq >= first - 1``.
        """
        begin = self._start + seq + 1 - self.first
        return make_events(seq, self._events[begin : begin + limit])
