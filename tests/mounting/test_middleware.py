"""Middleware of other people's in front of the endpoint: streams pass it, and so does a client's leaving."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from streamscope import ReaderDetached
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, hosting, peering, until
from tests.mounting.apps import application, endpoint_of, official_adds


class Adding(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-added"] = "yes"
        return response


MIDDLEWARE = pytest.mark.parametrize("middleware", [Adding, GZipMiddleware])


@asynccontextmanager
async def beneath(middleware, demo, **options):
    endpoint = endpoint_of(demo, **options)
    app = application([Route("/mcp", endpoint)], endpoint, middleware=[Middleware(middleware)])
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        yield endpoint, peer


@MIDDLEWARE
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_official_client(middleware, mode):
    async with beneath(middleware, Demo()) as (_, peer):
        assert await official_adds(peer.url, mode)


@MIDDLEWARE
async def test_events_pass_as_they_are_sent(middleware):
    demo = Demo()
    async with beneath(middleware, demo, sse_delay=0) as (_, peer):
        await peer.initialize()
        async with peer.stream("POST", call("speak")) as events:
            assert ("x-added" in events.response.headers) == (middleware is Adding)
            for number in range(3):
                await demo.lines.send(number)
                assert (await events.message())["params"]["progress"] == number
            demo.lines.close()
            assert "result" in await events.answer()


@MIDDLEWARE
async def test_a_client_that_leaves_is_missed(middleware):
    demo = Demo()
    async with beneath(middleware, demo) as (endpoint, peer):
        await peer.initialize()
        async with endpoint.sessions.watch() as changes:
            async with peer.listen() as events:
                pass
            await until(changes, ReaderDetached, events.stream_id)


@MIDDLEWARE
async def test_a_2026_request_whose_client_leaves_is_cancelled(middleware):
    demo = Demo()
    async with beneath(middleware, demo) as (_, peer):
        async with trio.open_nursery() as nursery:

            async def leave():
                await demo.started["x"].wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave)
            await peer.modern("tools/call", {"name": "wait", "arguments": {"name": "x"}})
        await demo.over["x"].wait()
        assert "disconnected" in demo.ended["x"]
