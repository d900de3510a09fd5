"""Waking readers that have waited for some time: for a ping, or as no answer has come so soon."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

import trio

from .._reader import EventReader

SHARE_AT_ONCE: Final = 1 / 32
"""Those that it is time for within this part of the interval are woken at once."""


@final
class Nudges:
    """Nudges readers that have waited for some time.

    One task does it for all of them. A deadline for each, moved with each event,
    costs as much as all the rest of sending it; and to wake up for each, when there
    are many, costs more than a ping.

    Args:
        interval: That many seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        # The one that has waited longest first.
        self._waiting_since: OrderedDict[EventReader, float] = OrderedDict()
        self._scope = trio.CancelScope()
        # What wakes the task, which sleeps until then where nobody waits.
        self._some: trio.Event | None = None

    def note(self, reader: EventReader) -> None:
        """Note that a reader waits from now on, or is about to."""
        self._waiting_since[reader] = trio.current_time()
        self._waiting_since.move_to_end(reader)
        if self._some is not None:
            self._some.set()
            self._some = None

    def forget(self, reader: EventReader) -> None:
        """Nudge it no more."""
        del self._waiting_since[reader]

    async def run(self) -> None:
        """Nudge readers, until this is stopped."""
        with self._scope:
            while True:
                if not self._waiting_since:
                    self._some = trio.Event()
                    await self._some.wait()
                await trio.sleep_until(self._nudge(trio.current_time()))

    def _nudge(self, now: float) -> float:
        """Nudge those that it is time for, or soon will be.

        Returns:
            When it is time for another one, or may be for one that comes.
        """
        while self._waiting_since:
            reader, since = next(iter(self._waiting_since.items()))
            if since + self._interval * (1 - SHARE_AT_ONCE) > now:
                return since + self._interval
            # One that does not wait is sending.
            self.note(reader)
            reader.nudge()
        return now + self._interval

    def stop(self) -> None:
        """End the task."""
        self._scope.cancel()
