"""The events that are read most: those that were stored, or read, a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, final

from .._window import Event, EventWindow

BLOCK: Final = 512
"""Events that are read from the database at once at most, in blocks that begin at 1, 513, …."""
_TAIL_EVENTS: Final = 512
_TAIL_BYTES: Final = 2**20
_TAIL: Final = -1


@final
class Recent:
    """Keeps events in memory, so that a reader that keeps up touches no disk.

    Of each stream there is the tail, which grows as events are stored, and
    blocks that were read for readers that come back. What was used least
    recently goes first.

    Args:
        max_bytes: Bytes of events in all.
    """

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self.size: int = 0
        """Bytes of the events that are kept."""
        self._windows: OrderedDict[tuple[int, int], EventWindow] = OrderedDict()

    def append(self, row: int, seq: int, data: bytes) -> None:
        """Keep an event that was stored."""
        key = (row, _TAIL)
        tail = self._windows.get(key)
        if tail is None or tail.last + 1 != seq:
            tail = self._put(key, EventWindow(seq))
        before = tail.size
        tail.append(data)
        while len(tail) > _TAIL_EVENTS or (tail.size > _TAIL_BYTES and len(tail) > 1):
            tail.drop_oldest()
        self.size += tail.size - before
        self._use(key)

    def add_block(self, row: int, after: int, events: Sequence[bytes]) -> None:
        """Keep events that were read: those that follow number ``after``, to the end of the block at most."""
        window = EventWindow(after + 1, events)
        key = (row, after // BLOCK)
        self._put(key, window)
        self.size += window.size
        self._use(key)

    def after(self, row: int, after: int, limit: int) -> list[Event]:
        """Return the events that follow number ``after``, at most ``limit``; none where they are not here."""
        for key in ((row, _TAIL), (row, after // BLOCK)):
            window = self._windows.get(key)
            if window is not None and window.first - 1 <= after < window.last:
                self._windows.move_to_end(key)
                return window.after(after, limit)
        return []

    def forget(self, row: int, first: int, last: int) -> None:
        """Drop what is here of a stream that hardly anybody will read any more."""
        for block in (_TAIL, *range((first - 1) // BLOCK, last // BLOCK + 1)):
            window = self._windows.pop((row, block), None)
            if window is not None:
                self.size -= window.size

    def _put(self, key: tuple[int, int], window: EventWindow) -> EventWindow:
        old = self._windows.get(key)
        if old is not None:
            self.size -= old.size
        self._windows[key] = window
        return window

    def _use(self, key: tuple[int, int]) -> None:
        self._windows.move_to_end(key)
        while self.size > self.max_bytes:
            _, window = self._windows.popitem(last=False)
            self.size -= window.size
