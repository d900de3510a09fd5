"""The sizes of one stream's events, the newest of them."""

from __future__ import annotations

from array import array
from typing import Final, final

_COMPACT_AT: Final = 32
_TRIM_EVENTS: Final = 100
_TRIM_BYTES: Final = 64 * 2**10


@final
class SizeWindow:
    """Counts a stream's newest events as an `EventWindow` does, without the events.

    Dropping events from a database costs the same for one or for many, so it
    waits until there are many. Until then the database has more than counts.

    Args:
        row: The stream's row.
        trimmed: Told up to which number the stream's events are to be dropped from the database, by row.
        first: The number of the oldest event.
        count: How many there are of which only the sum is known. These go all at once, or stay.
        size: Their bytes.
    """

    __slots__ = ("_count", "_first", "_late", "_late_bytes", "_row", "_sizes", "_start", "_trimmed", "size")

    def __init__(self, row: int, trimmed: dict[int, int], first: int = 1, count: int = 0, size: int = 0) -> None:
        self._row = row
        self._trimmed = trimmed
        self._late = 0
        self._late_bytes = 0
        self._first = first
        self._count = count
        self._sizes = array("Q")
        self._start = 0
        self.size: int = size
        """Bytes of the events that are kept."""

    def __len__(self) -> int:
        return self._count

    @property
    def first(self) -> int:
        """The number of the oldest event kept, or of the next one to come where none is."""
        return self._first

    @property
    def last(self) -> int:
        """The number of the newest event ever appended."""
        return self._first + self._count - 1

    def append(self, size: int) -> None:
        """Count an event."""
        self._sizes.append(size)
        self._count += 1
        self.size += size

    def size_of(self, index: int) -> int:
        """Return the bytes of an event that is kept: of the oldest with 0, of the next one with 1."""
        return self._sizes[self._start + index]

    def drop_oldest(self) -> int:
        """Forget the oldest event, and return its bytes."""
        freed = self._sizes[self._start]
        self._start += 1
        self._first += 1
        self._count -= 1
        self.size -= freed
        self._late += 1
        self._late_bytes += freed
        if self._late >= _TRIM_EVENTS or self._late_bytes >= _TRIM_BYTES:
            self._trim()
        if self._start >= _COMPACT_AT and 2 * self._start >= len(self._sizes):
            del self._sizes[: self._start]
            self._start = 0
        return freed

    def _trim(self) -> None:
        # The newest stays in the database in any case: its number says where the stream goes on.
        upto = min(self._first - 1, self.last - 1)
        if upto > 0:
            self._trimmed[self._row] = upto
        self._late = self._late_bytes = 0

    def seal(self) -> None:
        """Forget each event's size, as no event will follow: from here on they go together."""
        self._sizes = array("Q")
        self._start = 0
