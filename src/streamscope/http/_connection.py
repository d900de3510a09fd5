"""One connection: its requests, one after the other, in one task."""

from __future__ import annotations

import contextvars
from typing import Any, Final, final

import attrs
import trio

from ._channel import Channel
from ._errors import RefusedError
from ._exchange import Application, Exchange, Scope
from ._head import Request
from ._limits import HTTPLimits
from ._response import Response
from ._transport import find_addresses, open_transport

IDLE_ROUNDS: Final = 10
"""In how many parts the time is counted that a connection may be without a request."""


@final
@attrs.frozen(kw_only=True, eq=False)
class Service:
    """What all connections of a server have in common."""

    app: Application
    limits: HTTPLimits
    root_path: str
    state: dict[str, Any]
    asgi: dict[str, str] = attrs.Factory(lambda: {"version": "3.0", "spec_version": "2.4"})


@final
class Connection:
    """Serves one client.

    Args:
        stream: The stream to it. A plain socket stream is used up at once.
        service: What is served.
    """

    __slots__ = ("_addresses", "_channel", "_idle", "_rounds", "_scheme", "_service")

    def __init__(self, stream: trio.abc.Stream, service: Service) -> None:
        self._service = service
        self._addresses = find_addresses(stream)
        transport = open_transport(stream, service.limits.write_timeout)
        self._scheme = "https" if isinstance(stream, trio.SSLStream) else "http"
        self._channel = Channel(transport, self._scheme, service.limits)
        # Whether there is no request, and for how many rounds.
        self._idle = True
        self._rounds = 0

    def stop(self) -> None:
        """Close the connection as soon as it is without a request."""
        self._channel.stop()
        if self._idle:
            self._channel.hang_up()

    def grow_older(self) -> None:
        """Close the connection if it was without a request in `IDLE_ROUNDS` calls of this, and is in the next."""
        self._rounds += 1
        if self._idle and self._rounds > IDLE_ROUNDS:
            self.stop()

    async def serve(self) -> None:
        """Serve the client until it goes away, is idle for too long, or is refused something."""
        channel, app = self._channel, self._service.app
        task = trio.lowlevel.current_task()
        context = contextvars.copy_context()
        try:
            while await self._arrival():
                request = channel.parser.next_request() or await self._rest_of_head()
                if request is None:
                    break
                exchange = Exchange(channel, request)
                if not await exchange.run(app, self._describe(request)):
                    break
                # Most connections are idle, and need not keep what is over.
                del request, exchange
                # Requests of several people may come by one connection. What one of them sets is not for
                # the next; the checkpoint in between makes it so.
                task.context = context.copy()
        except RefusedError as refused:
            await self._refuse(refused)
        except trio.BrokenResourceError:
            channel.ended = True
        finally:
            # It closes at once where it is cancelled.
            await channel.transport.close(linger=not channel.ended)  # noqa: ASYNC102 - see above

    async def _refuse(self, refused: RefusedError) -> None:
        answer = Response("GET", "1.1", keep_alive=False)
        try:
            await self._channel.transport.send(answer.whole(refused.status, str(refused)))
        except trio.BrokenResourceError:
            self._channel.ended = True

    async def _arrival(self) -> bool:
        """Wait for the first bytes of a request; return whether there are any, and it is to be served."""
        channel = self._channel
        if channel.stopping:
            return False
        if channel.parser.buffered:
            await trio.lowlevel.checkpoint()
            return True
        self._idle, self._rounds = True, 0
        while await channel.read() and not channel.parser.buffered:
            pass
        self._idle = False
        # What arrives at the moment of the end is not begun with.
        return not channel.ended

    async def _rest_of_head(self) -> Request | None:
        """Wait for the head of the next request; ``None`` if there will be none."""
        channel = self._channel
        deadline = trio.current_time() + channel.limits.head_timeout
        request = None
        while request is None and not channel.ended:
            if not await channel.read_by(deadline):
                raise RefusedError(408, "The request's head did not arrive in time")
            request = channel.parser.next_request()
        return request

    def _describe(self, request: Request) -> Scope:
        """Return the ASGI scope of a request."""
        service, target = self._service, request.target
        client, server = self._addresses
        return {
            "type": "http",
            "asgi": service.asgi,
            "http_version": request.http_version,
            "method": request.method,
            "scheme": self._scheme,
            "path": service.root_path + target.path,
            "raw_path": service.root_path.encode() + target.raw_path,
            "query_string": target.query_string,
            "root_path": service.root_path,
            "headers": list(request.headers),
            "client": client,
            "server": server,
            "state": service.state.copy(),
            # Tells an application that it need not guard against a body that does not come.
            "extensions": {"streamscope.whole_body": {}} if self._channel.parser.body_arrived else {},
        }
