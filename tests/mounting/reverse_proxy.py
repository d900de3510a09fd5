"""A reverse proxy as there is one in front of most servers: it takes a prefix off and sends a Host of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

import attrs
import h11
import trio

Headers: TypeAlias = "list[tuple[bytes, bytes]]"

# RFC 9110, section 7.6.1: what is about one connection only.
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)


@attrs.frozen(eq=False)
class Wire:
    """One end of an HTTP/1.1 connection."""

    stream: trio.SocketStream
    connection: h11.Connection

    async def receive(self) -> h11.Event:
        while (event := self.connection.next_event()) is h11.NEED_DATA:
            self.connection.receive_data(await self.stream.receive_some())
        assert not isinstance(event, type)
        return event

    async def send(self, event: h11.Event) -> None:
        await self.stream.send_all(self.connection.send(event) or b"")


@attrs.define(eq=False)
class ReverseProxy:
    """Passes requests on, and responses back as they come, without buffering.

    Args:
        upstream: The URL of the server.
        prefix: What it takes off the path; whatever does not begin with it is not found.
        host: The ``Host`` that it sends; by default the one that the server listens on.
    """

    upstream: str
    prefix: str = ""
    host: str | None = None
    connected: int = 0
    """Connections to the server that are open."""
    _scopes: set[trio.CancelScope] = attrs.field(factory=set)

    def cut(self) -> None:
        """Cut all connections, in the middle of whatever passes."""
        for scope in self._scopes:
            scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one request of one client."""
        client = Wire(stream, h11.Connection(h11.SERVER))
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                request = await client.receive()
                if isinstance(request, h11.Request):
                    await self._pass_on(client, request)
            except* GONE:
                pass
            finally:
                self._scopes.remove(scope)
                await trio.aclose_forcefully(stream)

    async def _pass_on(self, client: Wire, request: h11.Request) -> None:
        target = urlsplit(self.upstream)
        if not request.target.startswith(self.prefix.encode() + b"/"):
            await client.send(h11.Response(status_code=404, headers=[(b"content-length", b"0")]))
            await client.send(h11.EndOfMessage())
            return
        async with (
            await trio.open_tcp_stream(target.hostname or "", target.port or 80) as stream,
            trio.open_nursery() as nursery,
        ):
            self.connected += 1
            try:
                server = Wire(stream, h11.Connection(h11.CLIENT))
                await server.send(self._rewritten(client, request))
                while not isinstance(event := await client.receive(), h11.EndOfMessage):
                    await server.send(event)
                await server.send(event)
                nursery.start_soon(self._watch, client.stream, nursery.cancel_scope)
                await self._pass_back(server, client)
                nursery.cancel_scope.cancel()
            finally:
                self.connected -= 1

    def _rewritten(self, client: Wire, request: h11.Request) -> h11.Request:
        peer = client.stream.socket.getpeername()[0].encode()
        asked = dict(request.headers).get(b"host", b"")
        host = (self.host or urlsplit(self.upstream).netloc).encode()
        headers: Headers = [
            (name, value) for name, value in request.headers if name not in HOP_BY_HOP and name != b"host"
        ]
        headers += [(b"host", host), (b"x-forwarded-for", peer), (b"x-forwarded-proto", b"https")]
        headers += [(b"x-forwarded-host", asked), (b"x-forwarded-prefix", self.prefix.encode())]
        return h11.Request(
            method=request.method, target=request.target.removeprefix(self.prefix.encode()), headers=headers
        )

    @staticmethod
    async def _pass_back(server: Wire, client: Wire) -> None:
        while True:
            event = await server.receive()
            match event:
                case h11.Response(status_code=status, headers=headers):
                    kept = [(name, value) for name, value in headers if name not in HOP_BY_HOP]
                    event = h11.Response(status_code=status, headers=[*kept, (b"connection", b"close")])
                case h11.ConnectionClosed():
                    return
            await client.send(event)
            if isinstance(event, h11.EndOfMessage):
                return

    @staticmethod
    async def _watch(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """Let go of the server when the client has gone."""
        try:
            while await stream.receive_some():
                pass
        except GONE:
            pass
        scope.cancel()


@asynccontextmanager
async def proxying(upstream: str, prefix: str = "", host: str | None = None) -> AsyncIterator[tuple[ReverseProxy, str]]:
    """Run a reverse proxy before a server; give it, and the URL that leads through it to the server's root."""
    proxy = ReverseProxy(upstream, prefix, host)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield proxy, f"http://127.0.0.1:{port}{prefix}"
        nursery.cancel_scope.cancel()
