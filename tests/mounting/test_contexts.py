"""Which context variables a handler sees: those of the HTTP request that called it, for as long as it runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import mcp_types
import pytest
import trio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resources import FunctionResource
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from streamscope.mcp._seam import low_level
from tests.mcp.demo import Demo
from tests.mcp.helpers import HANDSHAKE, answer, call, hosting, notification, peering, request
from tests.mounting.apps import application, endpoint_of
from tests.mounting.tokens import Tokens, bear, guarded

trace: ContextVar[str | None] = ContextVar("trace", default=None)


def token() -> str:
    found = get_access_token()
    return "none" if found is None else found.token


class Telling(Demo):
    """Has tools that tell whose request they were called by."""

    def __init__(self) -> None:
        super().__init__()
        self.notified: list[str] = []
        for tool in (self.whose, self.whose_in_a_thread, self.whose_in_the_end, self.whose_after_asking, self.user):
            self.server.add_tool(tool)
        self.server.add_resource(self.resource())

    async def whose(self) -> str:
        return f"{token()} {trace.get()}"

    def whose_in_a_thread(self) -> str:
        return f"{token()} {trace.get()}"

    async def whose_in_the_end(self) -> str:
        """Tell it when the test says so, however long the request has been over."""
        self.started["end"].set()
        await self.gates["end"].wait()
        trace.set("changed")
        return token()

    async def whose_after_asking(self, ctx: Context[Any, Any]) -> list[str]:
        """Tell it before and after the client has answered, which it does in another HTTP request."""
        before = token()
        await self.elicit(ctx)
        return [before, token()]

    @staticmethod
    async def user(ctx: Context[Any, Any]) -> str:
        """Tell who makes the HTTP request that came with the call."""
        request = ctx.request_context.request
        assert request is not None
        return f"{request.user.access_token.token} {request.headers['x-trace']}"

    @staticmethod
    def resource() -> Any:
        return FunctionResource(uri="test://whose", name="whose", fn=token)


def by_header(name):
    """Make a middleware that sets the variable to what a header says, while the request is served."""

    class Tracing:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            headers = dict(scope.get("headers", ()))
            reset = trace.set(headers.get(name, b"").decode())
            try:
                await self.app(scope, receive, send)
            finally:
                trace.reset(reset)

    return Tracing


class Dispatching(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        trace.set(request.headers.get("x-trace"))
        return await call_next(request)


@asynccontextmanager
async def bearing(demo, tokens, version=HANDSHAKE, **options):
    """Host a guarded endpoint; give a client that bears a token, with a session."""
    endpoint = endpoint_of(demo, **options)
    async with hosting(guarded(endpoint, tokens)) as url, peering(f"{url}/mcp") as peer:
        bear(peer, tokens.issue("alice"))
        await peer.initialize(version, elicitation={})
        yield peer


def text(message):
    return message["result"]["content"][0]["text"]


# Tokens


@pytest.mark.parametrize("tool", ["whose", "whose_in_a_thread"])
@pytest.mark.parametrize("options", [{}, {"sse_delay": 0}, {"json_response": True}, {"stateless": True}], ids=str)
async def test_a_tool_sees_the_token_of_the_request_that_called_it(tool, options):
    tokens = Tokens()
    endpoint = endpoint_of(Telling(), **options)
    async with hosting(guarded(endpoint, tokens)) as url, peering(f"{url}/mcp") as peer:
        bear(peer, tokens.issue("alice"))
        if "stateless" not in options:
            await peer.initialize()
        for _ in range(3):
            current = tokens.issue("alice")
            bear(peer, current)
            assert text(await peer.ask(call(tool))) == f"{current} None"
        response = await peer.modern("tools/call", {"name": tool})
        assert text(response.json()) == f"{current} None"


async def test_a_tool_sees_the_http_request_that_called_it():
    tokens = Tokens()
    async with bearing(Telling(), tokens) as peer:
        bear(peer, tokens.issue("alice"))
        assert text(await peer.ask(call("user"), x_trace="mine")) == f"{list(tokens.issued)[-1]} mine"


async def test_requests_at_once_see_each_its_own_token():
    tokens, seen = Tokens(), {}
    async with bearing(Telling(), tokens) as peer, trio.open_nursery() as nursery:

        async def ask(twin, own):
            seen[own] = text(await twin.ask(call("whose", request_id=own)))

        for _ in range(10):
            twin, own = peer.twin(), tokens.issue("alice")
            bear(twin, own)
            nursery.start_soon(ask, twin, own)
    assert seen == {own: f"{own} None" for own in list(tokens.issued)[1:]}


async def test_every_request_of_a_batch_sees_its_token():
    tokens = Tokens()
    async with bearing(Telling(), tokens, "2025-03-26") as peer:
        current = tokens.issue("alice")
        bear(peer, current)
        response = await peer.post([call("whose", request_id=n) for n in range(3)])
        assert [text(message) for message in response.json()] == [f"{current} None"] * 3


async def test_a_resource_sees_it_too():
    tokens = Tokens()
    async with bearing(Telling(), tokens) as peer:
        bear(peer, tokens.issue("alice"))
        contents = (await peer.ask(request("resources/read", {"uri": "test://whose"})))["result"]["contents"]
        assert contents[0]["text"] == list(tokens.issued)[-1]


async def test_a_notification_is_handled_with_the_token_it_came_with():
    tokens, seen, handled = Tokens(), [], trio.Event()

    async def rooted(ctx, params):
        seen.append(token())
        handled.set()

    demo = Telling()
    low_level(demo.server).add_notification_handler(
        "notifications/roots/list_changed", mcp_types.NotificationParams, rooted
    )
    async with bearing(demo, tokens) as peer:
        current = tokens.issue("alice")
        bear(peer, current)
        assert (await peer.post(notification("notifications/roots/list_changed"))).status_code == 202
        await handled.wait()
        assert seen == [current]


async def test_a_call_keeps_its_token_whoever_reads_its_stream_or_answers_its_question():
    tokens, demo = Tokens(), Telling()
    async with bearing(demo, tokens, sse_delay=0) as peer:
        first = tokens.issue("alice")
        bear(peer, first)
        async with peer.stream("POST", call("whose_in_the_end")) as events:
            await events.frame()
            await demo.started["end"].wait()
        # The request is over, and its middleware has been left.
        bear(peer, tokens.issue("alice"))
        async with peer.listen(events.last_id) as resumed:
            demo.gates["end"].set()
            assert text(await resumed.answer()) == first

        bear(peer, first)
        async with peer.stream("POST", call("whose_after_asking")) as events:
            question = await events.message()
            bear(peer, tokens.issue("alice"))
            assert (await peer.post(answer(question["id"], {"action": "decline"}))).status_code == 202
            assert (await events.answer())["result"]["structuredContent"] == {"result": [first, first]}


# Variables of any middleware


@pytest.mark.parametrize("middleware", [by_header(b"x-trace"), Dispatching], ids=["ASGI", "BaseHTTPMiddleware"])
async def test_what_a_middleware_sets_a_handler_sees(middleware):
    demo = Telling()
    endpoint = endpoint_of(demo)
    app = application([Route("/mcp", endpoint)], endpoint, middleware=[Middleware(middleware)])
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        peer.headers["x-trace"] = "opened"
        await peer.initialize()
        for name in ("first", "second"):
            assert text(await peer.ask(call("whose"), x_trace=name)) == f"none {name}"
        # And streams pass it.
        async with peer.stream("POST", call("whose_in_the_end"), x_trace="third") as events:
            assert not (await events.frame()).data
            demo.gates["end"].set()
            assert text(await events.answer()) == "none"
        assert trace.get() is None


async def test_what_a_handler_sets_stays_with_it():
    left = []

    class Looking:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            left.append(trace.get())

    demo = Telling()
    endpoint = endpoint_of(demo)
    app = application([Route("/mcp", endpoint)], endpoint, middleware=[Middleware(Looking)])
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        await peer.initialize()
        demo.gates["end"].set()
        await peer.ask(call("whose_in_the_end"))
        assert text(await peer.ask(call("whose"))) == "none None"
    assert set(left) == {None}


async def test_a_handler_that_outlives_its_request_keeps_what_was_set_for_it():
    demo, seen, over = Telling(), [], trio.Event()

    async def linger() -> None:
        demo.started["linger"].set()
        await demo.gates["linger"].wait()
        seen.append(trace.get())
        over.set()

    demo.server.add_tool(linger)
    endpoint = endpoint_of(demo, sse_delay=0)
    app = application([Route("/mcp", endpoint)], endpoint, middleware=[Middleware(by_header(b"x-trace"))])
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        await peer.initialize()
        async with peer.stream("POST", call("linger"), x_trace="mine"):
            await demo.started["linger"].wait()
        assert (await peer.post(request("ping"), x_trace="another")).status_code == 200
        demo.gates["linger"].set()
        await over.wait()
    assert seen == ["mine"]
