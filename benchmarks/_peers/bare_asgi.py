"""A floor: an ASGI application that reads the request and answers always the same, on uvicorn."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from _peers.fixed import ANSWER

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


def main(port: str) -> None:
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", lifespan="off", log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
