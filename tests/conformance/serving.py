"""Serves the server otherwise than ``streamscope serve`` does, and prints where.

``streamed``: every answer is streamed, also where JSON would do. ``sdk``: by the
SDK's own HTTP server, on uvicorn.
"""

from __future__ import annotations

import socket
import sys
from functools import partial

import anyio
import trio
import uvicorn
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

from streamscope.mcp import serve
from tests.conformance.everything import server


def _print(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


async def streamed() -> None:
    """Stream every answer."""
    async with trio.open_nursery() as nursery:
        _print(await nursery.start(partial(serve, server, port=0, sse_delay=0)))


class _Events(EventStore):
    """Keeps all events of all streams: the SDK has only the interface."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id)
        stream_id = self._events[last - 1][0]
        for number, (stream, message) in enumerate(self._events[last:], start=last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def sdk() -> None:
    """Serve with what the SDK brings along."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = server.streamable_http_app(event_store=_Events(), retry_interval=1000)
        _print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
        await uvicorn.Server(uvicorn.Config(app, http="h11", log_level="warning")).serve(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1:] == ["sdk"]:
        anyio.run(sdk)
    else:
        trio.run(streamed)
