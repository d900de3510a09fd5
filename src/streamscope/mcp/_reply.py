"""The answer to a POST: as JSON where that will do, else as a stream of events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import final

import attrs
import trio

from .._errors import EventsExpiredError, ReaderClosedError, SessionClosedError, UnknownStreamError
from .._reader import EventReader
from .._reasons import CloseReason
from .._session import Session
from .._stream import Stream
from .._window import Event
from ._options import Options
from ._response import Response
from ._seam import Exchange, http_status
from ._wire import goodbye


@final
@attrs.frozen(eq=False, kw_only=True)
class Reply:
    """What is to be sent for the requests of one POST.

    Args:
        session: Their session.
        stream: The stream on which their answers come.
        exchanges: The requests.
        batch: Whether they came as a batch, and are answered as one.
        resumable: Whether the client can come back for the stream.
        primed: Whether the stream begins with an event that only says so.
        statuses: Whether errors have HTTP statuses of their own. Before 2026-07-28, a 404 would say that the
            session is gone.
        delay: Seconds to wait for the answers before they are streamed.
        headers: Further response headers, unless the answer is an error.
    """

    session: Session
    stream: Stream
    exchanges: Sequence[Exchange]
    batch: bool = False
    resumable: bool
    primed: bool = False
    statuses: bool = False
    delay: float
    headers: Mapping[str, str] = attrs.Factory(dict[str, str])

    async def send(self, response: Response, options: Options) -> None:
        """Send it: whole, if all answers come in time and nothing else does; else event by event."""
        try:
            # Where more has been said already than is kept, what is left of it is read: the answer is the last of it.
            async with self.session.open_reader(self.stream.id, after=None) as reader:
                if any(exchange.released for exchange in self.exchanges):
                    reader.stop()
                events: list[Event] = []
                # An answer that is there need not be waited for.
                soon = math.inf if self.stream.log.finished else min(self.delay, options.sse_delay)
                if not await self._receive(reader, events, soon) and soon < self.delay:
                    await response.unless_gone(partial(self._receive, reader, events, self.delay - soon))
                answered = reader.finished and len(events) == len(self.exchanges) and not self._unstored()
                if answered and self.delay:
                    # Nobody can ask for these events again: they had no identifiers.
                    self.stream.log.discard()
                    await self._send_whole(response, [event.data for event in events])
                elif reader.finished and not events:
                    await self._send_whole(response, self._unstored())
                else:
                    await response.events(
                        reader,
                        events,
                        resumable=self.resumable,
                        primed=self.primed,
                        options=options,
                        headers=self.headers,
                        rest=self._unstored,
                    )
        except (SessionClosedError, UnknownStreamError):
            # The session ended before its stream had a reader.
            reason = self.session.reason or CloseReason.SHUTDOWN
            await self._send_whole(response, [goodbye(exchange.request.id, reason) for exchange in self.exchanges])

    async def _receive(self, reader: EventReader, events: list[Event], seconds: float) -> bool:
        """Receive as much as decides how it is sent, and tell whether that came in time."""
        if seconds == math.inf:
            await self._receive_all(reader, events)
            return True
        with trio.move_on_after(seconds) as scope:
            await self._receive_all(reader, events)
        return not scope.cancelled_caught

    async def _receive_all(self, reader: EventReader, events: list[Event]) -> None:
        with suppress(trio.EndOfChannel, ReaderClosedError, EventsExpiredError):
            events += await reader.receive_some()
            while self.batch and not reader.finished:
                events += await reader.receive_some()

    def _unstored(self) -> list[bytes]:
        """Return what answers the requests whose answers are not in the log."""
        return [exchange.unstored() for exchange in self.exchanges if exchange.unsent]

    async def _send_whole(self, response: Response, answers: list[bytes]) -> None:
        if self.batch:
            await response.whole(200, b"[" + b",".join(answers) + b"]", self.headers)
            return
        error = self.exchanges[0].error_code
        status = http_status(error) if self.statuses else 200
        await response.whole(status, answers[0], self.headers if error is None else None)
