"""What one small request costs the server: the CPU time of a process that serves a bare ASGI application.

A load generator in this process keeps so many connections busy, each with one
request at a time. Three servers, each in a process of its own, take turns:
streamscope's; uvicorn with httptools, and with uvloop where that is installed;
and, as the floor, Trio's sockets and httptools with an answer that is always
the same. Each reports its own CPU time, as the answer to a request.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httptools
import trio
from _timing import judge, print_table, quick, take_turns

from streamscope.http import serve

BODY = b'{"jsonrpc":"2.0","id":1,"result":{}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
FIELDS = (
    b"host: 127.0.0.1:8000\r\naccept: application/json, text/event-stream\r\naccept-encoding: gzip, deflate\r\n"
    b"connection: keep-alive\r\nuser-agent: python-httpx/0.28.1\r\n\r\n"
)
REQUEST = b"GET /mcp HTTP/1.1\r\n" + FIELDS
REPORT = b"GET /cpu HTTP/1.1\r\n" + FIELDS
CONNECTIONS = (32, 1)
BOUND = 2.5
"""How many times the floor's CPU time streamscope's server may take."""


# -- The servers, each in a process of its own ------------------------------------------------------


async def app(scope: Any, _: Any, send: Any) -> None:
    """Answer: the CPU time so far, or always the same."""
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body, headers = BODY, HEADERS
    if scope["path"] == "/cpu":
        body = b"%020.9f" % time.process_time()
        headers = [(b"content-length", b"20")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def streamscope_server(listener: socket.socket) -> None:
    await serve(app, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


def uvicorn_server(listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - one of the servers may not be installed

    config = uvicorn.Config(app, http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


class Floor:
    """A connection of the floor: parses, and answers."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self._url = b""
        self._out: list[bytes] = []
        head = b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in HEADERS)
        self._answer = head + b"\r\n" + BODY

    def on_url(self, url: bytes) -> None:
        """Keep it."""
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Let httptools find the header fields."""

    def on_message_complete(self) -> None:
        """Answer."""
        report = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n%020.9f"
        self._out.append(report % time.process_time() if self._url == b"/cpu" else self._answer)

    async def run(self) -> None:
        """Serve the connection."""
        parser = httptools.HttpRequestParser(self)
        # The load ends with requests that it does not wait for.
        with self._sock, suppress(ConnectionError):
            while data := await self._sock.recv(65536):
                parser.feed_data(data)
                out = b"".join(self._out)
                self._out.clear()
                await self._sock.send(out)


async def floor_server(listener: socket.socket) -> None:
    accepting = trio.socket.from_stdlib_socket(listener)
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await accepting.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            nursery.start_soon(Floor(sock).run)


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "streamscope.http, bare ASGI application": lambda listener: trio.run(streamscope_server, listener),
    "uvicorn, bare ASGI application": uvicorn_server,
    "Trio's sockets and httptools, fixed answer": lambda listener: trio.run(floor_server, listener),
}
OURS, PEER, FLOOR = SERVERS


# -- The load ---------------------------------------------------------------------------------------


@contextmanager
def serving(name: str) -> Iterator[int]:
    """Run one of the servers; give its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port: int = listener.getsockname()[1]
        command = [sys.executable, __file__, "--serve", name, str(listener.fileno())]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def cpu_time(port: int) -> float:
    """Ask a server for its CPU time."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(REPORT)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < 20:
            answer += sock.recv(4096)
    return float(answer.partition(b"\r\n\r\n")[2])


def load(port: int, connections: int, requests: int) -> None:
    """Keep so many connections busy until so many requests have been answered."""
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(REQUEST)
            selector.register(sock, selectors.EVENT_READ)
        answered = 0
        while answered < requests:
            for key, _ in selector.select():
                # An answer may come in two parts.
                if key.fileobj.recv(4096).endswith(BODY):  # type: ignore[union-attr]  # sockets were registered
                    answered += 1
                    key.fileobj.sendall(REQUEST)  # type: ignore[union-attr]  # sockets were registered
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets were registered


async def measure(port: int, connections: int, requests: int) -> float:  # noqa: ASYNC124 - others measure Trio
    """Return a server's CPU time for one request."""
    before = cpu_time(port)
    load(port, connections, requests)
    return (cpu_time(port) - before) / requests


async def main() -> None:
    short = quick(__doc__)
    rounds, requests = (3, 2_000) if short else (15, 10_000)
    kept = True
    with serving(OURS) as ours, serving(PEER) as peer, serving(FLOOR) as floor:
        ports = {OURS: ours, PEER: peer, FLOOR: floor}
        for connections in CONNECTIONS:
            subjects = {name: partial(measure, port, connections, requests) for name, port in ports.items()}
            result = await take_turns(f"{connections} connections", subjects, rounds)
            rows = [[name, f"{result.median(name) * 1e6:.1f}", f"{result.ratio(name, FLOOR):.2f}"] for name in subjects]
            print_table(f"CPU per request, {connections} connections", ["", "µs", "x floor"], rows)
            if connections > 1:
                kept = judge(f"at most {BOUND:g} times the floor", result.ratio(OURS, FLOOR) <= BOUND) and kept
    sys.exit(not kept)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        SERVERS[sys.argv[2]](socket.socket(fileno=int(sys.argv[3])))
    else:
        trio.run(main)
