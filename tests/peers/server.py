"""Serves the stage on streamscope or on the official SDK's own transport, as a process of its own."""

from __future__ import annotations

import argparse
import math
import socket
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from tests.peers.event_store import MemoryEventStore
from tests.peers.stage import Stage


def user_of(scope: Mapping[str, Any]) -> AuthenticatedUser | None:
    """Believe the headers ``x-user`` and ``x-token``."""
    headers = {name: value.decode() for name, value in scope["headers"]}
    if b"x-user" not in headers:
        return None
    return AuthenticatedUser(
        AccessToken(token=headers.get(b"x-token", ""), client_id="client", subject=headers[b"x-user"], scopes=[])
    )


def say_where(url: str) -> None:
    """Tell the tests where it serves."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


def serve_on_streamscope(stage: Stage, options: argparse.Namespace) -> None:
    from streamscope import open_session_manager
    from streamscope.mcp import principal_of, serve
    from tests.helpers import SlowEventLog

    async def main() -> None:
        manager = open_session_manager(
            log=SlowEventLog(options.slow) if options.slow else None,
            idle_timeout=options.idle or 1800.0,
            max_sessions=options.sessions or 10_000,
            max_sessions_per_principal=options.sessions // 2 or math.inf,
        )
        async with manager as sessions, trio.open_nursery() as nursery:
            stage.sessions = lambda: [str(session.session_id) for session in sessions.list_sessions()]
            stage.kept = lambda: sessions.streams.log.statistics().events
            start = partial(
                serve,
                stage.server,
                sessions=sessions,
                port=0,
                principal=principal,
                max_subscriptions=options.listeners or 128,
            )
            say_where(await nursery.start(start))

    def principal(scope: Mapping[str, Any]) -> str | None:
        return principal_of({"user": user_of(scope)})

    trio.run(main)


def serve_on_sdk(stage: Stage, options: argparse.Namespace) -> None:
    import uvicorn
    from mcp.server.subscriptions import ListenHandler
    from mcp_types import SubscriptionsListenRequestParams

    store = MemoryEventStore(options.slow)
    app = stage.server.streamable_http_app(
        event_store=store,
        session_idle_timeout=options.idle or 1800.0,
        max_sessions=options.sessions or 10_000,
    )
    if options.listeners:
        handler = ListenHandler(stage.bus, max_subscriptions=options.listeners)
        low_level = stage.server._lowlevel_server
        low_level.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, handler)
    stage.sessions = lambda: list(stage.server.session_manager._server_instances)
    stage.kept = lambda: store.kept

    async def authenticating(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["user"] = user_of(scope)
        await app(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Who connects before it has started waits.
        say_where(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
        uvicorn.Server(uvicorn.Config(authenticating, http="httptools", log_level="error")).run([listener])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["streamscope", "sdk"])
    parser.add_argument(
        "--idle",
        type=float,
        default=0,
        help="seconds after which a session ends that is idle, or whose client was cut off",
    )
    parser.add_argument("--slow", type=float, default=0, help="seconds that the event log takes")
    parser.add_argument("--sessions", type=int, default=0, help="sessions in all; of one principal, half of that")
    parser.add_argument(
        "--listeners", type=int, default=0, help="streams of subscriptions/listen in all, or of one principal"
    )
    options = parser.parse_args()
    serve = serve_on_streamscope if options.peer == "streamscope" else serve_on_sdk
    serve(Stage(), options)


if __name__ == "__main__":
    main()
