"""A server and those who listen to it, who are all told of one change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, final

import attrs
from _connections import Connections, Talk
from _listeners import Listeners, Stream
from _load import check, open_session
from _messages import HANDSHAKE, MODERN, call, get, subscribe
from _servers import Server
from _timing import Progress

_CHANGE: Final = b"notifications/tools/list_changed"
_CONNECTIONS: Final = 16
"""By which sessions are opened."""

_SETTLED: Final = 0.2
"""Seconds after which a server has done what it does once a client has got what it waits for."""


@final
@attrs.frozen
class FanOut:
    """A way in which clients are told of a change."""

    title: str
    tool: str
    """What has the server tell them."""


FAN_OUTS: Final = {
    "get": FanOut(f"a change to GET streams, {HANDSHAKE}", "announce"),
    "listen": FanOut(f"a change to subscriptions/listen, {MODERN}", "publish"),
}


def open_sessions(connections: Connections, count: int, *, join: bool) -> list[str]:
    """Open sessions, and have each told of changes if wanted; return their names."""
    names: list[str] = []
    progress = Progress("opening sessions", count)

    def one() -> Talk:
        own: list[str] = []
        yield from open_session(own)
        if join:
            check((yield call("join", {}, own[0])), 200)
        names.extend(own)
        progress.advance()

    connections.run(one() for _ in range(count))
    return names


@final
class Audience:
    """Clients that listen to a server.

    Args:
        server: The server.
        counts: How many listen, for each kind of stream.
        join: Whether those of sessions are told of changes.
    """

    def __init__(self, server: Server, counts: Mapping[str, int], *, join: bool = True) -> None:
        self.server = server
        self.listeners = Listeners(server.port)
        self._streams: dict[str, list[Stream]] = {}
        for kind, count in counts.items():
            requests = [subscribe()] * count if kind == "listen" else self._listen_to_sessions(count, join=join)
            self._streams[kind] = self.listeners.open(requests)

    def _listen_to_sessions(self, count: int, *, join: bool) -> list[bytes]:
        connections = Connections(self.server.port, _CONNECTIONS)
        names = open_sessions(connections, count, join=join)
        return [get(name) for name in names]

    def __enter__(self) -> Audience:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.listeners.close()

    def tell(self, kind: str) -> float:
        """Have all streams of a kind told of a change; return the seconds of the server's CPU time for each."""
        streams = self._streams[kind]
        connection = Connections(self.server.port, 1)
        names = open_sessions(connection, 1, join=False)
        before = self.server.cpu_time()
        self.listeners.deliver(_CHANGE, streams, lambda: connection.run([self._call(FAN_OUTS[kind].tool, names[0])]))
        time.sleep(_SETTLED)
        taken = self.server.cpu_time() - before
        return taken / len(streams)

    @staticmethod
    def _call(tool: str, session: str) -> Talk:
        check((yield call(tool, {}, session)), 200)
