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
import math
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Unpack, final

import trio
from starlette.requests import Request as HTTPRequest

from .._errors import (
    EventsExpiredError,
    LimitError,
    ManagerClosedError,
    SessionClosedError,
    UnknownEventError,
    UnknownStreamError,
)
from .._ids import EventId
from .._limits import LimitOptions
from .._manager import SessionManager
from .._open import open_session_manager
from .._reasons import CloseReason
from .._session import Session
from .._stream import Stream
from .._util import check_count, check_seconds
from . import _seam
from ._house import RETRY_AFTER, Guest, House
from ._jsonrpc import INTERNAL_ERROR, Answer, Message, Notification, Request
from ._response import ClientDisconnectedError, Receive, Response, Scope, Send
from ._seam import Exchange
from ._wire import (
    LAST_EVENT_ID,
    SESSION_HEADER,
    VERSION_HEADER,
    Headers,
    HostPolicy,
    RefusedError,
    check_get,
    check_method,
    check_post,
    goodbye,
    has_envelope,
    method_not_allowed,
    read_body,
)

logger: Final = logging.getLogger("streamscope.mcp")


class EndpointOptions(LimitOptions, total=False):
    """The options of `StreamableHTTPEndpoint`, as other functions take them."""

    sse_delay: float
    ping_interval: float
    retry: float | None
    max_body: int
    listen_grace: float
    max_listeners: int
    hosts: HostPolicy | None
    principal: Callable[[Mapping[str, Any]], str | None]


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
        sse_delay: Seconds to wait for a request's answer before it is streamed. An answer that comes
            first, and alone, is sent as JSON. With 0, every answer is streamed.
        ping_interval: Seconds without an event after which a comment is sent on a stream.
        retry: Seconds after which a client that loses a connection should come back; ``None`` leaves it to the client.
        max_body: Bytes that a request's body may have. More: 413.
        listen_grace: Seconds that a GET stream waits for its client to come back. Then it ends, as ``idle``.
        max_listeners: GET streams that one session may hold. One more ends the oldest, as ``superseded``.
        hosts: Which ``Host`` and ``Origin`` headers are let in; by default any.
        principal: Says who makes a request, given its ASGI scope.
        limits: The fields of `Limits`, for the endpoint's own session manager.

    Raises:
        ValueError: An option is out of range, or limits are given beside a session manager.
    """

    def __init__(
        self,
        server: _seam.AnyServer,
        sessions: SessionManager | None = None,
        *,
        sse_delay: float = 0.1,
        ping_interval: float = 15.0,
        retry: float | None = None,
        max_body: int = 4 * 2**20,
        listen_grace: float = 300.0,
        max_listeners: int = 16,
        hosts: HostPolicy | None = None,
        principal: Callable[[Mapping[str, Any]], str | None] = _seam.principal_of,
        **limits: Unpack[LimitOptions],
    ) -> None:
        if sessions is not None and limits:
            raise ValueError("the session manager has its own limits; give it those, or leave it out")
        check_seconds("ping_interval", ping_interval)
        check_seconds("listen_grace", listen_grace)
        check_count("max_body", max_body)
        check_count("max_listeners", max_listeners)
        self._server = _seam.low_level(server)
        self._given_sessions = sessions
        self._limits = limits
        self._sse_delay = sse_delay
        self._ping_interval = ping_interval
        self._retry = retry
        self._max_body = max_body
        self._listen_grace = listen_grace
        self._max_listeners = max_listeners
        self._hosts = HostPolicy() if hosts is None else hosts
        self._principal = principal
        self._stack = AsyncExitStack()
        self._house: House | None = None
        self._responses = 0
        self._quiet = trio.Event()

    # Running

    @property
    def sessions(self) -> SessionManager:
        """The session manager.

        Raises:
            RuntimeError: The endpoint is not running.
        """
        return self._running().sessions

    def _running(self) -> House:
        if self._house is None:
            raise RuntimeError(
                "the endpoint is not running: use `async with endpoint:` around the server, or (in an "
                "application that it is mounted in) in the application's lifespan"
            )
        return self._house

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> StreamableHTTPEndpoint:
        if self._house is not None:
            raise RuntimeError("the endpoint is running already")
        await trio.lowlevel.checkpoint()
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(_seam.lifespan(self._server))
            sessions = self._given_sessions
            if sessions is None:
                sessions = await stack.enter_async_context(open_session_manager(**self._limits))
            self._stack = stack.pop_all()
        self._house = House(
            self._server, state, sessions, listen_grace=self._listen_grace, max_listeners=self._max_listeners
        )
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._house = None
        return await self._stack.__aexit__(exc_type, exc, traceback)

    async def close(self, grace: float = 5.0) -> None:
        """End all sessions, each request answered with the reason, and wait until that has reached the clients.

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
                await self._serve(scope, Response(receive, send))
            finally:
                self._responses -= 1
                if not self._responses:
                    self._quiet.set()
        else:
            raise ValueError(f"an MCP endpoint serves http, not {scope['type']}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, response: Response) -> None:
        house = self._running()
        headers = Headers(scope["headers"])
        try:
            self._hosts.check(headers)
            check_method(scope["method"])
            version = headers.get(VERSION_HEADER)
            if scope["method"] == "POST":
                await self._post(house, scope, headers, version, response)
            elif version in _seam.MODERN_VERSIONS:
                raise method_not_allowed("POST")
            else:
                _seam.check_version(version)
                guest = house.find(headers, self._principal(scope))
                if scope["method"] == "GET":
                    await self._get(guest, scope, headers, response)
                else:
                    await self._delete(guest, response)
        except RefusedError as exc:
            await response.refuse(exc)
        except LimitError as exc:
            full = RefusedError(503, f"The server is full: {exc}", code=INTERNAL_ERROR, headers=RETRY_AFTER)
            await response.refuse(full)
        except ManagerClosedError:
            await response.refuse(RefusedError(503, "The server is stopping", code=INTERNAL_ERROR, headers=RETRY_AFTER))
        except ClientDisconnectedError:
            logger.debug("a client went away while it sent its request")

    # POST

    async def _post(
        self, house: House, scope: Scope, headers: Headers, version: str | None, response: Response
    ) -> None:
        check_post(headers)
        message = read_body(await response.read_body(self._max_body, headers.content_length()))
        if isinstance(message, list):
            raise RefusedError(400, "Batches are not served; send each message by itself")
        http = HTTPRequest(scope)
        if (version is not None and version not in _seam.HANDSHAKE_VERSIONS) or (
            version is None and has_envelope(message)
        ):
            await self._post_modern(house, message, http, headers, response)
        elif isinstance(message, Request) and message.method == "initialize" and headers.get(SESSION_HEADER) is None:
            await self._initialize(house, Exchange(message, http), response)
        else:
            guest = house.find(headers, self._principal(scope))
            await self._post_handshake(guest, message, http, response)

    async def _initialize(self, house: House, exchange: Exchange, response: Response) -> None:
        guest = await house.welcome(self._principal(exchange.http.scope), peer(exchange.http.scope))
        try:
            # The answer opens the session, so it is waited for; unless everything is streamed.
            delay = math.inf if self._sse_delay else 0
            await self._request(guest, exchange, response, delay, {SESSION_HEADER: str(guest.session.id)})
        finally:
            if not guest.conversation.initialized:
                guest.session.close(CloseReason.FAILED)

    async def _post_handshake(self, guest: Guest, message: Message, http: HTTPRequest, response: Response) -> None:
        if isinstance(message, Request):
            await self._request(guest, Exchange(message, http), response, self._sse_delay)
            return
        if isinstance(message, Answer):
            guest.conversation.handle_answer(message)
        else:
            await self._notification(guest, message, http)
        await response.whole(202)

    async def _notification(self, guest: Guest, message: Notification, http: HTTPRequest) -> None:
        # Its handler is no stream, but ends with the session all the same.
        streams, session_id = self.sessions.streams, guest.session.id
        with trio.CancelScope() as scope:
            stream_id = streams.register_stream(session_id, kind="notification", scope=scope)
            try:
                await guest.conversation.handle_notification(message, http)
            finally:
                streams.unregister_stream(session_id, stream_id)

    async def _request(
        self,
        guest: Guest,
        exchange: Exchange,
        response: Response,
        delay: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = partial(guest.conversation.handle_request, exchange=exchange)
        stream = await guest.session.start_stream(body, kind="post", connection_info=peer(exchange.http.scope))
        await self._respond(guest.session, stream, exchange, response, delay, resumable=True, headers=headers)

    async def _post_modern(
        self, house: House, message: Message, http: HTTPRequest, headers: Headers, response: Response
    ) -> None:
        if isinstance(message, Answer):
            raise RefusedError(400, "Bad request: revision 2026-07-28 has no requests from the server to answer")
        if isinstance(message, Notification):
            # There is nothing for one to act on; a client cancels by closing the response.
            _seam.check_version(headers.get(VERSION_HEADER))
            await response.whole(202)
            return
        route = _seam.classify(message, headers)
        exchange = Exchange(message, http)
        await _seam.check_parameter_headers(exchange, house.server, house.state, route)
        session = await house.implicit(self._principal(http.scope))
        listening = message.method == _seam.LISTEN
        stream = await session.start_stream(
            partial(_seam.serve_single, exchange=exchange, server=house.server, state=house.state, route=route),
            kind="listen" if listening else "post",
            connection_info=peer(http.scope),
        )
        try:
            await self._respond(
                session, stream, exchange, response, 0 if listening else self._sse_delay, resumable=False
            )
        finally:
            # 2026-07-28, "Cancellation": a client that closes the response cancels the request.
            stream.cancel(CloseReason.DISCONNECTED)

    async def _respond(
        self,
        session: Session,
        stream: Stream,
        exchange: Exchange,
        response: Response,
        delay: float,
        *,
        resumable: bool,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer in JSON where the first event is the answer and comes soon; else stream."""
        try:
            async with session.open_reader(stream.id) as reader:
                events = []
                with trio.move_on_after(delay):
                    events = await reader.receive_some()
                if len(events) == 1 and reader.finished:
                    stream.log.discard()
                    if exchange.error_code is not None:
                        headers = None
                    await response.whole(_seam.http_status(exchange.error_code), events[0].data, headers)
                else:
                    await response.events(
                        reader,
                        events,
                        resumable=resumable,
                        retry=self._retry,
                        ping_interval=self._ping_interval,
                        headers=headers,
                    )
        except (SessionClosedError, UnknownStreamError):
            # The session ended before its first reader came.
            reason = session.reason or CloseReason.SHUTDOWN
            await response.whole(200, goodbye(exchange.request.id, reason))

    # GET and DELETE

    async def _get(self, guest: Guest, scope: Scope, headers: Headers, response: Response) -> None:
        check_get(headers)
        last_event_id = headers.get(LAST_EVENT_ID)
        try:
            if last_event_id is None:
                stream = await guest.listening.claim(peer(scope))
                position = EventId(stream.id, stream.log.first - 1)
            else:
                position = EventId.parse(last_event_id)
            opening = guest.session.open_reader(position.stream_id, after=position.seq, supersede=True)
            async with opening as reader:
                await response.events(reader, [], resumable=True, retry=self._retry, ping_interval=self._ping_interval)
        except EventsExpiredError as exc:
            raise RefusedError(
                400,
                f"Cannot resume: {exc}",
                data={"outcome": "gap", "first": str(EventId(exc.stream_id, exc.first))},
            ) from None
        except (ValueError, UnknownStreamError, UnknownEventError):
            raise RefusedError(
                400,
                "Cannot resume: there is no such event in this session; it may be kept no longer. "
                "Send a GET without Last-Event-ID",
                data={"outcome": "unknown"},
            ) from None
        except SessionClosedError:
            raise RefusedError(404, "Session not found: it has just ended") from None

    async def _delete(self, guest: Guest, response: Response) -> None:
        guest.session.close(CloseReason.TERMINATED)
        with trio.move_on_after(self.sessions.limits.drain_timeout):
            await guest.session.wait_closed()
        await response.whole(200)


def peer(scope: Mapping[str, Any]) -> str | None:
    """Return where an HTTP request comes from, as the server has seen it."""
    client = scope.get("client")
    if not client:
        return None
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
