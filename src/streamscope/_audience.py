"""The readers of one stream, and the producers that wait for them.

Theory of operation. A producer asks, before it appends, whether a reader would
lose an event by it that it has yet to receive. If so, it parks until a reader
has moved or left, and asks again. It waits no longer than the stream's policy
says; what becomes of a reader that is overtaken then, the reader finds out by
itself when it reads on. A reader that was overtaken already has nothing to lose
that it would not be told of, so nobody waits for it until it has moved.

A reader that was cut off comes back as another one. Until then its place is
kept; and as it may ask again for events that it seemed to have received, it
counts as slow when it is half a window behind.
"""

from __future__ import annotations

from typing import final

import trio

from ._reader import EventReader
from ._reasons import State
from ._records import StreamRecord
from ._slow_readers import SlowReaders
from .abc import StreamLog


@final
class Audience:
    """The readers that are attached to a stream.

    Args:
        record: The stream.
        log: Its events.
        policy: What becomes of those that do not keep up.
    """

    __slots__ = ("_given_up", "_left", "_left_at", "_log", "_policy", "_readers", "_record", "_waiting", "received")

    def __init__(self, record: StreamRecord, log: StreamLog, policy: SlowReaders) -> None:
        self._record = record
        self._log = log
        self._policy = policy
        self._readers: list[EventReader] = []
        # Those that have not moved for too long.
        self._given_up: frozenset[EventReader] = frozenset()
        # What the last reader that has left would have received next, and when that was.
        self._left: int | None = None
        self._left_at = 0.0
        self._waiting: trio.lowlevel.ParkingLot | None = None
        self.received: int = 0
        """The number of the newest event that a reader has received, or began after."""

    def add(self, reader: EventReader) -> None:
        """Take note of a new reader."""
        reader._skips = self._policy.skip
        self._readers.append(reader)
        self._left = None
        self.moved(reader)

    def remove(self, reader: EventReader, at: float) -> None:
        """Take note that a reader has gone; it was closed before."""
        self._readers.remove(reader)
        if self._policy.return_within and not self._readers and reader not in self._given_up:
            self._left, self._left_at = reader._received + 1, at
        self._given_up -= {reader}

    def moved(self, reader: EventReader) -> None:
        """Take note of a reader's progress."""
        if self._given_up:
            self._given_up -= {reader}
        self.received = max(self.received, reader._received)
        self.wake()

    def slowest(self, size: int) -> float | None:
        """Return what the slowest reader needs next, if it would lose events if one of so many bytes were appended now.

        ``None`` where none would, or nobody waits for it.
        """
        waits = self._left is not None or (self._policy.wait and self._readers)
        if not waits or self._record.state is not State.OPEN:
            return None
        first, kept = self._log.first, self._log.first_after(size)
        if first == kept:
            return None
        if self._policy.return_within:
            kept += (self._log.last + 1 - first) // 2
        return min((seq for seq in self._needed() if first <= seq < kept), default=None)

    def _needed(self) -> list[float]:
        if self._left is not None:
            return [self._left]
        return [reader._needs for reader in self._readers if reader not in self._given_up]

    def _deadline(self) -> float:
        if self._left is not None:
            return self._left_at + self._policy.return_within
        return trio.current_time() + self._policy.wait

    async def wait(self, size: int) -> None:
        """Wait until no reader would lose anything, or the slowest has not moved for too long."""
        slowest, left = self.slowest(size), self._left
        with trio.CancelScope(deadline=self._deadline()) as scope:  # noqa: ASYNC912 - nothing to wait for, no wait
            while slowest is not None:
                if self._waiting is None:
                    self._waiting = trio.lowlevel.ParkingLot()
                await self._waiting.park()
                before = slowest, left
                slowest, left = self.slowest(size), self._left
                if (slowest, left) != before:
                    scope.deadline = self._deadline()
        if scope.cancelled_caught:
            self._left = None
            self._given_up |= {reader for reader in self._readers if reader._needs == slowest}

    def wake(self) -> None:
        """Have those who wait look again."""
        if self._waiting is not None:
            self._waiting.unpark_all()
