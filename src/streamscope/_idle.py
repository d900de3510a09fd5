"""Idle time-outs without a task that watches: the deadline of a scope that is there anyway."""

from __future__ import annotations

import math
from typing import final

import trio


@final
class IdleDeadline:
    """Ends a scope that nothing has held for some time.

    Whatever keeps the scope from being idle takes a hold and releases it.
    While there is a hold, only the maximum age ends the scope.

    Args:
        scope: The scope to end.
        timeout: Seconds without a hold after which it ends.
        expires: The time at which it ends in any case.
    """

    __slots__ = ("_expires", "_scope", "holds", "timeout")

    def __init__(self, scope: trio.CancelScope, timeout: float, expires: float = math.inf) -> None:
        self._scope = scope
        self.timeout = timeout
        self._expires = expires
        self.holds = 0

    @property
    def expired(self) -> bool:
        """Whether the maximum age was reached, and no time-out before it."""
        return self._scope.deadline == self._expires <= trio.current_time()

    def hold(self) -> None:
        """Keep the scope from being idle, until as many releases."""
        self.holds += 1
        if self.holds == 1:
            self._move(self._expires)

    def release(self) -> None:
        """Undo one hold."""
        self.holds -= 1
        self.touch()

    def touch(self) -> None:
        """Count the time-out from now."""
        if not self.holds:
            self._move(min(trio.current_time() + self.timeout, self._expires))

    def _move(self, deadline: float) -> None:
        # One that has passed stays: the scope is cancelled, or about to be.
        if trio.current_time() < self._scope.deadline:
            self._scope.deadline = deadline
