"""streamscope for tens of thousands of clients: without its bounds on sessions, on their streams and on connections."""

from __future__ import annotations

import math
import signal
import sys
from functools import partial

import trio
from _peers.tools import build_server

from streamscope import http
from streamscope.mcp import StreamableHTTPEndpoint

BACKLOG = 1000


async def serve(port: int) -> None:
    endpoint = StreamableHTTPEndpoint(build_server(), max_sessions=math.inf, max_streams_per_session=math.inf)
    limits = http.HTTPLimits(max_connections=math.inf)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=BACKLOG)
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(http.serve, endpoint, listeners, limits=limits, stop=stop))
            await anext(signals)
            await endpoint.close()
            stop.set()


def main(port: str) -> None:
    trio.run(serve, int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
