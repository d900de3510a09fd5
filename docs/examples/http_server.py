"""An ASGI application on streamscope's HTTP server: it counts for as long as somebody listens."""

import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from streamscope.http import HTTPLimits, serve

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # so it is served without a lifespan
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for number in range(1_000_000):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await trio.sleep(0.1)
    print("the client went away", flush=True)


async def main(port: int) -> None:
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
            limits = HTTPLimits(max_body=2**20, idle_timeout=30)
            await nursery.start(partial(serve, app, listeners, limits=limits, stop=stop, grace=0.5))
            print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/", flush=True)
            await anext(signals)
            stop.set()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
