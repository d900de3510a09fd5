"""A floor: Trio's sockets and httptools, which answer always the same, whatever is asked."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

import httptools
import trio

ANSWER = (
    b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"42"}],'
    b'"structuredContent":{"result":42},"isError":false}}'
)
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


class Connection:
    """A connection: parses, and answers."""

    def __init__(self) -> None:
        self.complete = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Let httptools find the header fields."""

    def on_body(self, body: bytes) -> None:
        """Let httptools find the body."""

    def on_message_complete(self) -> None:
        """Count what is to be answered."""
        self.complete += 1


async def serve_connection(sock: trio.socket.SocketType) -> None:
    connection = Connection()
    parser = httptools.HttpRequestParser(connection)
    with sock, suppress(ConnectionError):
        while data := await sock.recv(65536):
            parser.feed_data(data)
            if connection.complete:
                await sock.send(RESPONSE * connection.complete)
                connection.complete = 0


async def serve(port: int) -> None:
    with trio.socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind(("127.0.0.1", port))
        listener.listen(1000)
        async with trio.open_nursery() as nursery:
            while True:
                sock, _ = await listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                nursery.start_soon(serve_connection, sock)


def main(port: str) -> None:
    trio.run(serve, int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
