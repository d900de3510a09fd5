"""The readers of one stream, and the producers that wait for them.

Theory of operation. A producer asks, before it appends, whether a reader would
lose an event by it that it has yet to receive. If so, it parks until a reader
has moved or left, and asks again. It waits no longer than the stream's policy
says; what becomes of a reader that is overtaken then, the reader finds out by
itself when it reads on. A reader that was overtaken already has nothing to lose
that it would not be told of, so nobody waits for it until it has moved.
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

    __slots__ = ("_log", "_policy", "_readers", "_record", "_waiting", "received")

    def __init__(self, record: StreamRecord, log: StreamLog, policy: SlowReaders) -> None:
        self._record = record
        self._log = log
        self._policy = policy
        self._readers: list[EventReader] = []
        self._waiting: trio.lowlevel.ParkingLot | None = None
        self.received: int = 0
        """The number of the newest event that a reader has received, or began after."""

    def add(self, reader: EventReader) -> None:
        """Take note of a new reader."""
        reader._skips = self._policy.skip
        self._readers.append(reader)
        self.moved(reader)

    def remove(self, reader: EventReader) -> None:
        """Take note that a reader has gone; it was closed before."""
        self._readers.remove(reader)

    def moved(self, reader: EventReader) -> None:
        """Take note of a reader's progress."""
        self.received = max(self.received, reader._received)
        self.wake()

    def slowest(self, size: int) -> float | None:
        """Return the first event that a reader would lose if one of so many bytes were appended now.

        ``None`` where none would, or nobody waits for it.
        """
        if not self._policy.wait or not self._readers or self._record.state is not State.OPEN:
            return None
        first, kept = self._log.first, self._log.first_after(size)
        if first == kept:
            return None
        return min((seq for reader in self._readers if first <= (seq := reader._needs) < kept), default=None)

    async def wait(self, size: int) -> None:
        """Wait until no reader would lose anything, or the slowest has not moved for too long."""
        slowest = self.slowest(size)
        with trio.move_on_after(self._policy.wait) as scope:  # noqa: ASYNC912 - nothing to wait for, no wait
            while slowest is not None:
                if self._waiting is None:
                    self._waiting = trio.lowlevel.ParkingLot()
                await self._waiting.park()
                before, slowest = slowest, self.slowest(size)
                if slowest != before:
                    scope.deadline = trio.current_time() + self._policy.wait

    def wake(self) -> None:
        """Have those who wait look again."""
        if self._waiting is not None:
            self._waiting.unpark_all()
