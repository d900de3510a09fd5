"""A TCP proxy that stands between a client and the server: it keeps what passes, and cuts connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final, Literal

import attrs
import trio

MARKER: Final = re.compile(rb"cut-[0-9a-f]{8}")
"""Where a connection is cut: in the middle of the first event that says this, once for each such word."""

_TAIL: Final = len(b"cut-01234567") - 1


@attrs.frozen
class Passage:
    """Bytes that went through."""

    seconds: float
    connection: int
    source: Literal["client", "server", "proxy"]
    data: bytes


@attrs.define(eq=False)
class Proxy:
    """Listens on a port of its own and passes everything on to the server."""

    host: str
    port: int
    passages: list[Passage] = attrs.Factory(list)
    _cut: set[bytes] = attrs.Factory(set)
    _connections: int = 0
    _stopping: int | None = None
    _began: float = attrs.Factory(trio.current_time)

    async def run(self, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the port."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._handle, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            task_status.started(listeners[0].socket.getsockname()[1])

    async def _handle(self, client: trio.SocketStream) -> None:
        self._connections += 1
        number = self._connections
        async with client:
            try:
                server = await trio.open_tcp_stream(self.host, self.port)
            except OSError:
                self._keep(number, "proxy", b"the server does not listen")
                return
            async with server, trio.open_nursery() as nursery:
                nursery.start_soon(self._relay, number, "client", client, server, nursery.cancel_scope)
                nursery.start_soon(self._relay, number, "server", server, client, nursery.cancel_scope)

    async def _relay(
        self,
        number: int,
        name: Literal["client", "server"],
        source: trio.SocketStream,
        sink: trio.SocketStream,
        scope: trio.CancelScope,
    ) -> None:
        tail = b""
        try:
            async for data in source:
                cut = name == "server" and self._find_cut(tail, data)
                passed = bytes(data[:cut] if cut else data)
                self._keep(number, name, passed)
                await sink.send_all(passed)
                if cut:
                    self._keep(number, "proxy", b"cut")
                    break
                tail = (tail + data)[-_TAIL:]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._keep(number, name, b"")
        scope.cancel()

    def _find_cut(self, tail: bytes, data: bytes | bytearray) -> int:
        for match in MARKER.finditer(tail + data):
            if match[0] not in self._cut:
                self._cut.add(match[0])
                return max(match.start() + 6 - len(tail), 1)
        return 0

    def _keep(self, number: int, source: Literal["client", "server", "proxy"], data: bytes) -> None:
        self.passages.append(Passage(trio.current_time() - self._began, number, source, data))

    # What passed

    def mark_stop(self) -> None:
        """Say that the server is told to stop. What is refused or tried again from now on is no fault."""
        self._stopping = len(self.passages)

    def _joined(self, source: str, end: int | None = None) -> Iterator[bytes]:
        for number in range(1, self._connections + 1):
            yield b"".join(p.data for p in self.passages[:end] if p.connection == number and p.source == source)

    def session_ids(self) -> list[str]:
        """The session ids that the server gave, in order."""
        found = [
            name.decode()
            for data in self._joined("server")
            for name in re.findall(rb"(?i)\r\nmcp-session-id: *([!-~]+)\r\n", data)
        ]
        return list(dict.fromkeys(found))

    def deleted(self) -> list[str]:
        """The session ids that the client sent a DELETE for."""
        requests = rb"(?i)(?:^|\r\n\r\n|\})DELETE [^\r\n]+(?:\r\n[^\r\n]+)*?\r\nmcp-session-id: *([!-~]+)\r\n"
        return [name.decode() for data in self._joined("client") for name in re.findall(requests, data)]

    def resumed_after(self) -> list[str]:
        """The event ids that the client came back with, until the server was told to stop."""
        header = rb"(?i)\r\nlast-event-id: *([!-~]+)\r\n"
        return [name.decode() for data in self._joined("client", self._stopping) for name in re.findall(header, data)]

    def statuses(self) -> list[int]:
        """The HTTP statuses that the server answered with, until it was told to stop."""
        lines = rb"HTTP/1\.1 (\d{3}) "
        return [int(status) for data in self._joined("server", self._stopping) for status in re.findall(lines, data)]

    def dump(self) -> str:
        """All that passed, readable."""
        lines: list[str] = []
        for passage in self.passages:
            lines.append(f"---- {passage.seconds:.3f} connection {passage.connection}, {passage.source}")
            lines.append(passage.data.decode(errors="replace").replace("\r\n", "\n") or "(end)")
        return "\n".join(lines) + "\n"
