"""The SDK's session manager, by name and options, on our endpoint."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Final, final

import trio
from mcp.server import Server
from mcp.server.streamable_http import EventStore
from mcp.server.transport_security import TransportSecuritySettings

from .._manager import SessionManager
from .._open import OpenSessionManager, open_session_manager
from ._endpoint import StreamableHTTPEndpoint
from ._event_store import EventStoreLog
from ._response import Receive, Scope, Send
from ._wire import HostPolicy

_ANY_PORT: Final = ":*"


def host_policy(settings: TransportSecuritySettings | None) -> HostPolicy:
    """Translate the SDK's settings. A name without a port is let in on every port."""
    if settings is None or not settings.enable_dns_rebinding_protection:
        return HostPolicy()
    hosts = frozenset(host.removesuffix(_ANY_PORT) for host in settings.allowed_hosts)
    return HostPolicy(hosts, frozenset(settings.allowed_origins), same_host=False)


class _Run:
    """Runs a session manager's endpoint, with sessions of its own."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager
        self._stack = AsyncExitStack()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> None:
        async with AsyncExitStack() as stack:
            sessions = await stack.enter_async_context(self._manager._open_sessions())  # noqa: SLF001 - half of it
            await stack.enter_async_context(self._manager._start(sessions))  # noqa: SLF001 - half of it
            self._stack = stack.pop_all()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._manager._endpoint = None  # noqa: SLF001 - half of it
        return await self._stack.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - each context knows how it is left


@final
class StreamableHTTPSessionManager:
    """Takes the place of the SDK's class of this name: change one import.

    It answers in SSE or JSON where the SDK would. What the SDK does not offer
    (limits, observation, draining) is reached through `sessions`, or by using
    `StreamableHTTPEndpoint` itself.

    Args:
        app: The low-level server.
        event_store: Gets every event before a reader sees it. Streams can be resumed without one, too.
        json_response: Whether every answer is sent as JSON.
        stateless: Whether there are no sessions.
        security_settings: Which ``Host`` and ``Origin`` headers are let in; by default any.
        retry_interval: Milliseconds after which a client that loses a stream's connection should come back.
        session_idle_timeout: Seconds after which an idle session ends; ``None`` for never.
        max_request_body_size: Bytes that a request's body may have.
        max_sessions: Sessions open at once; ``None`` for any number.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(  # noqa: PLR0917 - the SDK's signature
        self,
        app: Server[Any],
        event_store: EventStore | None = None,
        json_response: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
        stateless: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
        security_settings: TransportSecuritySettings | None = None,
        retry_interval: int | None = None,
        session_idle_timeout: float | None = 1800.0,
        max_request_body_size: int = 4 * 2**20,
        max_sessions: int | None = 10_000,
    ) -> None:
        if session_idle_timeout is not None and not 0 < session_idle_timeout < math.inf:
            raise ValueError("session_idle_timeout must be a positive, finite number of seconds")
        if max_request_body_size <= 0:
            raise ValueError("max_request_body_size must be a positive number of bytes")
        if max_sessions is not None and max_sessions <= 0:
            raise ValueError("max_sessions must be a positive number of sessions or None")
        if retry_interval is not None and retry_interval < 0:
            raise ValueError("retry_interval must be a number of milliseconds, at least 0, or None")
        self.app = app
        self.event_store = event_store
        self.json_response = json_response
        self.stateless = stateless
        self.security_settings = security_settings
        self.retry_interval = retry_interval
        self.session_idle_timeout = session_idle_timeout
        self.max_request_body_size = max_request_body_size
        self.max_sessions = max_sessions
        idle_timeout = math.inf if session_idle_timeout is None else session_idle_timeout
        # The SDK knows of one time-out only.
        self._limits: dict[str, Any] = {
            "idle_timeout": idle_timeout,
            "lost_after": idle_timeout,
            "max_sessions": math.inf if max_sessions is None else max_sessions,
            "evict_idle": False,
        }
        self._options: dict[str, Any] = {
            "json_response": json_response,
            "stateless": stateless,
            "sse_delay": 0,
            "hosts": host_policy(security_settings),
            "retry": None if retry_interval is None else retry_interval / 1000,
            "max_body": max_request_body_size,
            "initialize_timeout": idle_timeout,
        }
        self._endpoint: StreamableHTTPEndpoint | None = None
        self._used = False

    @property
    def sessions(self) -> SessionManager:
        """The sessions, while it runs.

        Raises:
            RuntimeError: It is not running.
        """
        return self._running().sessions

    def _running(self) -> StreamableHTTPEndpoint:
        if self._endpoint is None:
            # The SDK's words, which its documentation explains.
            raise RuntimeError("Task group is not initialized. Make sure to use run().")
        return self._endpoint

    def _open_sessions(self) -> OpenSessionManager:
        if self._used:
            raise RuntimeError(
                "StreamableHTTPSessionManager .run() can only be called once per instance; make a new one"
            )
        self._used = True
        log = None if self.event_store is None else EventStoreLog(self.event_store)
        return open_session_manager(log=log, **self._limits)

    def _start(self, sessions: SessionManager) -> StreamableHTTPEndpoint:
        self._endpoint = StreamableHTTPEndpoint(self.app, sessions, **self._options)
        return self._endpoint

    def run(self) -> AbstractAsyncContextManager[None]:
        """Run it for the length of a block, as in an application's lifespan. Only once."""
        return _Run(self)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request.

        Raises:
            RuntimeError: It is not running.
        """
        await self._running()(scope, receive, send)

    @property
    def asgi_app(self) -> Any:
        """The same as an ASGI application."""
        return self.handle_request
