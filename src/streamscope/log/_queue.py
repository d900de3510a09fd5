"""What is to be written, in order, and who waits for room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import final

from .._util import check_count
from ._writes import Writes


class Operation(ABC):
    """Something to be written."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """Its bytes, where they count."""
        return 0

    @abstractmethod
    def put(self, writes: Writes) -> None:
        """Add it to a transaction."""

    @abstractmethod
    def stored(self) -> None:
        """Take note that it was written."""

    def failed(self, cause: str) -> Operation | None:
        """Take note that it was not written, and say what to try in its place: itself, unless it may be lost."""
        return self


class Applicant(Operation):
    """An operation that waits where there is no room."""

    __slots__ = ()

    @abstractmethod
    def admit(self) -> bool:
        """Take note that there is room, and say whether it is still wanted."""


@final
class WriteQueue:
    """Operations in the order in which they are to be written.

    It has bounds, which an `Applicant` waits for. What cannot wait is taken in
    any case, and counts.

    Args:
        max_pending: Operations that are waiting to be written, or are being written.
        max_pending_bytes: Their bytes.
    """

    def __init__(self, max_pending: float, max_pending_bytes: float) -> None:
        self.max_pending: float = check_count("max_pending", max_pending)
        self.max_pending_bytes: float = check_count("max_pending_bytes", max_pending_bytes)
        self.count: int = 0
        self.size: int = 0
        self._queue: deque[Operation] = deque()
        self._waiting: dict[Applicant, None] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def has_room(self, size: int) -> bool:
        """Tell whether an operation of so many bytes would be taken now."""
        return not self._waiting and self._fits(size)

    def _fits(self, size: int) -> bool:
        # An empty queue takes anything, or what is larger than it would wait for ever.
        return not self.count or (self.count < self.max_pending and self.size + size <= self.max_pending_bytes)

    def put(self, operation: Operation) -> None:
        """Take an operation."""
        self._queue.append(operation)
        self.count += 1
        self.size += operation.size

    def apply(self, applicant: Applicant) -> None:
        """Take an operation as soon as there is room."""
        if not self.has_room(applicant.size):
            self._waiting[applicant] = None
        elif applicant.admit():
            self.put(applicant)

    def withdraw(self, applicant: Applicant) -> bool:
        """Do not take it, unless it was taken already; tell whether it was not."""
        waiting = applicant in self._waiting
        self._waiting.pop(applicant, None)
        self._admit()
        return waiting

    def take(self, limit: int) -> list[Operation]:
        """Return the next operations, at most ``limit``. They take up room until they are settled."""
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def settle(self, operations: Sequence[Operation]) -> None:
        """Take note that operations were written."""
        for operation in operations:
            self.count -= 1
            self.size -= operation.size
        for operation in operations:
            operation.stored()
        self._admit()

    def fail(self, operations: Sequence[Operation], cause: str) -> bool:
        """Take note that operations were not written. Those after them build on them, and fail with them.

        Returns:
            Whether there is something that was not tried yet: what has waited for room.
        """
        failed = [*operations, *self._queue]
        self._queue.clear()
        self.count = self.size = 0
        for operation in failed:
            again = operation.failed(cause)
            if again is not None:
                self.put(again)
        return self._admit()

    def abandon(self, cause: str) -> None:
        """Write no more: everything fails, and nothing is tried again."""
        abandoned = [*self._queue, *self._waiting]
        self._queue.clear()
        self._waiting.clear()
        self.count = self.size = 0
        for operation in abandoned:
            operation.failed(cause)

    def _admit(self) -> bool:
        admitted = False
        while self._waiting:
            applicant = next(iter(self._waiting))
            if not self._fits(applicant.size):
                break
            del self._waiting[applicant]
            if applicant.admit():
                self.put(applicant)
                admitted = True
        return admitted
