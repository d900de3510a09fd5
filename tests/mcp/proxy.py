"""A proxy that cuts connections, as proxies do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import attrs
import trio


@attrs.define
class Proxy:
    """Passes bytes on, and cuts each stream of events after as many bytes as it is told.

    Args:
        url: What it stands before.
        allowance: Tells for each stream how many bytes of it come through.
    """

    url: str
    allowance: Callable[[], int]
    cuts: int = 0

    async def serve(self, client: trio.SocketStream) -> None:
        target = urlsplit(self.url)
        assert target.hostname is not None
        assert target.port is not None
        async with await trio.open_tcp_stream(target.hostname, target.port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(self._up, client, server)
            await self._down(server, client)
            nursery.cancel_scope.cancel()

    @staticmethod
    async def _up(client: trio.SocketStream, server: trio.SocketStream) -> None:
        try:
            async for chunk in client:
                await server.send_all(chunk)
            await server.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _down(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        left = None
        try:
            async for chunk in server:
                if b"text/event-stream" in chunk:
                    left = self.allowance() + chunk.index(b"\r\n\r\n")
                if left is not None and len(chunk) >= left:
                    await client.send_all(chunk[:left])
                    self.cuts += 1
                    return
                left = None if left is None else left - len(chunk)
                await client.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def proxying(url: str, allowance: Callable[[], int]) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy before a server; give it, and the URL that leads through it."""
    proxy = Proxy(url, allowance)

    async def handler(stream: trio.SocketStream) -> None:
        try:
            await proxy.serve(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield proxy, urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{port}"))
        nursery.cancel_scope.cancel()
