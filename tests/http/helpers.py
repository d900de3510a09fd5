"""Servers over real sockets or in memory, and a client that sends what it is told to, byte by byte."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
import trio.testing

from streamscope.http import serve

PATIENCE = 10.0
HOST = b"Host: a\r\n"

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def http_only(handle: App) -> App:
    """An application without a lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await handle(scope, receive, send)

    return app


async def start(send: Send, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Send, data: bytes = b"", *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def read_body(receive: Receive) -> bytes:
    data, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        data += message["body"]
        more = message["more_body"]
    return data


@http_only
async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path."""
    await start(send)
    await body(send, b"hello " + scope["raw_path"])


@http_only
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request's body."""
    data = await read_body(receive)
    await start(send)
    await body(send, data)


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class Client:
    """A client's end of a connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def get(self, path: bytes = b"/", headers: bytes = b"", version: bytes = b"1.1") -> None:
        await self.send(b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n")

    async def post(self, data: bytes, headers: bytes = b"") -> None:
        await self.send(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n" % len(data) + headers + b"\r\n" + data
        )

    async def _more(self) -> bool:
        data = await self.stream.receive_some()
        self.buffer += data
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert await self._more(), f"the connection ended after {self.buffer!r}"
        found, mark, self.buffer = self.buffer.partition(mark)
        return found + mark

    async def take(self, length: int) -> bytes:
        while len(self.buffer) < length:
            assert await self._more(), f"the connection ended after {self.buffer!r}"
        found, self.buffer = self.buffer[:length], self.buffer[length:]
        return found

    async def rest(self) -> bytes:
        """Read until the server has closed."""
        while await self._more():
            pass
        return self.buffer

    async def closed(self) -> None:
        assert await self.rest() == b""

    async def head(self) -> Answer:
        first, *lines = (await self.until(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in fields}
        assert len(headers) == len(fields), f"repeated header fields: {lines}"
        return Answer(int(status), headers)

    async def answer(self) -> Answer:
        """Read a whole response; one without a length or chunks lasts until the end of the connection."""
        head = await self.head()
        if "content-length" in head.headers:
            return attrs.evolve(head, body=await self.take(int(head.headers["content-length"])))
        if head.headers.get("transfer-encoding") == "chunked":
            return attrs.evolve(head, body=b"".join([chunk async for chunk in self.chunks()]))
        if head.status in {204, 304}:
            return head
        return attrs.evolve(head, body=await self.rest())

    async def chunk(self) -> bytes:
        length = int(await self.until(b"\r\n"), 16)
        data = await self.take(length + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.chunk():
            yield chunk

    def reset(self) -> None:
        """Cut the connection with an RST, as a machine does that has crashed."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


@attrs.frozen
class Served:
    """A server that runs."""

    nursery: trio.Nursery
    stop: trio.Event
    listeners: list[Any]

    @property
    def address(self) -> Any:
        return self.listeners[0].socket.getsockname()

    async def connect(self) -> Client:
        listener = self.listeners[0]
        if isinstance(listener, MemoryListener):
            return Client(await listener.connect())
        return Client(await trio.open_tcp_stream(*self.address[:2]))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await self.connect()
        async with client.stream:
            yield client


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Connections without sockets, so that time may jump.

    With ``lockstep``, what is sent waits until it is read.
    """

    def __init__(self, *, lockstep: bool = False) -> None:
        self._pair: Any = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](100)

    async def connect(self, when_receiving: Callable[[], Awaitable[None]] | None = None) -> trio.abc.Stream:
        """Connect; whenever the server receives something, something else may happen."""
        ours, theirs = self._pair()
        if when_receiving is not None:
            theirs.receive_stream.receive_some_hook = when_receiving
        await self._send.send(theirs)
        return ours

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()


@asynccontextmanager
async def serving(app: App, listeners: Any = None, **options: Any) -> AsyncIterator[Served]:
    """Run a server, and stop it in order unless the test has."""
    if listeners is None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stop = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(partial(serve, app, listeners, stop=stop, **options))
            yield Served(nursery, stop, listening)
            stop.set()


@asynccontextmanager
async def talking(app: App, **options: Any) -> AsyncIterator[Client]:
    """Run a server, and connect to it."""
    async with serving(app, **options) as served, served.client() as client:
        yield client


@asynccontextmanager
async def simulating(app: App, *, lockstep: bool = False, **options: Any) -> AsyncIterator[Client]:
    """Run a server in memory, for a test in which time jumps."""
    listeners = [MemoryListener(lockstep=lockstep)]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve, app, listeners, stop=stop, **options))
        served = Served(nursery, stop, listening)
        async with served.client() as client:
            yield client
        stop.set()
