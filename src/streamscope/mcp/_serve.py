"""Running a server on HTTP: an endpoint on an HTTP server, with a clean start and a clean stop."""

from __future__ import annotations

import logging
import math
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, Literal, TypeAlias, Unpack, cast

import attrs
import trio

from .. import http
from .._manager import SessionManager
from ._collector import collecting_after
from ._endpoint import StreamableHTTPEndpoint
from ._jsonrpc import INVALID_REQUEST, error
from ._options import EndpointOptions
from ._response import Receive, Scope, Send, send_whole
from ._seam import AnyServer
from ._wire import default_hosts

logger: Final = logging.getLogger("streamscope.mcp")
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Run: TypeAlias = Callable[
    [Application, socket.socket, Callable[[], Awaitable[None]], trio.TaskStatus[Any]], Awaitable[None]
]

_BACKLOG: Final = 1000
# The goodbyes have been said by then; what is left are idle connections.
_GRACE: Final = 0.5


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
    http_server: Literal["streamscope", "hypercorn"] = "streamscope",
    http_limits: http.HTTPLimits | None = None,
    gc_threshold: int | None = 20_000,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[EndpointOptions],
) -> None:
    """Serve an MCP server over Streamable HTTP until it is told to stop.

    Stopping is clean: every request under way is answered with the reason,
    every stream ends, and each connection is closed behind its last answer.

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
        http_server: What speaks HTTP: `streamscope.http`, or Hypercorn's Trio worker.
        http_limits: The bounds of `streamscope.http`, less those of bodies, which the endpoint has itself.
        gc_threshold: New objects after which Python's garbage collector starts in this process while the server runs;
            by default it would start after 700, and with a thousand calls under way do little else. ``None``
            leaves it alone, where a program has its own idea of it.
        task_status: For ``nursery.start(serve, ...)``: started with the endpoint's URL.
        options: Those of `StreamableHTTPEndpoint`.

    Raises:
        OSError: The address cannot be listened on.
        ValueError: There is no such HTTP server, or it takes no such limits, or an option is out of range.
    """
    if gc_threshold is not None and gc_threshold < 1:
        raise ValueError(f"gc_threshold must be at least 1, or None, not {gc_threshold!r}")
    if stop is None:
        stop = trio.Event()
    run = _choose(http_server, http_limits, stop)
    options.setdefault("hosts", default_hosts(host))
    # Before there is a nursery, which would wrap its errors.
    collecting = nullcontext() if gc_threshold is None else collecting_after(gc_threshold)
    with _listen(host, port) as listener, collecting:
        async with StreamableHTTPEndpoint(server, sessions, **options) as endpoint, trio.open_nursery() as nursery:
            if handle_signals and threading.current_thread() is threading.main_thread():
                await nursery.start(_heed_signals, stop, nursery.cancel_scope)

            async def stopped() -> None:
                await stop.wait()
                # To end thousands of streams makes so many objects that the garbage collector would look through all
                # that is open again and again, and find nothing.
                with collecting_after(0):
                    await endpoint.close(grace)

            await run(partial(_at, path, endpoint), listener, stopped, _Started(_url(listener, path), task_status))
            nursery.cancel_scope.cancel()


def _choose(http_server: str, limits: http.HTTPLimits | None, stop: trio.Event) -> Run:
    """Say what runs the endpoint."""
    if http_server == "streamscope":
        return partial(_run_streamscope, limits=limits or http.HTTPLimits(), stop=stop)
    if http_server == "hypercorn":
        if limits is not None:
            raise ValueError("http_limits are those of streamscope.http; Hypercorn has bounds of its own")
        return _run_hypercorn
    raise ValueError(f"http_server is 'streamscope' or 'hypercorn', not {http_server!r}")


async def _run_streamscope(
    app: Application,
    listener: socket.socket,
    stopped: Callable[[], Awaitable[None]],
    status: trio.TaskStatus[Any],
    *,
    limits: http.HTTPLimits,
    stop: trio.Event,
) -> None:
    # The endpoint bounds bodies itself, and refuses them in its own words.
    limits = attrs.evolve(limits, max_body=math.inf, body_timeout=math.inf)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    async with trio.open_nursery() as nursery:
        # How long the goodbyes take is the endpoint's affair. Each connection ends behind its own.
        nursery.start_soon(
            partial(http.serve, app, listeners, limits=limits, stop=stop, grace=math.inf, task_status=status)
        )
        await stopped()
        nursery.cancel_scope.deadline = trio.current_time() + _GRACE


async def _run_hypercorn(
    app: Application, listener: socket.socket, stopped: Callable[[], Awaitable[None]], status: trio.TaskStatus[Any]
) -> None:
    import hypercorn.config  # noqa: PLC0415 - nobody else needs it
    import hypercorn.trio  # noqa: PLC0415 - see above

    config = hypercorn.config.Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    # Its default ends a connection after a thousand requests.
    config.keep_alive_max_requests = 2**62
    config.graceful_timeout = _GRACE
    config.bind = [f"fd://{listener.detach()}"]
    # Hypercorn's types name a module that is there only beside a WSGI stack.
    serve_asgi = cast("Callable[..., Awaitable[None]]", hypercorn.trio.serve)  # pyright: ignore[reportUnknownMemberType]
    await serve_asgi(app, config, shutdown_trigger=stopped, task_status=status, mode="asgi")


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket, path: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


class _Started(trio.TaskStatus[Any]):
    """Turns an HTTP server's report that it accepts connections into the endpoint's URL."""

    def __init__(self, url: str, task_status: trio.TaskStatus[str]) -> None:
        self._url = url
        self._task_status = task_status

    def started(self, value: Any = None) -> None:
        self._task_status.started(self._url)


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
        await send_whole(send, 404, body)
    else:
        await endpoint(scope, receive, send)
