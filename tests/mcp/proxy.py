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
    """Passes bytes on, and ends each stream of events after as many chunks as it is told.

    Args:
        url: What it stands before.
        allowance: Tells for each stream how many chunks of it come through, given how many were ended before.
        abrupt: Whether the response is cut off, and not ended as if it were over.
    """

    url: str
    allowance: Callable[[int], float]
    abrupt: bool = False
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
        buffer = b""
        left: float | None = None
        try:
            async for chunk in server:
                buffer += chunk
                # What is all there has a length, and cannot be cut without the client's noticing.
                head, mark, body = buffer.partition(b"\r\n\r\n")
                if left is None and mark and b"text/event-stream" in head and b"chunked" in head:
                    buffer = body
                    await client.send_all(head + mark)
                    left = self.allowance(self.cuts)
                if left is None:
                    await client.send_all(buffer)
                    buffer = b""
                while left is not None and b"\r\n" in buffer:
                    size = buffer.index(b"\r\n") + 2 + int(buffer.partition(b"\r\n")[0], 16) + 2
                    if len(buffer) < size:
                        break
                    if left <= 0:
                        self.cuts += 1
                        await client.send_all(b"" if self.abrupt else b"0\r\n\r\n")
                        return
                    left = left - 1 if size > 5 else None
                    await client.send_all(buffer[:size])
                    buffer = buffer[size:]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def proxying(
    url: str, allowance: Callable[[int], float], *, abrupt: bool = False
) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy before a server; give it, and the URL that leads through it."""
    proxy = Proxy(url, allowance, abrupt)

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
