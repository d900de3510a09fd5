"""One connection: its requests, one after the other, in one task."""

from __future__ import annotations

import contextvars
import math
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

# Not since any time: every comparison with it is false.
_BUSY: Final = math.nan


@final
@attrs.frozen(kw_only=True, eq=False)
class Service:
    """What all connections of a server have in common."""

    app: Application
    limits: HTTPLimits
    root_path: str
    state: dict[str, Any]


@final
class Connection:
    """Serves one client.

    Args:
        stream: The stream to it. A plain socket stream is used up at once.
        service: What is served.
    """

    def __init__(self, stream: trio.abc.Stream, service: Service) -> None:
        self._service = service
        self._addresses = find_addresses(stream)
        transport = open_transport(stream, service.limits.write_timeout)
        self._scheme = "https" if isinstance(stream, trio.SSLStream) else "http"
        self._channel = Channel(transport, self._scheme, service.limits)
        # Cancelled only while there is no request.
        self._scope = trio.CancelScope()
        self._idle_since = trio.current_time()
        self._stopping = False

    def stop(self) -> None:
        """Close the connection as soon as it is without a request."""
        self._stopping = True
        self.close_if_idle(math.inf)

    def close_if_idle(self, since: float) -> None:
        """Close the connection if it has been without a request since this time or longer."""
        if self._idle_since <= since:
            self._scope.cancel(reason="the connection is idle")

    async def serve(self) -> None:
        """Serve the client until it goes away, is idle for too long, or is refused something."""
        channel = self._channel
        try:
            with self._scope:
                await self._serve_requests()
        except trio.BrokenResourceError:
            channel.ended = True
        finally:
            # It closes at once where it is cancelled.
            linger = not channel.ended and not self._scope.cancelled_caught
            await channel.transport.close(linger=linger)  # noqa: ASYNC102 - see above

    async def _serve_requests(self) -> None:
        task = trio.lowlevel.current_task()
        context = contextvars.copy_context()
        try:
            while (request := await self._next_request()) is not None:
                exchange = Exchange(self._channel, request, self._may_keep_alive)
                if not await exchange.run(self._service.app, self._describe(request)):
                    return
                # Requests of several people may come by one connection. What one of them sets is not for
                # the next; the checkpoint in between makes it so.
                task.context = context.copy()
        except RefusedError as refused:
            answer = Response("GET", "1.1", keep_alive=False)
            await self._channel.transport.send(answer.whole(refused.status, str(refused)))

    def _may_keep_alive(self) -> bool:
        return not self._stopping

    async def _next_request(self) -> Request | None:
        """Wait for the head of the next request; ``None`` if there will be none."""
        channel = self._channel
        if self._stopping:
            return None
        request = channel.parser.next_request()
        if request is not None:
            await trio.lowlevel.checkpoint()
            return request
        if not channel.parser.buffered:
            if not await self._arrival():
                return None
            request = channel.parser.next_request()
        return request or await self._rest_of_head()

    async def _arrival(self) -> bool:
        """Wait for the first bytes of a request; return whether there are any."""
        self._idle_since = trio.current_time()
        while await self._channel.read() and not self._channel.parser.buffered:
            pass
        self._idle_since = _BUSY
        # What arrives at the moment of the end is not begun with.
        return not self._channel.ended and not self._scope.cancel_called

    async def _rest_of_head(self) -> Request | None:
        limit = self._service.limits.head_timeout
        with trio.move_on_after(limit):  # noqa: ASYNC912 - the first turn waits
            request = None
            while request is None and await self._channel.read():
                request = self._channel.parser.next_request()
            return request
        raise RefusedError(408, f"The request's head did not arrive within {limit:g} seconds")

    def _describe(self, request: Request) -> Scope:
        """Return the ASGI scope of a request."""
        service, target = self._service, request.target
        client, server = self._addresses
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version,
            "method": request.method,
            "scheme": self._scheme,
            "path": service.root_path + target.path,
            "raw_path": service.root_path.encode() + target.raw_path,
            "query_string": target.query_string,
            "root_path": service.root_path,
            "headers": request.headers,
            "client": client,
            "server": server,
            "state": service.state.copy(),
            "extensions": {},
        }
