"""What the official SDK takes for a call in itself: no transport, no JSON; only its handling of method and parameters.

Arguments: the era, and for how many seconds. Prints the CPU time of one call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import anyio
import trio
from _messages import CLIENT, HANDSHAKE, MODERN, envelope
from _peers.tools import build_server
from mcp.server.connection import Connection
from mcp.server.runner import ServerRunner, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.transport_context import TransportContext

ARGUMENTS = {"a": 20, "b": 22}
BATCH = 100


class Context:
    """The least that the SDK wants to know of a transport; nothing comes of what a handler says."""

    def __init__(self) -> None:
        self.transport = TransportContext(kind="streamable-http", can_send_request=False, headers={})
        self.can_send_request = False
        self.request_id = 1
        self.message_metadata = None
        self.cancel_requested = anyio.Event()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Fail: nobody asks."""
        raise NotImplementedError

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Fail: nobody tells."""
        raise NotImplementedError

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Fail: nobody tells."""
        raise NotImplementedError


async def measure(era: str, seconds: float) -> float:
    # The high-level class keeps it in a private attribute and has no other way to it.
    server = build_server()._lowlevel_server  # noqa: SLF001
    context = Context()
    async with server.lifespan(server) as state:
        runner = ServerRunner(server, Connection.for_loop(context), state)
        hello = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
        await runner.on_request(context, "initialize", hello)
        await runner.on_notify(context, "notifications/initialized", None)
        params: dict[str, Any] = {"name": "add", "arguments": ARGUMENTS}
        modern = {**params, "_meta": envelope()}

        async def call() -> dict[str, Any]:
            if era == HANDSHAKE:
                return await runner.on_request(context, "tools/call", params)
            connection = Connection.from_envelope(MODERN, CLIENT, {})
            return await serve_one(server, context, "tools/call", modern, connection=connection, lifespan_state=state)

        calls, begin, cpu = -BATCH, time.perf_counter(), 0.0
        while calls <= 0 or time.perf_counter() - begin < seconds:
            if not calls:
                cpu = time.process_time()
            for _ in range(BATCH):
                assert (await call())["structuredContent"] == {"result": 42}
            calls += BATCH
        return (time.process_time() - cpu) / calls


if __name__ == "__main__":
    print(trio.run(measure, sys.argv[1], float(sys.argv[2])))
