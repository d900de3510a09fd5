"""The official SDK's own server on Hypercorn's Trio worker."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, cast

import hypercorn.trio
import trio
from _peers.tools import build_server
from hypercorn.config import Config


def main(port: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    # Its default ends a connection after a thousand requests.
    config.keep_alive_max_requests = 2**62
    config.loglevel = "WARNING"
    app = cast("Any", build_server().streamable_http_app())
    trio.run(partial(hypercorn.trio.serve, app, config, mode="asgi"))


if __name__ == "__main__":
    main(*sys.argv[1:])
