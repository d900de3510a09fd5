"""streamscope on its own listener. After the port come options of the endpoint, as in ``sse_delay=0``."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import trio
from _peers.tools import build_server

from streamscope.mcp import serve


def main(port: str, *options: str) -> None:
    chosen: dict[str, Any] = {name: json.loads(value) for name, _, value in (one.partition("=") for one in options)}
    trio.run(partial(serve, build_server(), port=int(port), **chosen))


if __name__ == "__main__":
    main(*sys.argv[1:])
