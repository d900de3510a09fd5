"""Running a server on HTTP: an endpoint on Hypercorn's Trio worker, with a clean start and a clean stop."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Unpack, cast

import hypercorn.config
import hypercorn.trio
import trio

from .._manager import SessionManager
from ._endpoint import StreamableHTTPEndpoint
from ._jsonrpc import INVALID_REQUEST, error
from ._options import EndpointOptions
from ._response import Receive, Response, Scope, Send
from ._seam import AnyServer
from ._wire import default_hosts

logger: Final = logging.getLogger("streamscope.mcp")


async def serve(
    server: AnyServer,
    sessions: SessionManager | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    path: str = "/mcp",
    grace: float = 5.0,
    stop: trio.Event | None = None,
    handle_signals: bool = True,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[EndpointOptions],
) -> None:
    """Serve an MCP server over Streamable HTTP until it is told to stop.

    Stopping is clean: every request under way is answered with the reason,
    every stream ends, and only then are the connections closed.

    Args:
        server: An ``MCPServer``, or a low-level ``Server``, of the official SDK.
        sessions: The session manager to use, as in `StreamableHTTPEndpoint`. It is closed when the server stops.
        host: The address to listen on. On a loopback address, foreign ``Host`` and ``Origin``
            headers are refused unless ``hosts`` says otherwise.
        port: The port to listen on; 0 for any that is free.
        path: The path of the endpoint.
        grace: Seconds that a clean stop may take.
        stop: Set it to stop.
        handle_signals: Whether SIGINT and SIGTERM stop the server cleanly, and a second one at
            once. Only ever in the main thread.
        task_status: For ``nursery.start(serve, ...)``: started with the endpoint's URL.
        options: Those of `StreamableHTTPEndpoint`.

    Raises:
        OSError: The address cannot be listened on.
    """
    options.setdefault("hosts", default_hosts(host))
    if stop is None:
        stop = trio.Event()
    config = hypercorn.config.Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    # Its default ends a connection after a thousand requests.
    config.keep_alive_max_requests = 2**62
    # The goodbyes have been said by then; what is left are idle connections.
    config.graceful_timeout = 0.5
    # Before there is a nursery, which would wrap its errors.
    with _listen(host, port, config.backlog) as listener:
        async with StreamableHTTPEndpoint(server, sessions, **options) as endpoint, trio.open_nursery() as nursery:
            if handle_signals and threading.current_thread() is threading.main_thread():
                await nursery.start(_heed_signals, stop, nursery.cancel_scope)

            async def stopped() -> None:
                await stop.wait()
                await endpoint.close(grace)

            config.bind = [f"fd://{listener.detach()}"]
            # Hypercorn's types name a module that is there only beside a WSGI stack.
            serve_asgi = cast("Callable[..., Awaitable[None]]", hypercorn.trio.serve)  # pyright: ignore[reportUnknownMemberType]
            await serve_asgi(
                partial(_at, path, endpoint),
                config,
                shutdown_trigger=stopped,
                task_status=_Listening(path, task_status),
                mode="asgi",
            )
            nursery.cancel_scope.cancel()


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


class _Listening(trio.TaskStatus[list[str]]):
    """Turns Hypercorn's report of where it listens into the endpoint's URL."""

    def __init__(self, path: str, task_status: trio.TaskStatus[str]) -> None:
        self._path = path
        self._task_status = task_status

    def started(self, value: Any = None) -> None:
        self._task_status.started(value[0] + self._path)


async def _heed_signals(
    stop: trio.Event, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                scope.cancel(reason="a second signal")
            stop.set()


async def _at(path: str, endpoint: StreamableHTTPEndpoint, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the endpoint at one path, and nothing at any other."""
    if scope["type"] == "lifespan":
        # The endpoint runs around the server, not within it.
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http" and scope["path"].rstrip("/") != path.rstrip("/"):
        body = error(None, INVALID_REQUEST, f"Not found; the MCP endpoint is at {path}")
        await Response(receive, send).whole(404, body)
    else:
        await endpoint(scope, receive, send)
