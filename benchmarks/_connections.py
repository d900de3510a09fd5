"""Connections that are kept busy, each with one request at a time, by a loop over epoll.

It can saturate a server that takes 20 µs for a request: requests are prepared
bytes, and of an answer it reads only what it must, which is the status and where
the body ends. What a connection says is a generator, a `Talk`: it yields a
request and is given the answer.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias, final

_PATIENCE: Final = 60.0
"""Seconds without any answer after which something is wrong."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    session: str | None
    body: bytes


Talk: TypeAlias = Generator[bytes, Answer, None]
"""What a connection says."""


class _Head(NamedTuple):
    status: int
    length: int | None
    """The body's length; ``None`` where it comes in chunks."""

    session: str | None


@lru_cache(maxsize=4096)
def _parse_head(head: bytes) -> _Head:
    """Read the head of an answer. Those of most answers are the same."""
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split()[1])
    length = None if "transfer-encoding" in fields else int(fields.get("content-length", "0"))
    return _Head(status, length, fields.get("mcp-session-id"))


def _parse(data: bytes) -> Answer | None:
    """Read an answer, if it is all there. Nothing follows it: the next request has not been sent."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = _parse_head(data[:end])
    body = data[end + 4 :]
    # No body here has the end of the last chunk within itself.
    complete = body.endswith(b"0\r\n\r\n") if head.length is None else len(body) >= head.length
    return Answer(head.status, head.session, body) if complete else None


class _Connection:
    """A connection and what is said on it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._talk: Talk | None = None

    def start(self, talk: Talk) -> None:
        """Send the first request of something to say."""
        self._talk = talk
        self.sock.sendall(next(talk))

    def advance(self) -> bool:
        """Take what has come, and go on if it is an answer; return whether there was more to say."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server has closed a connection")
        if self._received:
            data = self._received + data
        answer = _parse(data)
        if answer is None:
            self._received = data
            return True
        self._received = b""
        assert self._talk is not None
        try:
            self.sock.sendall(self._talk.send(answer))
        except StopIteration:
            return False
        return True


@final
class Connections:
    """So many connections to a server.

    Args:
        port: Its port.
        count: How many.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self.count = count

    def run(self, talks: Iterable[Talk]) -> None:
        """Have each connection carry on one conversation at a time until all of them are over.

        Connections are opened for that, and closed when there is no more to say:
        a server closes those on which nothing is said.

        Raises:
            TimeoutError: No answer came for a minute.
            ConnectionError: The server has closed a connection.
        """
        waiting = deque(talks)
        connections: dict[int, _Connection] = {}
        with select.epoll() as poll, ExitStack() as stack:
            while waiting and len(connections) < self.count:
                connection = _Connection(self._port)
                stack.callback(connection.sock.close)
                connection.start(waiting.popleft())
                connections[connection.sock.fileno()] = connection
                poll.register(connection.sock, select.EPOLLIN)
            while connections:
                events = poll.poll(_PATIENCE)
                if not events:
                    raise TimeoutError("the server does not answer any more")
                for fd, _ in events:
                    connection = connections[fd]
                    if connection.advance():
                        continue
                    if waiting:
                        connection.start(waiting.popleft())
                    else:
                        connections.pop(fd).sock.close()
