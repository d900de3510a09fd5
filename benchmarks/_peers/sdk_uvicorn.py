"""The official SDK's own server on uvicorn, with uvloop and httptools. After the port comes ``sse`` or ``json``."""

from __future__ import annotations

import sys

import uvicorn
from _peers.tools import build_server


def main(port: str, mode: str) -> None:
    app = build_server().streamable_http_app(json_response=mode == "json")
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
