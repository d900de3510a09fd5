"""Behind a reverse proxy that takes a prefix off, sends a Host of its own and says who the client is."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
from hypercorn.middleware import ProxyFixMiddleware
from starlette.routing import Mount, Route

from streamscope import ReaderDetached
from streamscope.mcp import HostPolicy
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, hosting, initialize, notification, peering, request, until
from tests.mounting.apps import adds, application, endpoint_of, official, official_adds
from tests.mounting.reverse_proxy import proxying

PREFIX = "/tools/v1"
MODES = ["legacy", "2026-07-28"]


@asynccontextmanager
async def behind(endpoint, prefix=PREFIX, host=None, wrap=lambda app: app):
    """Host an endpoint at /mcp behind a proxy; give the proxy, and a client in front of it."""
    app = application([Route("/mcp", endpoint)], endpoint)
    async with (
        hosting(wrap(app)) as upstream,
        proxying(upstream, prefix, host) as (proxy, url),
        peering(f"{url}/mcp") as peer,
    ):
        yield proxy, peer


def connections(endpoint):
    return [session.connection_info for session in endpoint.sessions.list_sessions()]


# Paths


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_through_a_proxy(mode):
    async with behind(endpoint_of()) as (_, peer):
        assert await official_adds(peer.url, mode)


async def test_the_proxy_takes_its_prefix_off():
    async with behind(endpoint_of()) as (_, peer):
        await peer.initialize()
        assert await adds(peer)
        peer.url = peer.url.replace(PREFIX, "")
        assert (await peer.post(request("ping"))).status_code == 404


@pytest.mark.parametrize("path", ["/mcp", "/api/mcp"])
async def test_a_proxy_that_leaves_its_prefix_on_needs_a_root_path(path):
    endpoint = endpoint_of()
    app = application([Route("/mcp", endpoint), Mount("/api", routes=[Route("/mcp", endpoint)])], endpoint)
    async with (
        hosting(app, on="hypercorn", root_path=PREFIX) as upstream,
        proxying(upstream) as (_, url),
        peering(f"{url}{PREFIX}{path}") as peer,
    ):
        await peer.initialize()
        assert await adds(peer)
        assert await official_adds(peer.url)


# Host and Origin


async def test_the_host_that_is_checked_is_the_one_the_proxy_sends():
    policy = HostPolicy(frozenset({"inside.example"}), frozenset({"https://app.example"}))
    endpoint = endpoint_of(hosts=policy)
    async with behind(endpoint, host="inside.example:8000") as (proxy, peer):
        await peer.initialize()
        # Whoever the client thinks it talks to.
        assert (await peer.post(request("ping"), host="anything.example")).status_code == 200
        assert (await peer.post(request("ping"), x_forwarded_host="anything.example")).status_code == 200
        # An Origin passes the proxy as it is.
        assert (await peer.post(request("ping"), origin="https://app.example")).status_code == 200
        assert (await peer.post(request("ping"), origin="https://evil.example")).status_code == 403
        proxy.host = "elsewhere.example"
        assert (await peer.post(request("ping"))).status_code == 421


async def test_a_proxy_that_is_believed_says_which_host_and_which_client():
    endpoint = endpoint_of(hosts=HostPolicy(frozenset({"public.example"})))
    async with behind(endpoint, host="inside.example", wrap=ProxyFixMiddleware) as (_, peer):
        peer.headers["host"] = "public.example"
        await peer.initialize()
        # The port is unknown.
        assert connections(endpoint) == ["127.0.0.1:0"]
        assert (await peer.post(request("ping"), host="evil.example")).status_code == 421


async def test_by_default_the_client_is_the_proxy():
    endpoint = endpoint_of()
    async with behind(endpoint) as (_, peer):
        await peer.initialize()
        (info,) = connections(endpoint)
        assert info.startswith("127.0.0.1:")
        assert info != "127.0.0.1:0"


# Streams


async def test_events_come_through_as_they_are_sent():
    demo = Demo()
    async with behind(endpoint_of(demo, sse_delay=0)) as (_, peer):
        await peer.initialize()
        async with peer.stream("POST", call("speak")) as events:
            assert events.response.headers["x-accel-buffering"] == "no"
            assert events.response.headers["cache-control"] == "no-cache, no-transform"
            for number in range(5):
                # Nothing is said before the last word was heard.
                await demo.lines.send(number)
                assert (await events.message())["params"]["progress"] == number
            demo.lines.close()
            assert "result" in await events.answer()


async def test_comments_keep_a_quiet_stream_from_being_idle():
    async with behind(endpoint_of(ping_interval=0.02)) as (_, peer):
        await peer.initialize()
        async with peer.listen() as events:
            while len(events.parser.comments) < 3:
                await events.chunk()


async def test_a_stream_that_the_proxy_cuts_is_resumed_through_it():
    demo = Demo()
    async with behind(endpoint_of(demo, sse_delay=0)) as (proxy, peer):
        await peer.initialize()
        async with peer.stream("POST", call("speak")) as events:
            await demo.lines.send(0)
            assert (await events.message())["params"]["progress"] == 0
            proxy.cut()
            with pytest.raises(httpx2.RemoteProtocolError):
                await events.rest()
        for number in (1, 2):
            await demo.lines.send(number)
        async with peer.listen(events.last_id) as resumed:
            assert resumed.response.request.url == peer.url
            assert [(await resumed.message())["params"]["progress"] for _ in range(2)] == [1, 2]
            demo.lines.close()
            assert "result" in await resumed.answer()


async def test_the_official_client_loses_nothing_when_the_proxy_cuts_its_stream():
    demo, heard = Demo(), []
    async with behind(endpoint_of(demo, sse_delay=0, retry=0.001)) as (proxy, peer), official(peer.url) as client:

        async def progress(progress, total, message):
            heard.append(progress)
            if progress == 0:
                proxy.cut()
                for number in (1, 2):
                    await demo.lines.send(number)
                demo.lines.close()

        await demo.lines.send(0)
        result = await client.call_tool("speak", progress_callback=progress)
        assert result.content[0].text == "spoken"
    assert heard == [0, 1, 2]


async def test_a_client_that_leaves_the_proxy_has_left_the_endpoint():
    demo = Demo()
    endpoint = endpoint_of(demo, sse_delay=0)
    async with behind(endpoint) as (_, peer):
        await peer.initialize()
        async with endpoint.sessions.watch() as changes:
            async with peer.stream("POST", call("wait", {"name": "x"})) as events:
                await events.frame()
            await until(changes, ReaderDetached, events.stream_id)
        # Its call goes on.
        assert endpoint.sessions.streams.is_stream_active(events.stream_id)
        assert (await peer.post(notification("notifications/cancelled", {"requestId": 1}))).status_code == 202
        await demo.over["x"].wait()


async def test_a_2026_request_whose_client_leaves_the_proxy_is_cancelled():
    demo = Demo()
    async with behind(endpoint_of(demo)) as (proxy, peer):
        async with trio.open_nursery() as nursery:

            async def leave():
                await demo.started["x"].wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave)
            await peer.modern("tools/call", {"name": "wait", "arguments": {"name": "x"}})
        await demo.over["x"].wait()
        assert "disconnected" in demo.ended["x"]
        assert proxy.connected == 0


async def test_a_session_that_is_refused_is_refused_through_the_proxy_too():
    async with behind(endpoint_of(max_sessions=1, evict_idle=False)) as (_, peer):
        await peer.initialize()
        refused = await peer.post(initialize(), mcp_session_id=None)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
