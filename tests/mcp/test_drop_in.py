"""The SDK's session manager by name: its signature, its life, and its answers."""

from __future__ import annotations

import inspect
import math
from contextlib import asynccontextmanager

import pytest
import trio
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager as Original
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Mount

from streamscope import CloseReason, SessionClosed
from streamscope.mcp import HostPolicy, StreamableHTTPSessionManager
from streamscope.mcp._drop_in import host_policy
from tests.mcp.demo import Demo
from tests.mcp.helpers import bare_exceptions, call, hosting, initialize, no_lifespan, peering, request, until


@asynccontextmanager
async def managed(demo=None, **options):
    """Run one before a server; give it, and a peer that has its session."""
    manager = StreamableHTTPSessionManager((demo or Demo()).server._lowlevel_server, **options)
    async with manager.run(), hosting(no_lifespan(manager.handle_request)) as url, peering(url) as peer:
        await peer.initialize()
        yield manager, peer
        manager.sessions.close()


def test_it_is_made_like_the_original():
    ours, theirs = (inspect.signature(cls).parameters for cls in (StreamableHTTPSessionManager, Original))
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind is parameter.kind
        assert ours[name].default == parameter.default


def test_it_says_how_it_was_made():
    options = {"json_response": True, "retry_interval": 5, "session_idle_timeout": None, "max_sessions": 7}
    ours, theirs = (cls(Server("s"), **options) for cls in (StreamableHTTPSessionManager, Original))
    for name in dir(theirs):
        if not name.startswith("_"):
            assert hasattr(ours, name)
    for name in set(inspect.signature(Original).parameters) - {"app"}:
        assert getattr(ours, name) == getattr(theirs, name)


async def test_it_answers_as_the_original_does():
    async with managed() as (manager, peer):
        async with peer.stream("POST", call("add", {"a": 1, "b": 2})) as events:
            assert events.response.headers["content-type"] == "text/event-stream"
            assert (await events.answer())["result"]["structuredContent"] == {"result": 3}
        assert len(manager.sessions.list_sessions()) == 1


async def test_json():
    async with managed(json_response=True) as (_, peer):
        response = await peer.post(request("ping"))
        assert response.headers["content-type"] == "application/json"


async def test_stateless():
    manager = StreamableHTTPSessionManager(Demo().server._lowlevel_server, stateless=True)
    async with (
        manager.run(),
        hosting(no_lifespan(manager.asgi_app)) as url,
        peering(url) as peer,
        peer.stream("POST", initialize()) as events,
    ):
        assert "mcp-session-id" not in events.response.headers
        assert "result" in await events.answer()


@pytest.mark.parametrize(("interval", "retry"), [(None, None), (250, 250), (0, 0)])
async def test_the_retry_interval(interval, retry):
    async with managed(retry_interval=interval) as (_, peer), peer.stream("GET") as events:
        assert (await events.frame()).retry == retry


async def test_limits():
    async with managed(max_sessions=1, max_request_body_size=1000) as (manager, peer):
        assert (await peer.post(initialize(), mcp_session_id=None)).status_code == 503
        assert (await peer.post(request("x" * 1000))).status_code == 413
        assert (manager.sessions.limits.idle_timeout, manager.sessions.limits.lost_after) == (1800, 1800)
    async with managed(max_sessions=None, session_idle_timeout=None) as (manager, _):
        limits = manager.sessions.limits
        assert (limits.max_sessions, limits.idle_timeout, limits.lost_after) == (math.inf, math.inf, math.inf)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_sessions", 0),
        ("session_idle_timeout", 0),
        ("session_idle_timeout", math.inf),
        ("session_idle_timeout", math.nan),
        ("max_request_body_size", 0),
        ("retry_interval", -1),
    ],
)
def test_what_is_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        StreamableHTTPSessionManager(Server("s"), **{option: value})


async def test_a_session_idles_out_also_before_its_client_has_sent_anything_else():
    manager = StreamableHTTPSessionManager(Server("s"), session_idle_timeout=0.05)
    async with manager.run(), hosting(no_lifespan(manager.handle_request)) as url, peering(url) as peer:
        async with manager.sessions.watch() as changes:
            async with peer.stream("POST", initialize()) as events:
                session_id = events.response.headers["mcp-session-id"]
                await events.answer()
            with trio.fail_after(10):
                await until(changes, SessionClosed)
        assert [closed.reason for closed in manager.sessions.recently_closed()] == [CloseReason.IDLE]
        assert (await peer.post(request("ping"), mcp_session_id=session_id)).status_code == 404


# Its life


async def test_it_must_run():
    manager = StreamableHTTPSessionManager(Server("s"))
    with pytest.raises(RuntimeError, match=r"use run\(\)"):
        await manager.handle_request({"type": "http"}, None, None)
    with pytest.raises(RuntimeError, match=r"use run\(\)"):
        _ = manager.sessions


async def test_it_runs_once():
    manager = StreamableHTTPSessionManager(Server("s"))
    async with manager.run():
        assert manager.sessions.list_sessions() == []
        with pytest.raises(RuntimeError, match="once per instance"):
            async with manager.run():
                pass
    with pytest.raises(RuntimeError, match="once per instance"):
        async with manager.run():
            pass
    with pytest.raises(RuntimeError, match=r"use run\(\)"):
        _ = manager.sessions


async def test_a_start_that_fails():
    @asynccontextmanager
    async def lifespan(server):
        raise OSError("no database")
        yield

    manager = StreamableHTTPSessionManager(Server("s", lifespan=lifespan))
    with pytest.raises(OSError, match="no database"), bare_exceptions():
        async with manager.run():
            pass
    with pytest.raises(RuntimeError, match="not running"):
        _ = manager.sessions


async def test_it_ends_its_sessions_before_the_servers_lifespan():
    events = []

    @asynccontextmanager
    async def lifespan(server):
        yield {}
        events.append("lifespan")

    async def hang(ctx, params):
        try:
            await trio.sleep_forever()
        finally:
            events.append("cancelled")

    manager = StreamableHTTPSessionManager(Server("s", lifespan=lifespan, on_list_tools=hang))
    async with manager.run():
        sessions = manager.sessions
        async with hosting(no_lifespan(manager.handle_request)) as url, peering(url) as peer:
            await peer.initialize()
            async with peer.stream("POST", request("tools/list")) as stream:
                await stream.frame()
    assert events == ["cancelled", "lifespan"]
    assert [closed.reason for closed in sessions.recently_closed()] == [CloseReason.SHUTDOWN]


async def test_as_the_documentation_of_the_sdk_mounts_it():
    manager = StreamableHTTPSessionManager(Demo().server._lowlevel_server)

    @asynccontextmanager
    async def lifespan(app):
        async with manager.run():
            yield

    app = Starlette(routes=[Mount("/mcp", app=manager.handle_request)], lifespan=lifespan)
    async with hosting(app) as url, peering(f"{url}/mcp/") as peer:
        await peer.initialize()
        assert "result" in await peer.ask(request("ping"))


# Its security settings


def test_no_protection_is_no_policy():
    assert host_policy(None) == HostPolicy()
    assert host_policy(TransportSecuritySettings(enable_dns_rebinding_protection=False)) == HostPolicy()


async def test_hosts_and_origins():
    settings = TransportSecuritySettings(
        allowed_hosts=["127.0.0.1:*", "app.example"],
        allowed_origins=["http://front.example:*", "https://exact.example:8443"],
    )
    async with managed(security_settings=settings) as (_, peer):
        for host, status in [
            ("127.0.0.1:1", 200),
            ("app.example", 200),
            ("evil.example", 421),
            ("app.example.evil", 421),
        ]:
            async with peer.stream("POST", request("ping"), host=host) as events:
                assert events.response.status_code == status, host
        for origin, status in [
            ("http://front.example:3000", 200),
            ("https://exact.example:8443", 200),
            ("https://exact.example:8444", 403),
            ("https://front.example:3000", 403),
            ("http://front.example.evil:3000", 403),
            ("http://front.example:3000.evil", 403),
            ("http://evil.example", 403),
            ("http://127.0.0.1:1", 403),
            ("http://app.example", 403),
        ]:
            async with peer.stream("POST", request("ping"), origin=origin) as events:
                assert events.response.status_code == status, origin
