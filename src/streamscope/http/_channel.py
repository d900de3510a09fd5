"""What has come from a client, and the way to it; for the connection and for whatever is being answered."""

from __future__ import annotations

from typing import final

import trio

from ._limits import HTTPLimits
from ._parser import RequestParser
from ._transport import Transport


@final
class Channel:
    """A client's bytes, parsed, and the transport they come from.

    Args:
        transport: The transport.
        scheme: Its scheme, ``http`` or ``https``.
        limits: The server's limits.
    """

    __slots__ = ("_free", "_reading", "ended", "limits", "parser", "stopping", "transport")

    def __init__(self, transport: Transport, scheme: str, limits: HTTPLimits) -> None:
        self.transport = transport
        self.limits = limits
        self.parser = RequestParser(scheme, limits)
        self.ended = False
        """Whether the client has said that nothing more comes from it, or is gone."""
        self.stopping = False
        """Whether the connection ends as soon as it is without a request."""
        self._reading = False
        # Made when a second task reads: few do.
        self._free: trio.lowlevel.ParkingLot | None = None

    def hang_up(self) -> None:
        """Receive nothing more."""
        self.ended = True
        self.transport.hang_up()

    async def read(self) -> bool:
        """Wait for more from the client, and feed it to the parser; return whether there was any.

        Several tasks may read: an application's, and the connection's own after it. Only one of them
        waits for the socket; the others return with what it gets.
        """
        if self._reading:
            if self._free is None:
                self._free = trio.lowlevel.ParkingLot()
            await self._free.park()
            return not self.ended
        self._reading = True
        try:
            data = b"" if self.ended else await self.transport.receive()
        except trio.BrokenResourceError:
            data = b""
        finally:
            self._reading = False
            if self._free is not None:
                self._free.unpark_all()
        if data:
            self.parser.feed(data)
        else:
            self.ended = True
        return not self.ended
