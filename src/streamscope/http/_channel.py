"""What has come from a client, and the way to it; for the connection and for whatever is being answered."""

from __future__ import annotations

import math
from typing import final

import trio

from ._limits import HTTPLimits
from ._parser import RequestParser
from ._transport import LINGER, Transport


@final
class Channel:
    """A client's bytes, parsed, and the transport they come from.

    Args:
        transport: The transport.
        scheme: Its scheme, ``http`` or ``https``.
        limits: The server's limits.
    """

    __slots__ = ("_free", "_last_moment", "_patience", "_reading", "_woken", "ended", "limits", "parser", "transport")

    def __init__(self, transport: Transport, scheme: str, limits: HTTPLimits) -> None:
        self.transport = transport
        self.limits = limits
        self.parser = RequestParser(scheme, limits)
        self.ended = False
        """Whether the client has said that nothing more comes from it, or is gone."""
        self._reading = False
        self._woken = False
        # Most connections never need these: where a second task waits; and how long for the rest of a request.
        self._free: trio.lowlevel.ParkingLot | None = None
        self._patience: trio.CancelScope | None = None
        self._last_moment = math.inf

    @property
    def stopping(self) -> bool:
        """Whether the connection ends behind the request that has begun."""
        return self._last_moment < math.inf

    def stop(self) -> None:
        """End behind the request that has begun. What has not arrived of it has to come within `LINGER` seconds."""
        self._last_moment = trio.current_time() + LINGER
        if self._patience is not None:
            self._patience.deadline = min(self._patience.deadline, self._last_moment)

    def hang_up(self) -> None:
        """Receive nothing more."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let those who wait return, although nothing has come."""
        if self._reading:
            self._woken = True
            self.transport.wake()
        elif self._free is not None:
            self._free.unpark_all()

    async def wait(self) -> None:
        """Wait until somebody else has read, or `wake`."""
        if self._free is None:
            self._free = trio.lowlevel.ParkingLot()
        await self._free.park()

    async def read(self) -> bool:
        """Wait for more from the client, and feed it to the parser; return whether there may be more still.

        Several tasks may read: an application's, and the connection's own after it. Only one of them
        waits for the socket; the others return with what it gets.
        """
        if self._reading:
            await self.wait()
            return not self.ended
        self._reading, self._woken = True, False
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
        elif not self._woken:
            self.ended = True
        return not self.ended

    async def read_by(self, deadline: float) -> bool:
        """Read more of a request that has begun; return whether there was an end of it until then."""
        with trio.CancelScope(deadline=min(deadline, self._last_moment)) as patience:
            self._patience = patience
            try:
                await self.read()
            finally:
                self._patience = None
        return not patience.cancelled_caught
