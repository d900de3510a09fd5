"""The Streamable HTTP endpoint: an ASGI application that serves one MCP server.

Theory of operation. An HTTP request never runs a handler itself. A POST that
carries a request opens a stream in its session, whose task runs the handler,
and then does what a resuming GET does: it reads the stream's events from the
log. So a client that loses its connection loses a reader and nothing else, and
there is one path by which events reach a response, whoever asks for them and
whenever.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Unpack, final

import trio

from .._errors import LimitError, ManagerClosedError, SessionClosedError
from .._manager import SessionManager
from .._open import open_session_manager
from .._reasons import CloseReason
from . import _seam
from ._handlers import Handlers
from ._house import House
from ._jsonrpc import INTERNAL_ERROR
from ._nudges import Nudges
from ._options import EndpointOptions, split
from ._response import ClientDisconnectedError, Receive, Response, Scope, Send
from ._wire import RETRY_AFTER, Headers, RefusedError, check_method, session_not_found

logger: Final = logging.getLogger("streamscope.mcp")
CLIENT_CLOSED_REQUEST: Final = 499
"""The status that nginx logs then. No RFC has one: it is never seen by a client."""


@final
class StreamableHTTPEndpoint:
    """Serves an MCP server over Streamable HTTP, at whatever path it is mounted.

    It must be running before it is called. A server that speaks the ASGI
    lifespan protocol sees to that; elsewhere it is the application's to do::

        async with StreamableHTTPEndpoint(server) as app:
            ...

    Args:
        server: An ``MCPServer``, or a low-level ``Server``, of the official SDK.
        sessions: The session manager to use. Without one, the endpoint has its own, with the limits given here.
        options: The fields of `Options`; and those of `Limits`, for the endpoint's own session manager.

    Raises:
        ValueError: An option is out of range, or limits are given beside a session manager.
    """

    def __init__(
        self,
        server: _seam.AnyServer,
        sessions: SessionManager | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._options, self._limits = split(options)
        if sessions is not None and self._limits:
            raise ValueError("the session manager has its own limits; give it those, or leave it out")
        self._server = _seam.low_level(server)
        self._given_sessions = sessions
        self._stack = AsyncExitStack()
        self._handlers: Handlers | None = None
        self._sessions: SessionManager | None = None
        self._responses = 0
        self._quiet = trio.Event()

    # Running

    @property
    def sessions(self) -> SessionManager:
        """The session manager.

        Raises:
            RuntimeError: The endpoint is not running.
        """
        self._running()
        assert self._sessions is not None
        return self._sessions

    def _running(self) -> Handlers:
        if self._handlers is None:
            raise RuntimeError(
                "the endpoint is not running: use `async with endpoint:` around the server, or (in an "
                "application that it is mounted in) in the application's lifespan"
            )
        return self._handlers

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> StreamableHTTPEndpoint:
        if self._handlers is not None:
            raise RuntimeError("the endpoint is running already")
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "the endpoint runs under Trio only: use an ASGI server that does, "
                "such as Hypercorn (`hypercorn --worker-class trio`)"
            )
        await trio.lowlevel.checkpoint()
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(_seam.lifespan(self._server))
            sessions = self._given_sessions
            if sessions is None:
                sessions = await stack.enter_async_context(open_session_manager(**self._limits))
            pings, nudges = Nudges(self._options.ping_interval), Nudges(self._options.sse_delay)
            for timer in (pings, nudges):
                sessions.nursery.start_soon(timer.run)
                stack.callback(timer.stop)
            house = House(self._server, state, sessions, self._options)
            # Handlers must not outlive what the server's lifespan gave them, whosever the session manager is.
            stack.push_async_callback(house.close)
            self._stack = stack.pop_all()
        self._sessions = sessions
        self._handlers = Handlers(house, self._options, pings, nudges)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._handlers = None
        return await self._stack.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - each context knows how it is left

    async def close(self, grace: float = 5.0) -> None:
        """End all sessions of its manager, each request answered with the reason, and wait until clients have it.

        To be called before the HTTP server cuts its connections.

        Args:
            grace: Seconds to wait at most.
        """
        self.sessions.close(CloseReason.SHUTDOWN)
        with trio.move_on_after(grace):
            await self.sessions.wait_closed()
            while self._responses:
                self._quiet = trio.Event()
                await self._quiet.wait()

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection: an HTTP request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            self._responses += 1
            try:
                await self._serve(scope, receive, send)
            finally:
                self._responses -= 1
                if not self._responses:
                    self._quiet.set()
        else:
            raise ValueError(f"an MCP endpoint serves http, not {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        step = "startup"
        try:
            async with self:
                await send({"type": "lifespan.startup.complete"})
                step = "shutdown"
                await receive()
        except Exception as exc:
            # Some servers go on otherwise, and every request fails.
            message = f"{type(exc).__name__}: {exc}"
            await send({"type": f"lifespan.{step}.failed", "message": message})  # noqa: ASYNC120 - as intended
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        handlers = self._running()
        response = Response(receive, send, handlers.pings)
        headers = Headers(scope["headers"])
        try:
            self._options.hosts.check(headers)
            check_method(scope["method"])
            await handlers.handle(scope, headers, response)
        except RefusedError as exc:
            await response.refuse(exc)
        except LimitError as exc:
            full = RefusedError(503, f"The server is full: {exc}", code=INTERNAL_ERROR, headers=RETRY_AFTER)
            await response.refuse(full)
        except (ManagerClosedError, SessionClosedError):
            if handlers.stopping:
                # A new session is not to be had either.
                stopping = RefusedError(503, "The server is stopping", code=INTERNAL_ERROR, headers=RETRY_AFTER)
                await response.refuse(stopping)
            else:
                await response.refuse(session_not_found())
        except ClientDisconnectedError:
            logger.debug("a client went away before it was answered")
            # Nobody reads this; but Starlette's BaseHTTPMiddleware takes an application without an answer for a
            # broken one. A server may raise here (ASGI 2.4, "Disconnected Client").
            with suppress(OSError):
                await response.whole(CLIENT_CLOSED_REQUEST)
