"""The endpoint as an ASGI application: running or not, alone, mounted, or told so by its server."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio
from mcp.server import Server
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from streamscope import CloseReason, open_session_manager
from streamscope.mcp import Options, StreamableHTTPEndpoint
from streamscope.mcp._handlers import peer as peer_of
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, hosting, initialize, no_lifespan, peering, request


async def receive_nothing():
    raise AssertionError("nothing was to be received")


async def send_nothing(message):
    raise AssertionError(f"nothing was to be sent, not {message}")


async def test_an_endpoint_that_does_not_run_says_what_to_do():
    endpoint = StreamableHTTPEndpoint(Demo().server)
    scope = {"type": "http", "method": "GET", "headers": []}
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"not running: use `async with endpoint:`"):
            await endpoint(scope, receive_nothing, send_nothing)
        with pytest.raises(RuntimeError, match="not running"):
            _ = endpoint.sessions
        with pytest.raises(RuntimeError, match="not running"):
            await endpoint.close()
        async with endpoint:
            assert endpoint.sessions.list_sessions() == []


async def test_it_runs_once_at_a_time():
    async with StreamableHTTPEndpoint(Demo().server) as endpoint:
        with pytest.raises(RuntimeError, match="running already"):
            await endpoint.__aenter__()


def test_a_server_that_does_not_run_trio_is_told_which_one_does():
    sent = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    endpoint = StreamableHTTPEndpoint(Demo().server)
    with pytest.raises(RuntimeError, match="hypercorn --worker-class trio"):
        asyncio.run(endpoint({"type": "lifespan"}, receive, send))
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "under Trio only" in sent[0]["message"]


async def test_it_serves_http_only():
    async with StreamableHTTPEndpoint(Demo().server) as endpoint:
        with pytest.raises(ValueError, match="not websocket"):
            await endpoint({"type": "websocket"}, receive_nothing, send_nothing)


async def test_it_can_run_again():
    endpoint = StreamableHTTPEndpoint(Demo().server)
    for _ in range(2):
        async with endpoint, hosting(no_lifespan(endpoint)) as url, peering(url) as peer:
            await peer.initialize()
            assert "result" in await peer.ask(request("ping"))
            await endpoint.close()


# Under a server that speaks the lifespan protocol


async def test_a_server_starts_and_stops_it():
    events = []

    @asynccontextmanager
    async def lifespan(server):
        events.append("start")
        yield {"x": 1}
        events.append("stop")

    endpoint = StreamableHTTPEndpoint(Server("s", lifespan=lifespan))
    async with hosting(endpoint) as url, peering(url) as peer:
        assert events == ["start"]
        await peer.initialize()
        assert len(endpoint.sessions.list_sessions()) == 1
    assert events == ["start", "stop"]
    with pytest.raises(RuntimeError, match="not running"):
        _ = endpoint.sessions


async def test_a_start_that_fails_is_told_to_the_server():
    @asynccontextmanager
    async def lifespan(server):
        raise OSError("no database")
        yield

    sent = []
    endpoint = StreamableHTTPEndpoint(Server("s", lifespan=lifespan))

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    with pytest.raises(OSError, match="no database"):
        await endpoint({"type": "lifespan"}, receive, send)
    # Without it, some servers go on, and every request fails.
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "no database" in sent[0]["message"]


async def test_a_stop_that_fails_is_told_to_the_server():
    @asynccontextmanager
    async def lifespan(server):
        yield
        raise OSError("no database")

    sent = []
    endpoint = StreamableHTTPEndpoint(Server("s", lifespan=lifespan))

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message["type"])

    with pytest.raises(OSError, match="no database"):
        await endpoint({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


async def test_mounted_in_starlette():
    demo = Demo()
    endpoint = StreamableHTTPEndpoint(demo.server)

    @asynccontextmanager
    async def lifespan(app):
        async with endpoint:
            yield
            await endpoint.close()

    app = Starlette(routes=[Mount("/api/mcp", endpoint), Route("/exact", endpoint)], lifespan=lifespan)
    async with hosting(app) as url, peering(f"{url}/api/mcp/") as peer:
        await peer.initialize()
        assert (await peer.ask(call("add", {"a": 1, "b": 2})))["result"]["structuredContent"] == {"result": 3}
        peer.url = f"{url}/exact"
        assert "result" in await peer.ask(request("ping"))
        async with peer.listen():
            await peer.send("DELETE")


# With a session manager of one's own


async def test_a_session_manager_may_be_shared():
    async with (
        open_session_manager() as sessions,
        StreamableHTTPEndpoint(Demo().server, sessions) as one,
        StreamableHTTPEndpoint(Demo().server, sessions) as other,
        hosting(no_lifespan(one)) as url,
        hosting(no_lifespan(other)) as other_url,
        peering(url) as peer,
    ):
        assert one.sessions is other.sessions is sessions
        await peer.initialize()
        peer.url = other_url
        # The other endpoint has sessions of its own among them.
        assert (await peer.post(request("ping"))).status_code == 404
        # And so has the application.
        async with sessions.open_session() as session:
            response = await peer.post(request("ping"), mcp_session_id=str(session.id))
            assert response.status_code == 404
        sessions.close()


async def test_an_endpoint_that_stops_ends_its_sessions_before_its_lifespan():
    events = []

    @asynccontextmanager
    async def lifespan(server):
        yield {}
        events.append("lifespan")

    async def hang(ctx, params):
        events.append("called")
        try:
            await trio.sleep_forever()
        finally:
            events.append("cancelled")

    async with open_session_manager() as sessions:
        server = Server("s", lifespan=lifespan, on_list_tools=hang)
        async with (
            StreamableHTTPEndpoint(server, sessions) as endpoint,
            hosting(no_lifespan(endpoint)) as url,
            peering(url) as peer,
        ):
            await peer.initialize()
            async with peer.stream("POST", request("tools/list")) as stream:
                await stream.frame()
        assert events == ["called", "cancelled", "lifespan"]
        assert sessions.list_sessions() == []
        assert [closed.reason for closed in sessions.recently_closed()] == [CloseReason.SHUTDOWN]


# Options


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sse_delay", [-1, -0.001, math.nan]),
        ("retry", [-1, math.nan, math.inf]),
        ("ping_interval", [0, -1, math.nan]),
        ("body_timeout", [0, -1, math.nan]),
        ("initialize_timeout", [0, math.nan]),
        ("slow_reader_timeout", [-1, math.nan]),
        ("listen_grace", [0, -1, math.nan]),
        ("max_body", [0, -1, 1.5]),
        ("max_batch", [0, -1, 1.5]),
        ("max_listeners", [0, -1, 1.5]),
        ("max_subscriptions", [0, -1, 1.5]),
        ("idle_timeout", [0, -1, math.nan]),
        ("max_sessions", [0, -1, 1.5]),
    ],
)
def test_what_is_out_of_range(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            StreamableHTTPEndpoint(Server("s"), **{name: value})


def test_what_is_no_option():
    with pytest.raises(TypeError, match="nonsense"):
        StreamableHTTPEndpoint(Demo().server, nonsense=1)


async def test_limits_belong_to_the_session_manager():
    async with open_session_manager() as sessions:
        with pytest.raises(ValueError, match="has its own limits"):
            StreamableHTTPEndpoint(Demo().server, sessions, max_sessions=1)


def test_the_defaults_are_part_of_the_interface():
    options = Options()
    assert (options.sse_delay, options.ping_interval, options.retry) == (0.1, 15, 1)
    assert (options.max_body, options.max_batch) == (4 * 2**20, 100)
    assert (options.max_listeners, options.max_subscriptions) == (16, 128)
    assert (options.body_timeout, options.initialize_timeout, options.listen_grace) == (30, 60, 300)
    assert options.slow_reader_timeout == 30
    assert (options.json_response, options.stateless) == (False, False)
    assert options.hosts.hosts is None


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (("203.0.113.7", 50412), "203.0.113.7:50412"),
        (("2001:db8::1", 80), "[2001:db8::1]:80"),
        (None, None),
        ("", None),
    ],
)
def test_where_a_peer_is(client, shown):
    assert peer_of({"client": client}) == shown
    assert peer_of({}) is None


async def test_a_request_in_process():
    # An ASGI client of the application's own tests: no server, no address.
    async with StreamableHTTPEndpoint(Demo().server) as endpoint:
        transport = httpx2.ASGITransport(endpoint, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport) as http:
            headers = {"accept": "application/json, text/event-stream"}
            response = await http.post("http://test/mcp", json=initialize(), headers=headers)
            assert response.status_code == 200
            assert len(endpoint.sessions.list_sessions()) == 1
