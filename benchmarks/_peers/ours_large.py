"""streamscope for tens of thousands of clients: without its bounds on sessions, on their streams and on connections."""

from __future__ import annotations

import math
import sys
from functools import partial

import trio
from _peers.tools import build_server

from streamscope.http import HTTPLimits
from streamscope.mcp import serve


def main(port: str) -> None:
    unbounded = partial(
        serve,
        max_sessions=math.inf,
        max_streams_per_session=math.inf,
        http_limits=HTTPLimits(max_connections=math.inf),
        grace=30,
    )
    trio.run(partial(unbounded, build_server(), port=int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
