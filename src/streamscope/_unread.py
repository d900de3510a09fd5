"""Events that say nothing more when they are said twice, until a reader has them."""

from __future__ import annotations

from typing import final


@final
class UnreadEvents:
    """Finds an event by its bytes, as long as it is kept and no reader has received it.

    What is in its way out of here goes when the next one is looked for, so there are no more than the log keeps.
    """

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, data: bytes, seq: int) -> None:
        """Remember an event that was appended."""
        # At the end, so that the oldest is first.
        self._numbers.pop(data, None)
        self._numbers[data] = seq

    def find(self, data: bytes, since: int) -> int | None:
        """Return the number of an equal event, if there is one from number ``since`` on."""
        while self._numbers:
            oldest, seq = next(iter(self._numbers.items()))
            if seq >= since:
                break
            del self._numbers[oldest]
        seq = self._numbers.get(data, 0)
        # Several tasks that append at once may add theirs in another order.
        return seq if seq >= since else None
