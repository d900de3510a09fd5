"""What each HTTP method does, once a request has been let in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import trio
from starlette.requests import Request as HTTPRequest

from .._errors import (
    EventsExpiredError,
    ReaderClosedError,
    SessionClosedError,
    UnknownEventError,
    UnknownStreamError,
)
from .._ids import EventId
from .._reader import EventReader
from .._reasons import CloseReason
from .._session import Session
from .._slow_readers import SlowReaders
from .._window import Event
from . import _seam
from ._house import Guest, House
from ._jsonrpc import INTERNAL_ERROR, Answer, Message, Notification, Request
from ._nudges import Nudges
from ._options import Options
from ._reply import Reply
from ._response import WHOLE_BODY, Response, Scope
from ._seam import Exchange
from ._subscriptions import LISTEN
from ._wire import (
    LAST_EVENT_ID,
    RETRY_AFTER,
    SESSION_HEADER,
    VERSION_HEADER,
    Headers,
    RefusedError,
    check_accepts_events,
    check_post,
    has_envelope,
    method_not_allowed,
    read_body,
)


@final
class Handlers:
    """Handles the HTTP requests of an endpoint that is running.

    Args:
        house: Its sessions.
        options: Its options.
        pings: What keeps its responses alive.
        nudges: What ends the wait for an answer that is to be streamed if it takes longer.
    """

    def __init__(self, house: House, options: Options, pings: Nudges, nudges: Nudges) -> None:
        self.pings = pings
        self._nudges = nudges
        self._house = house
        self._options = options
        self._subscriptions: Counter[str | None] = Counter()

    @property
    def stopping(self) -> bool:
        """Whether no sessions are opened any more."""
        return self._house.sessions.reason is not None

    async def handle(self, scope: Scope, headers: Headers, response: Response) -> None:
        """Handle a POST, GET or DELETE.

        Raises:
            RefusedError: The request is refused.
            LimitError: There is no room for what it asks for.
            ManagerClosedError: The server is stopping.
            SessionClosedError: Its session has just ended.
            ClientDisconnectedError: The client went away before it had sent its request.
        """
        version = headers.get(VERSION_HEADER)
        if (session_id := self._house.may_restore(headers)) is not None:
            await self._house.restore(session_id, self._options.principal(scope), HTTPRequest(scope))
        if scope["method"] == "POST":
            await self._post(scope, headers, version, response)
            return
        if self._options.stateless or version in _seam.MODERN_VERSIONS:
            raise method_not_allowed("POST")
        _seam.check_version(version)
        guest = self._house.find(headers, self._options.principal(scope))
        if scope["method"] == "GET":
            await self._get(guest, scope, headers, response)
        else:
            await self._delete(guest, response)

    # POST

    async def _post(self, scope: Scope, headers: Headers, version: str | None, response: Response) -> None:
        options = self._options
        handshake = version is None or version in _seam.HANDSHAKE_VERSIONS
        guest: Guest | None = None
        if handshake and not options.stateless and headers.get(SESSION_HEADER) is not None:
            # A session that has ended is 404, whatever else is wrong ("Session Management").
            guest = self._house.find(headers, options.principal(scope))
        check_post(headers, json_only=options.json_response)
        # Some servers say that all of the body has arrived already.
        timeout = math.inf if WHOLE_BODY in scope.get("extensions", ()) else options.body_timeout
        message = read_body(await response.read_body(options.max_body, headers.content_length(), timeout))
        http = HTTPRequest(scope)
        if not handshake or (version is None and not isinstance(message, list) and has_envelope(message)):
            await self._post_modern(message, http, headers, response)
        elif options.stateless:
            await self._post_stateless(message, http, version, response)
        elif isinstance(message, Request) and message.method == "initialize" and guest is None:
            await self._initialize(self._exchange(message, http), response)
        else:
            if guest is None or guest.session.reason is not None:
                guest = self._house.find(headers, options.principal(scope))
            await self._post_handshake(guest, message, http, response)

    async def _initialize(self, exchange: Exchange, response: Response) -> None:
        scope = exchange.http.scope
        guest = await self._house.welcome(self._options.principal(scope), peer(scope))
        guest.session.idle_timeout = self._options.initialize_timeout
        try:
            reply = Reply(
                session=guest.session,
                stream=guest.start([exchange], peer(scope), math.inf),
                exchanges=[exchange],
                resumable=True,
                primed=_seam.reconnects((exchange.request.params or {}).get("protocolVersion")),
                # The answer opens the session, so it is waited for; unless everything is streamed.
                delay=math.inf if self._delay() else 0,
                headers={SESSION_HEADER: str(guest.session.id)},
            )
            await reply.send(response, self._options, self._nudges)
        finally:
            if not guest.conversation.initialized:
                guest.session.close(CloseReason.FAILED)

    async def _post_handshake(
        self, guest: Guest, message: Message | list[Message], http: HTTPRequest, response: Response
    ) -> None:
        batch = isinstance(message, list)
        messages = self._checked_batch(guest, message) if isinstance(message, list) else [message]
        exchanges: list[Exchange] = []
        for one in messages:
            if isinstance(one, Request):
                exchanges.append(self._exchange(one, http, alone=not batch))
            elif isinstance(one, Answer):
                guest.conversation.handle_answer(one)
            else:
                await self._notification(guest.session, partial(guest.conversation.handle_notification, one, http))
        if not exchanges:
            self._heard_of(guest)
            await response.whole(202)
            return
        reply = Reply(
            session=guest.session,
            stream=guest.start(exchanges, peer(http.scope), self._options.abandon_after),
            exchanges=exchanges,
            batch=batch,
            resumable=True,
            primed=guest.conversation.reconnects,
            delay=self._delay(),
        )
        self._no_longer_half_open(guest)
        await reply.send(response, self._options, self._nudges)

    def _heard_of(self, guest: Guest) -> None:
        """Note a sign of life, where no stream or reader is about to be one."""
        self._no_longer_half_open(guest)
        guest.session.touch()

    def _no_longer_half_open(self, guest: Guest) -> None:
        guest.session.idle_timeout = self._house.sessions.limits.idle_timeout

    def _exchange(self, request: Request, http: HTTPRequest, *, alone: bool = True) -> Exchange:
        return Exchange(request, http, alone=alone, silent=self._options.json_response)

    def _delay(self) -> float:
        return math.inf if self._options.json_response else self._options.sse_delay

    def _checked_batch(self, guest: Guest, messages: list[Message]) -> list[Message]:
        if guest.conversation.protocol_version not in _seam.BATCH_VERSIONS:
            raise RefusedError(400, "Invalid request: this session's protocol revision has no batches")
        if len(messages) > self._options.max_batch:
            raise RefusedError(400, f"Invalid request: a batch may have {self._options.max_batch} messages at most")
        if any(isinstance(message, Request) and message.method == "initialize" for message in messages):
            # 2025-03-26, "Initialization".
            raise RefusedError(400, "Invalid request: initialize must not be part of a batch")
        return messages

    async def _notification(self, session: Session, handle: Callable[[], Awaitable[None]]) -> None:
        # Its handler is no stream, but ends with the session all the same.
        streams = self._house.sessions.streams
        with trio.CancelScope() as scope:
            stream_id = streams.register_stream(session.id, kind="notification", scope=scope)
            try:
                await handle()
            finally:
                streams.unregister_stream(session.id, stream_id)

    async def _post_modern(
        self, message: Message | list[Message], http: HTTPRequest, headers: Headers, response: Response
    ) -> None:
        if not isinstance(message, Request | Notification):
            raise RefusedError(400, "Invalid request: revision 2026-07-28 has neither batches nor answers from clients")
        if isinstance(message, Notification):
            # There is nothing for one to act on; a client cancels by closing the response.
            _seam.check_version(headers.get(VERSION_HEADER))
            await response.whole(202)
            return
        route = _seam.classify(message, headers)
        exchange = self._exchange(message, http)
        await _seam.check_parameter_headers(exchange, self._house.server, self._house.state, route)
        # Errors have HTTP statuses of their own ("Per-request protocol fields", "Protocol Version Header"), for which
        # nothing must have been sent. Nor is there anything to send before: this revision cannot resume.
        delay = max(self._delay(), self._options.ping_interval)
        if message.method == LISTEN:
            # The answer to this one is the stream.
            check_accepts_events(headers)
            exchange.silent = False
            exchange.durable = self._house.sessions.streams.log.durable
            with self._subscription(message, self._options.principal(http.scope)):
                await self._single(exchange, route, response, kind="listen", delay=delay, statuses=True)
        else:
            await self._single(exchange, route, response, kind="post", delay=delay, statuses=True)

    @contextmanager
    def _subscription(self, message: Request, principal: str | None) -> Generator[None]:
        """Count a subscription: the SDK's handler bounds those of all clients, so one could take them all."""
        if principal is not None and self._subscriptions[principal] >= self._options.max_subscriptions:
            raise RefusedError(
                429,
                f"Too many subscriptions: a client may hold {self._options.max_subscriptions}",
                code=INTERNAL_ERROR,
                headers=RETRY_AFTER,
                request_id=message.id,
            )
        self._subscriptions[principal] += 1
        try:
            yield
        finally:
            self._subscriptions[principal] -= 1
            if not self._subscriptions[principal]:
                del self._subscriptions[principal]

    async def _post_stateless(
        self, message: Message | list[Message], http: HTTPRequest, version: str | None, response: Response
    ) -> None:
        if isinstance(message, list):
            raise RefusedError(400, "Invalid request: a server without sessions takes no batches")
        route, house = _seam.route_of(version), self._house
        if isinstance(message, Request):
            await self._single(self._exchange(message, http), route, response, kind="post", delay=self._delay())
            return
        if isinstance(message, Notification):
            session = await house.implicit(self._options.principal(http.scope))
            await self._notification(
                session, partial(_seam.notify_single, message, http, house.server, house.state, route)
            )
        # Nobody has asked what an answer answers.
        await response.whole(202)

    async def _single(
        self,
        exchange: Exchange,
        route: _seam.Route,
        response: Response,
        *,
        kind: str,
        delay: float,
        statuses: bool = False,
    ) -> None:
        """Serve a request that belongs to no session of its client's, and that ends with its connection."""
        house, scope = self._house, exchange.http.scope
        # Who listens can subscribe again and look for itself, which is better than not to know what it has missed. Who
        # waits for an answer has no other way to it than this response.
        slow = SlowReaders() if kind == "listen" else SlowReaders(wait=self._options.slow_reader_timeout, skip=True)
        while True:
            session = await house.implicit(self._options.principal(scope))
            try:
                stream = session.start_stream_nowait(
                    _seam.serve_single,
                    exchange,
                    house.server,
                    house.state,
                    route,
                    kind=kind,
                    connection_info=peer(scope),
                    slow_readers=slow,
                )
                break
            except SessionClosedError:
                # It has ended just now. The client knows nothing of it, and there is another one to be had.
                continue
        reply = Reply(
            session=session,
            stream=stream,
            exchanges=[exchange],
            resumable=False,
            statuses=statuses,
            delay=delay,
        )
        try:
            await reply.send(response, self._options, self._nudges)
        finally:
            if not stream.log.finished:
                # 2026-07-28, "Cancellation": a client that closes the response cancels the request.
                stream.cancel(CloseReason.DISCONNECTED)

    # GET and DELETE

    async def _get(self, guest: Guest, scope: Scope, headers: Headers, response: Response) -> None:
        check_accepts_events(headers)
        self._heard_of(guest)
        last_event_id = headers.get(LAST_EVENT_ID)
        try:
            if last_event_id is None or not await self._resume(guest, EventId.parse(last_event_id), response):
                stream = guest.listening.claim(peer(scope))
                async with guest.session.open_reader(stream.id, after=None, supersede=True) as reader:
                    await self._replay(guest, reader, [], response)
        except EventsExpiredError as exc:
            first = EventId(exc.stream_id, exc.first)
            raise RefusedError(400, f"Cannot resume: {exc}", data={"outcome": "gap", "first": str(first)}) from None
        except (ValueError, UnknownStreamError, UnknownEventError):
            raise RefusedError(
                400,
                "Cannot resume: this session has no such event, or no longer; send a GET without Last-Event-ID",
                data={"outcome": "unknown"},
            ) from None

    async def _resume(self, guest: Guest, position: EventId, response: Response) -> bool:
        """Send what follows an event; return whether there was anything to say."""
        async with guest.session.open_reader(position.stream_id, after=position.seq, supersede=True) as reader:
            events: list[Event] = []
            if not self._house.sessions.streams.is_stream_active(reader.stream_id):
                try:
                    # The stream has ended, so this does not wait for it.
                    events = await reader.receive_some()
                except trio.EndOfChannel:
                    if reader.stream_id in guest.listening.known:
                        return False
                    # The client has it all, and would come back for more after an empty stream. "A client can be
                    # told to stop reconnecting using the HTTP 204 No Content response code" (HTML, section 9.2.1).
                    await response.whole(204)
                    return True
                except ReaderClosedError:
                    # A newer reader has taken over meanwhile; below is what that ends in.
                    pass
            await self._replay(guest, reader, events, response)
        return True

    async def _replay(self, guest: Guest, reader: EventReader, events: list[Event], response: Response) -> None:
        primed = guest.conversation.reconnects
        await response.events(reader, events, resumable=True, primed=primed, options=self._options)

    async def _delete(self, guest: Guest, response: Response) -> None:
        guest.session.close(CloseReason.TERMINATED)
        with trio.move_on_after(self._house.sessions.limits.drain_timeout):
            await guest.session.wait_closed()
        await response.whole(200)


def peer(scope: Mapping[str, Any]) -> str | None:
    """Return where an HTTP request comes from, as the server has seen it."""
    client = scope.get("client")
    if not client:
        return None
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
