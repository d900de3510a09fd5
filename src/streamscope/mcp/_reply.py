"""The answer to a POST: as JSON where that will do, else as a stream of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

import attrs
import trio

from .._errors import EventsExpiredError, ReaderClosedError
from .._reader import EventReader
from .._session import Session
from .._stream import Stream
from .._window import Event
from ._nudges import Nudges
from ._options import Options
from ._response import Response
from ._seam import Exchange, http_status


@final
@attrs.define(eq=False, kw_only=True)
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

    async def send(self, response: Response, options: Options, nudges: Nudges) -> None:
        """Send it: whole, if all answers come in time and nothing else does; else event by event.

        It is to be called in the step in which the stream was started, so that nothing was said before.
        """
        with self.session.open_reader_nowait(self.stream) as reader:
            events: list[Event] = []
            if not await self._receive_soon(reader, events, options, nudges) and options.sse_delay < self.delay:
                await response.unless_gone(partial(self._receive_late, reader, events, self.delay - options.sse_delay))
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

    async def _receive_soon(self, reader: EventReader, events: list[Event], options: Options, nudges: Nudges) -> bool:
        """Give a quick handler its time; the client is not watched meanwhile."""
        if not min(self.delay, options.sse_delay):
            # Trio draws by lot which task runs first. After two turns, the handler had one.
            for _ in range(2):
                await trio.lowlevel.checkpoint()
                if self.stream.log.finished:
                    return await self._receive(reader, events)
            return False
        nudges.note(reader)
        try:
            return await self._receive(reader, events)
        finally:
            nudges.forget(reader)

    async def _receive_late(self, reader: EventReader, events: list[Event], seconds: float) -> None:
        """Give a slow one the rest of its time."""
        with trio.move_on_after(seconds):
            await self._receive(reader, events)

    async def _receive(self, reader: EventReader, events: list[Event]) -> bool:
        """Receive as much as decides how it is sent, and tell whether that came before a nudge."""
        try:
            while not reader.finished:
                received = await reader.receive_some()
                if not received:
                    return False
                events += received
                if not self.batch:
                    break
        except (trio.EndOfChannel, ReaderClosedError, EventsExpiredError):
            # What there is is all that there will be.
            pass
        return True

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
