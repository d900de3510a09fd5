"""The seam to the official SDK: all that streamscope knows of its insides is in this file, and in ``_subscriptions``.

Theory of operation. The SDK drives a server through a *dispatcher*, whose
``run()`` is given two callables: one handles a request and returns its result,
the other takes a notification. Its own dispatcher pumps memory streams; ours,
`Conversation`, just keeps the two callables. Each request then runs in the
task of a stream of its own, with a *dispatch context* through which the
handler talks back: what it sends is an event of that stream, and what belongs
to no request is an event of the session's listening stream.

The 2026-07-28 revision has no conversation: `serve_single` handles one request
by itself, with a context that cannot ask the client anything. How a client
listens there is in ``_subscriptions``.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

import anyio
import anyio.abc
import attrs
import trio
from mcp.server import MCPServer, Server
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.connection import Connection
from mcp.server.runner import ServerRunner, aclose_shielded, modern_error_data, serve_connection, serve_one
from mcp.shared.dispatcher import (
    CallOptions,
    DispatchContext,
    OnNotify,
    OnNotifyIntercept,
    OnRequest,
    ProgressFnT,
    as_request_id,
    coerce_request_id,
)
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    MCP_PARAM_HEADER_PREFIX,
    InboundLadderRejection,
    InboundModernRoute,
    classify_inbound_request,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
)
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    DEFAULT_NEGOTIATED_VERSION,
    HEADER_MISMATCH,
    REQUEST_TIMEOUT,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS, is_version_at_least
from pydantic import ValidationError
from starlette.requests import Request as HTTPRequest

from .._errors import EventLogFailedError, EventTooLargeError, LimitError, StreamClosedError
from .._reasons import CloseReason
from .._session import Session
from .._stream import Stream
from .._util import shorten
from . import _jsonrpc
from ._jsonrpc import CONNECTION_CLOSED, INTERNAL_ERROR, Answer, Notification, Request, RequestId
from ._listening import ListeningStreams
from ._subscriptions import LISTEN, listening
from ._wire import Headers, RefusedError, goodbye, restarted

logger: Final = logging.getLogger("streamscope.mcp")

AnyServer: TypeAlias = "MCPServer[Any] | Server[Any]"
Handler: TypeAlias = Callable[
    [DispatchContext[TransportContext], str, Mapping[str, Any] | None], Awaitable[dict[str, Any]]
]
Route: TypeAlias = InboundModernRoute
_CHANGED: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""What only says that the client should look again, so that once is enough."""
_MAX_TOOL_PAGES: Final = 100
_ANSWER_TIMEOUT: Final = 5.0
HANDSHAKE_VERSIONS: Final = frozenset(HANDSHAKE_PROTOCOL_VERSIONS)
MODERN_VERSIONS: Final = frozenset(MODERN_PROTOCOL_VERSIONS)
BATCH_VERSIONS: Final = frozenset({"2025-03-26"})
RECONNECTING_VERSION: Final = "2025-11-25"
"""The first revision whose clients come back where a server closes a stream's connection, and know an event
without data for what primes them to (SEP-1699). To older ones it is a message that cannot be read."""

_RECONNECTING: Final = frozenset(
    version for version in HANDSHAKE_VERSIONS | MODERN_VERSIONS if is_version_at_least(version, RECONNECTING_VERSION)
)


def low_level(server: AnyServer) -> Server[Any]:
    """Return the low-level server that handles a server's requests."""
    # The high-level class keeps it in a private attribute and has no other way to it.
    return server if isinstance(server, Server) else server._lowlevel_server  # noqa: SLF001


def lifespan(server: Server[Any]) -> AbstractAsyncContextManager[Any]:
    """Return the context manager of the server's own start and end."""
    return server.lifespan(server)


def principal_of(scope: Mapping[str, Any]) -> str | None:
    """Say who makes an HTTP request, as an authentication middleware has put it in the ASGI scope.

    For the SDK's bearer tokens that is the client, the issuer and the subject,
    never the token: a client that refreshes its token is still the same.

    Returns:
        A name for the principal, or ``None`` where nobody was authenticated.
    """
    user = scope.get("user")
    if isinstance(user, AuthenticatedUser):
        return json.dumps(authorization_context(user), sort_keys=True)
    if user is not None and getattr(user, "is_authenticated", False):
        return str(_identity(user) or user.display_name)
    return None


def _identity(user: Any) -> object:
    """Return what tells a user from all others, or ``None`` where it has no such thing."""
    try:
        return user.identity
    except (AttributeError, NotImplementedError):
        # Starlette's BaseUser has the property, and raises where a subclass leaves it out.
        return None


def http_status(error_code: int | None) -> int:
    """Return the HTTP status of an answer that is not streamed (2026-07-28, "Error handling")."""
    return 200 if error_code is None else ERROR_CODE_HTTP_STATUS.get(error_code, 200)


def route_of(version: str | None) -> Route:
    """Say how a handshake-era request is to be handled that belongs to no conversation."""
    return Route(version or DEFAULT_NEGOTIATED_VERSION, None, None)


def reconnects(version: object) -> bool:
    """Tell whether a client of this revision comes back where a server closes a stream's connection."""
    return isinstance(version, str) and version in _RECONNECTING


def check_version(version: str | None) -> None:
    """Check an ``MCP-Protocol-Version`` header ("Protocol Version Header").

    Raises:
        RefusedError: 400: that revision is not served.
    """
    if version is None or version in HANDSHAKE_VERSIONS or version in MODERN_VERSIONS:
        return
    supported = [*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS]
    raise RefusedError(
        400,
        "Unsupported protocol version",
        code=UNSUPPORTED_PROTOCOL_VERSION,
        data={"supported": supported, "requested": version},
    )


def classify(message: Request, headers: Headers) -> Route:
    """Check that a 2026-07-28 request agrees with its headers.

    Raises:
        RefusedError: It does not, or it is of a version that is not served.
    """
    verdict: Route | InboundLadderRejection
    if duplicate := find_duplicated_routing_header([(name, "") for name in headers.duplicates for _ in range(2)]):
        verdict = InboundLadderRejection(HEADER_MISMATCH, f"{duplicate} header appears more than once")
    else:
        body = {"method": message.method, "params": message.params}
        verdict = classify_inbound_request(body, headers=headers.as_dict())
    if isinstance(verdict, InboundLadderRejection):
        raise RefusedError(
            http_status(verdict.code), verdict.message, code=verdict.code, data=verdict.data, request_id=message.id
        )
    return verdict


@final
@attrs.define(eq=False)
class Exchange:
    """One request, from the HTTP request that brought it to its answer."""

    request: Request
    http: HTTPRequest
    alone: bool = True
    """Whether it came alone, so that its answer is the last event of its stream."""

    silent: bool = False
    """Whether nothing but its answer reaches the client."""

    durable: bool = False
    """Whether its events outlive the process, and so are stored later than they are sent."""

    cancelled: bool = False
    """Whether the client has cancelled the request."""

    release: Callable[[], None] | None = None
    """Closes the connections on which its stream is read, as long as it is handled, and if they show more than that."""

    unsent: bool = False
    """Whether its answer could not be stored, so that no reader of its stream will ever see it."""

    answered: bool = False
    """Whether it has had its answer, as far as that could be stored."""

    error_code: int | None = None
    """The JSON-RPC code of the answer, once there is one, if it is an error."""

    async def answer(self, stream: Stream, server: Server[Any], call: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Handle the request and send its answer: exactly one, whatever happens.

        A handler that is cancelled is answered for, with the reason.
        """
        reply: bytes | None = None
        try:
            reply = await self._find_reply(call)
            if self.alone:
                await self._send(stream, reply, patient=True)
            else:
                await stream.wait_for_readers(len(reply))
        finally:
            if not self.answered:
                if reply is None:
                    reason = CloseReason.CANCELLED if self.cancelled else stream.reason
                    reply = self._farewell(reason or CloseReason.SHUTDOWN, server)
                # Not to be cancelled: it is what a cancelled request is owed. Where it was cancelled on its way into
                # the log, it may be there, and is the last of its stream; among others, nobody could tell.
                with trio.CancelScope(shield=True, relative_deadline=_ANSWER_TIMEOUT), suppress(StreamClosedError):
                    await self._send(stream, reply, patient=False)

    async def close_connection(self) -> None:
        """Close the connection on which the request's stream is read; the client comes back for the rest."""
        await trio.lowlevel.checkpoint()
        if self.release is not None:
            self.release()

    async def _find_reply(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
        try:
            return _jsonrpc.result(self.request.id, await call())
        except Exception as exc:  # noqa: BLE001 - the one boundary between exceptions and the wire; it logs
            error = modern_error_data(exc)
            try:
                return self._error(error.code, error.message, error.data)
            except ValueError:
                logger.exception("the error of a handler cannot be written as JSON")
                return self._error(INTERNAL_ERROR, "Internal server error")

    async def _send(self, stream: Stream, reply: bytes, *, patient: bool) -> None:
        try:
            await stream.send(reply, last=self.alone, patient=patient)
        except EventTooLargeError as exc:
            too_large = self._error(INTERNAL_ERROR, f"The answer is too large: {exc}")
            await stream.send(too_large, last=self.alone, patient=patient)
        except EventLogFailedError as exc:
            self.unsent = True
            logger.error("an answer to %s could not be stored: %s", self.request.method, exc)  # noqa: TRY400 - it says it all
        self.answered = True

    def unstored(self) -> bytes:
        """Return what answers a request whose answer is not in the log."""
        return self._error(INTERNAL_ERROR, "The answer could not be stored")

    def _error(self, code: int, message: str, data: object = None) -> bytes:
        self.error_code = code
        return _jsonrpc.error(self.request.id, code, message, data)

    def _farewell(self, reason: CloseReason, server: Server[Any]) -> bytes:
        if self.request.method == LISTEN and reason is CloseReason.SHUTDOWN:
            # 2026-07-28, "subscriptions/listen": a server that ends a subscription on purpose sends its result.
            meta = {SUBSCRIPTION_ID_META_KEY: self.request.id, SERVER_INFO_META_KEY: server.server_info_stamp}
            return _jsonrpc.result(self.request.id, {"resultType": "complete", "_meta": meta})
        self.error_code = CONNECTION_CLOSED
        return goodbye(self.request.id, reason)


@final
class Context:
    """What a handler talks through: the SDK's ``DispatchContext`` for one message."""

    def __init__(
        self,
        http: HTTPRequest,
        request: Request | None,
        stream: Stream | None,
        conversation: Conversation | None,
        exchange: Exchange | None = None,
    ) -> None:
        self._stream = stream
        self._conversation = conversation
        self.transport = TransportContext(
            kind="streamable-http", can_send_request=self.can_send_request, headers=http.headers
        )
        self.request_id: RequestId | None = None if request is None else request.id
        self.message_metadata = ServerMessageMetadata(request_context=http)
        if conversation is not None and conversation.reconnects:
            self.message_metadata.close_sse_stream = None if exchange is None else exchange.close_connection
            self.message_metadata.close_standalone_sse_stream = conversation.close_listening
        self._cancel_requested: anyio.Event | None = None
        self._progress_token = None if request is None else progress_token_from_params(request.params)

    @property
    def can_send_request(self) -> bool:
        return self._conversation is not None and self._stream is not None

    @property
    def cancel_requested(self) -> anyio.Event:
        if self._cancel_requested is None:
            # Few handlers ask for it, and anyio finds out each time under which event loop it is made.
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    def close(self) -> None:
        """Take the way back from a handler that has returned."""
        self._stream = None

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if self._conversation is None or self._stream is None:
            raise NoBackChannelError(method)
        return await self._conversation.ask(self._stream, method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        if self._stream is None:
            logger.debug("dropped %s: its request has been answered", method)
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._stream.send(_jsonrpc.notification(method, params), coalesce=method in _CHANGED)
        except StreamClosedError:
            logger.debug("dropped %s: its stream has ended", method)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self._progress_token is None:
            await trio.lowlevel.checkpoint()
            return
        params = {"progressToken": self._progress_token, "progress": progress, "total": total, "message": message}
        await self.notify("notifications/progress", {k: v for k, v in params.items() if v is not None})


@final
@attrs.define(eq=False)
class _Question:
    """A request of ours that the client has not answered yet."""

    on_progress: ProgressFnT | None
    answered: trio.Event = attrs.Factory(trio.Event)
    answer: Answer | None = None


@final
class Conversation:
    """One handshake-era session as the SDK sees it: its dispatcher, and its channel outside of requests.

    Args:
        server: The server.
        state: What the server's lifespan gave.
        session: The session.
        listening: The session's streams for what belongs to no request.
        save: Keeps the handshake where the streams' log outlives the process, so that another can go on.
    """

    def __init__(
        self,
        server: Server[Any],
        state: Any,
        session: Session,
        listening: ListeningStreams,
        save: Callable[[], None] | None,
    ) -> None:
        self.session = session
        self.handshake: Mapping[str, Any] | None = None
        """The parameters of ``initialize``, where they are saved."""
        self._save = save
        self._server = server
        self._state = state
        self._listening = listening
        self._connection = Connection.for_loop(self, session_id=str(session.id))
        self._handle: OnRequest | None = None
        self._on_notify: OnNotify | None = None
        self._questions: dict[RequestId, _Question] = {}
        self._asked = 0
        self._in_flight: dict[RequestId, list[tuple[Exchange, Context, Callable[[], None]]]] = {}

    @property
    def protocol_version(self) -> str:
        """The revision that was negotiated."""
        return self._connection.protocol_version

    @property
    def reconnects(self) -> bool:
        """Whether the client comes back where a stream's connection is closed."""
        return reconnects(self.protocol_version)

    @property
    def initialized(self) -> bool:
        """Whether the handshake has succeeded."""
        return self._connection.initialize_accepted

    def serve(self) -> Awaitable[None]:
        """Keep the server's side of the session, until it is cancelled; then clean up after it."""
        return serve_connection(self._server, self, connection=self._connection, lifespan_state=self._state)

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take the SDK's two callables (its ``Dispatcher.run``)."""
        self._handle, self._on_notify = on_request, on_notify
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            for question in self._questions.values():
                question.answered.set()

    async def restore(self, params: Mapping[str, Any], http: HTTPRequest) -> None:
        """Take the SDK to where the handshake of another process had taken it."""
        # Their task has run since it was started.
        assert self._handle is not None
        assert self._on_notify is not None
        self.handshake = params
        await self._handle(Context(http, None, None, self), "initialize", params)
        await self._on_notify(Context(http, None, None, self), "notifications/initialized", None)

    # From the client

    async def handle_requests(self, stream: Stream, exchanges: Sequence[Exchange]) -> None:
        """Handle the requests of one POST, as the body of their stream."""
        unanswered = [exchange.request.id for exchange in exchanges]
        self._set_will(stream, unanswered)
        if len(exchanges) == 1:
            await self._handle_request(stream, exchanges[0], stream.cancel)
            return
        async with trio.open_nursery() as nursery:
            for exchange in exchanges:
                nursery.start_soon(self._handle_one_of_many, stream, exchange, unanswered)

    async def _handle_one_of_many(self, stream: Stream, exchange: Exchange, unanswered: list[RequestId]) -> None:
        with trio.CancelScope() as scope:
            await self._handle_request(stream, exchange, scope.cancel)
        unanswered.remove(exchange.request.id)
        self._set_will(stream, unanswered)

    def _set_will(self, stream: Stream, unanswered: list[RequestId]) -> None:
        if self._save is not None:
            stream.log.set_will([restarted(request_id) for request_id in unanswered])

    async def _handle_request(self, stream: Stream, exchange: Exchange, cancel: Callable[[], None]) -> None:
        request = exchange.request
        context = Context(exchange.http, request, None if exchange.silent else stream, self, exchange)
        # A list: some clients give every request the same identifier, and each call has its own answer.
        same_id = self._in_flight.setdefault(request.id, [])
        entry = (exchange, context, cancel)
        same_id.append(entry)
        if not exchange.silent:
            exchange.release = partial(self.release, stream)
        try:
            await exchange.answer(stream, self._server, partial(self._call, context, request))
        finally:
            exchange.release = None
            context.close()
            same_id.remove(entry)
            if not same_id:
                del self._in_flight[request.id]

    async def _call(self, context: Context, request: Request) -> dict[str, Any]:
        assert self._handle is not None
        result = await self._handle(context, request.method, request.params)
        if request.method == "initialize" and self._save is not None:
            # Before the answer: whoever knows of the session finds it again.
            self.handshake = request.params
            self._save()
        return result

    async def handle_notification(self, notification: Notification, http: HTTPRequest) -> None:
        """Handle a notification, in the task that received it."""
        assert self._on_notify is not None
        params = notification.params or {}
        if notification.method == "notifications/cancelled":
            self._cancel(as_request_id(params.get("requestId")))
        elif notification.method == "notifications/progress":
            await self._progress(params)
        context = Context(http, None, None, self)
        await self._on_notify(context, notification.method, notification.params)

    def handle_answer(self, answer: Answer) -> None:
        """Hand the client's answer to whoever asked. A late one is dropped."""
        question = self._questions.get(coerce_request_id(answer.id))
        if question is not None and question.answer is None:
            question.answer = answer
            question.answered.set()

    def _cancel(self, request_id: RequestId | None) -> None:
        if request_id is not None and (same_id := self._in_flight.get(request_id)):
            # The oldest that was not cancelled yet: an identifier that is in use twice says no more.
            for exchange, context, cancel in same_id:
                if not exchange.cancelled:
                    exchange.cancelled = True
                    context.cancel_requested.set()
                    cancel()
                    return

    async def _progress(self, params: Mapping[str, Any]) -> None:
        match params:
            case {"progressToken": bool()} | {"progress": bool()}:
                logger.debug("dropped malformed progress")
            case {"progressToken": int() | str() as token, "progress": int() | float() as progress}:
                question = self._questions.get(coerce_request_id(token))
                if question is not None and question.on_progress is not None:
                    try:
                        await question.on_progress(progress, params.get("total"), params.get("message"))
                    except Exception:
                        logger.exception("a progress callback raised")
            case _:
                logger.debug("dropped malformed progress")

    # To the client

    def release(self, stream: Stream) -> None:
        """Close the connections on which a stream is read, once all that was said until now has been sent."""
        for reader in self.session.get_readers(stream.id):
            reader.stop()

    async def close_listening(self) -> None:
        """Do so for the session's listening streams."""
        await trio.lowlevel.checkpoint()
        for stream in self._listening.streams:
            self.release(stream)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask the client something that belongs to no request."""
        try:
            stream = self._listening.outlet()
        except trio.BrokenResourceError:
            raise MCPError(CONNECTION_CLOSED, "Connection closed") from None
        except LimitError:
            raise NoBackChannelError(method) from None
        return await self.ask(stream, method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Tell the client something that belongs to no request."""
        try:
            stream = self._listening.outlet()
            await stream.send(_jsonrpc.notification(method, params), coalesce=method in _CHANGED)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            logger.debug("dropped %s: the session has ended", method)
        except LimitError as exc:
            logger.warning("dropped %s: %s", method, exc)

    async def ask(
        self, stream: Stream, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None
    ) -> dict[str, Any]:
        """Send a request on a stream, and wait for the client's answer.

        Raises:
            MCPError: The client answered with an error, or not in time, or the session has ended.
        """
        options = opts or CallOptions()
        self._asked += 1
        request_id = self._asked
        question = self._questions[request_id] = _Question(options.get("on_progress"))
        if question.on_progress is not None:
            meta = cast("Mapping[str, Any]", (params or {}).get("_meta") or {})
            params = {**(params or {}), "_meta": {**meta, "progressToken": request_id}}
        timeout = options.get("timeout")
        abandoned = "the server no longer waits for it"
        try:
            await stream.send(_jsonrpc.request(request_id, method, params))
            with trio.move_on_after(math.inf if timeout is None else timeout):
                await question.answered.wait()
                abandoned = ""
        except StreamClosedError:
            abandoned = ""
        finally:
            del self._questions[request_id]
            if abandoned and options.get("cancel_on_abandon", True):
                self._abandon(stream, request_id, abandoned)
        return _outcome(question, method, timed_out=bool(abandoned))

    def _abandon(self, stream: Stream, request_id: RequestId, why: str) -> None:
        try:
            stream.send_nowait(
                _jsonrpc.notification("notifications/cancelled", {"requestId": request_id, "reason": why})
            )
        except (StreamClosedError, trio.WouldBlock):
            logger.debug("did not tell the client that a request was abandoned: its stream has ended")


def _outcome(question: _Question, method: str, *, timed_out: bool) -> dict[str, Any]:
    answer = question.answer
    if answer is None:
        if timed_out:
            raise MCPError(REQUEST_TIMEOUT, f"Request {method!r} timed out")
        raise MCPError(CONNECTION_CLOSED, "Connection closed")
    if answer.error is not None:
        code, message = answer.error.get("code"), answer.error.get("message")
        raise MCPError(code if isinstance(code, int) else INTERNAL_ERROR, str(message), answer.error.get("data"))
    return answer.result or {}


async def serve_single(stream: Stream, exchange: Exchange, server: Server[Any], state: Any, route: Route) -> None:
    """Handle one request that belongs to no conversation, as the body of its stream."""
    request = exchange.request
    context = Context(exchange.http, request, None if exchange.silent else stream, None)
    connection = Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)
    seen = listening(server, stream, at_once=not exchange.durable) if request.method == LISTEN else server
    try:
        await exchange.answer(
            stream,
            server,
            partial(
                serve_one, seen, context, request.method, request.params, connection=connection, lifespan_state=state
            ),
        )
    finally:
        context.close()


async def notify_single(
    notification: Notification, http: HTTPRequest, server: Server[Any], state: Any, route: Route
) -> None:
    """Handle a notification that belongs to no conversation. What its handler raises is logged."""
    connection = Connection.from_envelope(route.protocol_version, route.client_info, route.client_capabilities)
    try:
        await ServerRunner(server, connection, state).on_notify(
            Context(http, None, None, None), notification.method, notification.params
        )
    finally:
        await aclose_shielded(connection)  # noqa: ASYNC102 - it shields itself, with a deadline


async def check_parameter_headers(exchange: Exchange, server: Server[Any], state: Any, route: Route) -> None:
    """Check that a tool call's ``Mcp-Param-*`` headers agree with its arguments (2026-07-28, "Custom Headers").

    Raises:
        RefusedError: 400: they do not.
    """
    request = exchange.request
    params = request.params or {}
    name, arguments = params.get("name"), cast("object", params.get("arguments") or {})
    if request.method != "tools/call" or not isinstance(name, str) or not isinstance(arguments, dict):
        return
    headers = exchange.http.headers
    if not arguments and not any(header.startswith(MCP_PARAM_HEADER_PREFIX.lower()) for header in headers):
        return
    schema = await _input_schema(exchange, server, state, route, name)
    verdict = schema and validate_mcp_param_headers(schema, cast("dict[str, Any]", arguments), headers)
    if verdict:
        raise RefusedError(400, verdict.message, code=verdict.code, data=verdict.data, request_id=request.id)


async def _input_schema(exchange: Exchange, server: Server[Any], state: Any, route: Route, name: str) -> Any:
    """Return a tool's input schema, as this caller would see it; ``None`` where it cannot be had.

    A header that cannot be checked must not break a call that works.
    """
    try:
        if server.get_tool_input_schema is not None:
            return server.get_tool_input_schema(name)
        if server.get_request_handler("tools/list") is None:
            return None
        envelope = {"_meta": (exchange.request.params or {}).get("_meta")}
        page: dict[str, Any] = {}
        for _ in range(_MAX_TOOL_PAGES):
            listing = Request(exchange.request.id, "tools/list", {**envelope, **page})
            page = await serve_one(
                server,
                Context(exchange.http, listing, None, None),
                listing.method,
                listing.params,
                connection=Connection.from_envelope(
                    route.protocol_version, route.client_info, route.client_capabilities
                ),
                lifespan_state=state,
            )
            for tool in page.get("tools", ()):
                if tool.get("name") == name:
                    return tool.get("inputSchema")
            if not isinstance(page.get("nextCursor"), str):
                return None
            page = {"cursor": page["nextCursor"]}
    except (MCPError, ValidationError) as exc:
        # It may well be the request's envelope that is at fault. The call itself is about to say so.
        logger.debug("could not find the input schema of tool %s: %s", shorten(name), exc)
    except Exception:
        logger.exception("could not find the input schema of tool %s; its headers are not checked", shorten(name))
    return None
