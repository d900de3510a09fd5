"""Streams that stay open: those who listen to a server, thousands of them, in a loop over epoll.

A stream has a connection of its own. Connections come from several addresses of
the loopback network, because one address has fewer ports than are needed.
"""

from __future__ import annotations

import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

import attrs
from _timing import Progress

_AT_ONCE: Final = 100
"""Streams that are being opened at the same time: fewer than a server lets wait."""

_PER_ADDRESS: Final = 10_000
_PATIENCE: Final = 60.0
"""Seconds without any news after which something is wrong."""

_END_PATIENCE: Final = 40.0
"""Seconds that streams may take to end, before they are given up."""

_BEGIN: Final = b"HTTP/1.1 200 OK\r\n"
_END: Final = b"0\r\n\r\n"
"""The end of a chunked body that is complete."""

_RESULT: Final = b'"result"'

_RESERVE: Final = 200
"""Descriptors for all else."""

# Linux; the module has no name for it before Python 3.12. A port is then chosen with regard to whom it talks to.
_IP_BIND_ADDRESS_NO_PORT: Final = 24


def descriptors() -> int:
    """Allow this process, and those that it starts, as many descriptors as possible.

    Returns:
        How many streams there may be.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _RESERVE


@final
@attrs.define(eq=False)
class Stream:
    """A stream, and what has come of it."""

    sock: socket.socket
    received: bytes = b""
    ended: float | None = None
    """When its response was complete, or the connection closed without."""

    complete: bool = False


@final
@attrs.frozen
class Ends:
    """How streams have ended."""

    complete: int
    """How many responses were complete."""

    results: int
    """How many had a result at the end."""

    seconds: float
    """Until the last of them had ended, or was given up."""


@final
class Listeners:
    """Clients that listen to a server, each by one stream.

    Args:
        port: The server's.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._streams: dict[int, Stream] = {}

    def open(self, requests: Sequence[bytes]) -> list[Stream]:
        """Send each of these requests by a connection of its own, and wait until the response has begun.

        Returns:
            The streams.

        Raises:
            RuntimeError: It is not a stream.
        """
        progress = Progress("opening streams", len(requests))
        waiting = deque(requests)
        opened: list[Stream] = []
        opening: set[Stream] = set()
        while waiting or opening:
            while waiting and len(opening) < _AT_ONCE:
                opening.add(self._connect(waiting.popleft()))
            for stream in self._read():
                if stream in opening and b"\r\n\r\n" in stream.received:
                    if not stream.received.startswith(_BEGIN):
                        raise RuntimeError(f"no stream: {stream.received!r}")
                    opening.remove(stream)
                    opened.append(stream)
                    progress.advance()
        return opened

    def _connect(self, request: bytes) -> Stream:
        address = f"127.0.0.{2 + len(self._streams) // _PER_ADDRESS}"
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((address, 0))
        sock.connect(("127.0.0.1", self._port))
        sock.sendall(request)
        stream = self._streams[sock.fileno()] = Stream(sock)
        self._poll.register(sock, select.EPOLLIN)
        return stream

    def forget(self) -> None:
        """Forget what came so far."""
        for stream in self._streams.values():
            stream.received = b""

    def deliver(self, message: bytes, streams: Iterable[Stream], cause: Callable[[], object]) -> None:
        """Have the server caused to send a message to these streams, and wait until all have it."""
        self.forget()
        cause()
        missing = set(streams)
        while missing:
            missing.difference_update([stream for stream in self._read() if message in stream.received])

    def listen(self, seconds: float) -> None:
        """Do nothing else for so long."""
        progress = Progress("listening, seconds", round(seconds))
        begin = said = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            self._read(patience=0.1, quiet=True)
            if now - said >= 1:
                said = now
                progress.advance()
        self.forget()

    def wait_for_end(self, stop: Callable[[], object]) -> Ends:
        """Have the server stopped, and wait until all streams have ended, or for as long as anybody might."""
        self.forget()
        streams = list(self._streams.values())
        begin = time.monotonic()
        stop()
        while self._streams and time.monotonic() < begin + _END_PATIENCE:
            self._read(patience=1.0, quiet=True)
        seconds = max((stream.ended or time.monotonic()) - begin for stream in streams)
        return Ends(
            complete=sum(stream.complete for stream in streams),
            results=sum(_RESULT in stream.received for stream in streams),
            seconds=seconds,
        )

    def _read(self, *, patience: float = _PATIENCE, quiet: bool = False) -> Iterable[Stream]:
        """Read what there is; return the streams that had something.

        Raises:
            TimeoutError: There is nothing for too long, unless it may be quiet.
        """
        events = self._poll.poll(patience)
        if not events and not quiet:
            raise TimeoutError("nothing comes from the server any more")
        read = [self._streams[fd] for fd, _ in events]
        for stream in read:
            self._receive(stream)
        return read

    def _receive(self, stream: Stream) -> None:
        try:
            data = stream.sock.recv(65536)
        except ConnectionError:
            data = b""
        stream.received += data
        stream.complete = stream.received.endswith(_END)
        if stream.ended is None and (stream.complete or not data):
            stream.ended = time.monotonic()
        if not data:
            del self._streams[stream.sock.fileno()]
            self._poll.unregister(stream.sock)
            stream.sock.close()

    def close(self) -> None:
        """Close all connections."""
        for stream in self._streams.values():
            stream.sock.close()
        self._streams.clear()
        self._poll.close()
