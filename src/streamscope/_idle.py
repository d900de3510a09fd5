"""Idle time-outs without a task that watches: the deadline of a scope that is there anyway."""

from __future__ import annotations

import math
from typing import final

import trio

from ._reasons import CloseReason


@final
class IdleDeadline:
    """Ends a scope that nothing has held for some time.

    Whatever keeps the scope from being idle takes a hold and releases it.
    While there is a hold, only the maximum age ends the scope. Where a hold was
    lost, because a client was cut off, a shorter time-out counts until there is
    a sign of life.

    Args:
        scope: The scope to end.
        idle_timeout: Seconds without a hold after which it ends.
        lost_timeout: Seconds after which it ends where a hold was lost, if they are fewer.
        expires: The time at which it ends in any case.
    """

    __slots__ = ("_deadline", "_expires", "_lost_timeout", "_scope", "holds", "idle_timeout", "lost")

    def __init__(
        self,
        scope: trio.CancelScope,
        idle_timeout: float,
        lost_timeout: float = math.inf,
        expires: float = math.inf,
    ) -> None:
        self._scope = scope
        self._lost_timeout = lost_timeout
        self._expires = expires
        self._deadline = math.inf
        self.idle_timeout = idle_timeout
        self.holds = 0
        self.lost = False

    @property
    def timeout(self) -> float:
        """Seconds without a hold after which the scope ends, as things are."""
        return self._lost_timeout if self._abandoned else self.idle_timeout

    @property
    def _abandoned(self) -> bool:
        return self.lost and self._lost_timeout < self.idle_timeout

    @property
    def reason(self) -> CloseReason:
        """Why the scope ends, or has ended, if nobody has ended it before its deadline."""
        if self._deadline == self._expires <= trio.current_time():
            return CloseReason.EXPIRED
        return CloseReason.DISCONNECTED if self._abandoned else CloseReason.IDLE

    def is_over(self, now: float) -> bool:
        """Tell whether the deadline has passed, so that the scope is cancelled, or about to be."""
        return now >= self._deadline

    def note(self, now: float, *, lost: bool) -> None:
        """Note whether a client was cut off, or there was a sign of life; where the time is over, it is too late."""
        if now < self._deadline:
            self.lost = lost

    def hold(self, now: float) -> None:
        """Keep the scope from being idle, until as many releases."""
        self.holds += 1
        if self.holds == 1:
            self._move(now, self._expires)

    def release(self, now: float) -> None:
        """Undo one hold."""
        self.holds -= 1
        self.touch(now)

    def touch(self, now: float) -> None:
        """Count the time-out from now."""
        if not self.holds:
            self._move(now, min(now + self.timeout, self._expires))

    def _move(self, now: float, deadline: float) -> None:
        # One that has passed stays.
        if now < self._deadline:
            self._deadline = self._scope.deadline = deadline
