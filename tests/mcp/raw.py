"""One HTTP connection, byte by byte: for what a well-behaved client cannot do."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from tests.mcp.helpers import Peer


@attrs.frozen
class RawResponse:
    """The head of a response, and its body as far as it was read."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection to the endpoint of a peer, with that peer's headers."""

    def __init__(self, peer: Peer, stream: trio.SocketStream) -> None:
        self.peer = peer
        self.stream = stream
        self.buffer = b""

    @classmethod
    @asynccontextmanager
    async def to(cls, peer: Peer) -> AsyncIterator[Connection]:
        url = urlsplit(peer.url)
        assert url.hostname is not None
        assert url.port is not None
        async with await trio.open_tcp_stream(url.hostname, url.port) as stream:
            yield cls(peer, stream)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    def head(self, method: str, headers: Mapping[str, str]) -> bytes:
        url = urlsplit(self.peer.url)
        fields = {"host": url.netloc, **self.peer.headers, "content-type": "application/json", **headers}
        lines = [f"{method} {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def send_head(self, method: str, headers: Mapping[str, str]) -> None:
        await self.send(self.head(method, headers))

    async def post(self, message: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole POST."""
        body = json.dumps(message).encode()
        await self.send(self.head("POST", {"content-length": str(len(body)), **(headers or {})}) + body)

    async def receive(self) -> bool:
        """Read some more into the buffer; tell whether there was more."""
        chunk = await self.stream.receive_some()
        self.buffer += chunk
        return bool(chunk)

    async def read_until(self, mark: bytes) -> bytes:
        """Read up to and including a mark."""
        while mark not in self.buffer:
            assert await self.receive(), f"the connection ended after {self.buffer!r}"
        found, mark, self.buffer = self.buffer.partition(mark)
        return found + mark

    async def response_head(self) -> RawResponse:
        first, *lines = (await self.read_until(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return RawResponse(int(first.split()[1]), headers)

    async def response(self) -> RawResponse:
        """Read a response that announces its length."""
        return await self._body(await self.response_head())

    async def events(self) -> RawResponse:
        """Read a whole response of events: with a length where they were all there, else in chunks."""
        head = await self.response_head()
        if "content-length" in head.headers:
            return await self._body(head)
        assert head.headers["transfer-encoding"] == "chunked"
        body = b""
        while length := int(await self.read_until(b"\r\n"), 16):
            body += await self._take(length)
            assert await self._take(2) == b"\r\n"
        assert await self._take(2) == b"\r\n"
        return attrs.evolve(head, body=body)

    async def _body(self, head: RawResponse) -> RawResponse:
        return attrs.evolve(head, body=await self._take(int(head.headers["content-length"])))

    async def _take(self, length: int) -> bytes:
        while len(self.buffer) < length:
            assert await self.receive(), f"the connection ended after {self.buffer!r}"
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    async def rest(self) -> bytes:
        """Read until the server closes the connection."""
        while await self.receive():
            pass
        return self.buffer

    def reset(self) -> None:
        """Cut the connection with a RST, as a machine does that has crashed."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()
