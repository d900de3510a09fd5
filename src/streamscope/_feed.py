"""Telling observers what happened, after it happened."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final, final

import trio

from ._changes import Change, ChangesMissed
from .abc import Instrument

logger: Final = logging.getLogger("streamscope")


@final
class Feed:
    """Fans changes out to instruments. One that raises is logged and switched off."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments: dict[Instrument, None] = dict.fromkeys(instruments)
        self._pending: deque[Change | None] = deque()
        self._publishing = False

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._instruments)

    def add(self, instrument: Instrument) -> None:
        """Tell an instrument of every change from now on."""
        self._instruments[instrument] = None

    def remove(self, instrument: Instrument) -> None:
        """Tell it no more. Idempotent."""
        self._instruments.pop(instrument, None)

    def publish(self, change: Change) -> None:
        """Tell every instrument of a change.

        What an instrument changes while it is told, all are told afterwards, so
        that all see the same order.
        """
        self._pending.append(change)
        self._tell()

    def finish(self) -> None:
        """Tell the watchers that no change will follow."""
        self._pending.append(None)
        self._tell()

    @trio.lowlevel.enable_ki_protection
    def _tell(self) -> None:
        if self._publishing:
            return
        self._publishing = True
        try:
            while self._pending:
                change = self._pending.popleft()
                for instrument in list(self._instruments):
                    self._tell_one(instrument, change)
        finally:
            self._publishing = False

    def _tell_one(self, instrument: Instrument, change: Change | None) -> None:
        if change is None:
            if isinstance(instrument, Watcher):
                instrument.finish()
        elif instrument in self._instruments:  # and was not removed by the one before it
            try:
                instrument.changed(change)
            except Exception:
                logger.exception("instrument %r raised and is switched off", instrument)
                self.remove(instrument)


@final
class Watcher(trio.abc.ReceiveChannel[Change], Instrument):
    """Receives changes as they happen. Get one from `SessionManager.watch`.

    A watcher that does not keep up misses changes, and is told how many by a
    `ChangesMissed` in their place.
    """

    def __init__(self, feed: Feed, buffer: int) -> None:
        self._feed = feed
        self._missed = 0
        self._send, self._receive = trio.open_memory_channel[Change](buffer)
        feed.add(self)

    def changed(self, change: Change) -> None:
        """Take note of a change."""
        try:
            if self._missed:
                self._send.send_nowait(ChangesMissed(self._missed))
                self._missed = 0
            self._send.send_nowait(change)
        except trio.WouldBlock:
            self._missed += 1

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> Change:
        """Receive the next change.

        Raises:
            trio.EndOfChannel: The manager has closed, and this was all.
            trio.ClosedResourceError: This watcher was closed.
        """
        await trio.lowlevel.checkpoint()
        if self._missed and not self._receive.statistics().current_buffer_used:
            missed, self._missed = self._missed, 0
            return ChangesMissed(missed)
        return await self._receive.receive()

    @trio.lowlevel.enable_ki_protection
    def finish(self) -> None:
        """Say that no change will follow."""
        self._feed.remove(self)
        self._send.close()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Stop watching. Idempotent, and not a checkpoint."""
        # In this order: whoever waits here learns that this end was closed, not the other.
        self._receive.close()
        self._missed = 0
        self.finish()

    async def aclose(self) -> None:
        """Stop watching, and execute a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()
