"""An endpoint in a Starlette application: as a route, as a mount, and with the lifespan of either."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager

import pytest
import trio
from hypercorn.utils import LifespanFailureError
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, Router

from streamscope import open_session_manager
from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.demo import Demo
from tests.mcp.helpers import bare_exceptions, hosting, initialize, peering, request
from tests.mounting.apps import adds, application, endpoint_of, official_adds

MODES = ["legacy", "2026-07-28"]


# A route


@pytest.mark.parametrize("mode", MODES)
async def test_a_route_serves_the_official_client(mode):
    endpoint = endpoint_of()
    async with hosting(application([Route("/mcp", endpoint)], endpoint)) as url:
        assert await official_adds(f"{url}/mcp", mode)


async def test_a_route_hands_every_method_to_the_endpoint():
    endpoint = endpoint_of()
    async with (
        hosting(application([Route("/mcp", endpoint)], endpoint)) as url,
        peering(f"{url}/mcp") as peer,
    ):
        await peer.initialize()
        assert await adds(peer)
        async with peer.listen():
            assert [stream.kind for stream in endpoint.sessions.streams.list_streams()] == ["get"]
        refused = await peer.send("PUT")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST, DELETE")
        assert (await peer.send("DELETE")).status_code == 200
        assert endpoint.sessions.list_sessions() == []


async def test_a_route_serves_its_path_only():
    endpoint = endpoint_of()
    async with hosting(application([Route("/mcp", endpoint)], endpoint)) as url, peering(url) as peer:
        for path in ("/", "/mcp2", "/mcp/more"):
            peer.url = url + path
            assert (await peer.post(initialize())).status_code == 404
        peer.url = f"{url}/mcp/"
        redirect = await peer.post(initialize())
        assert (redirect.status_code, redirect.headers["location"]) == (307, f"{url}/mcp")


# A mount


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["/mcp/", "/mcp"])
async def test_a_mount_serves_the_official_client_which_follows_the_redirect(mode, path):
    endpoint = endpoint_of()
    async with hosting(application([Mount("/mcp", endpoint)], endpoint)) as url:
        assert await official_adds(url + path, mode)


async def test_a_mount_redirects_its_own_path_and_serves_all_below_it():
    endpoint = endpoint_of()
    async with hosting(application([Mount("/mcp", endpoint)], endpoint)) as url, peering(url) as peer:
        for method, message in [("POST", initialize()), ("GET", None), ("DELETE", None)]:
            peer.url = f"{url}/mcp"
            redirect = await peer.send(method, message)
            assert (redirect.status_code, redirect.headers["location"]) == (307, f"{url}/mcp/")
        peer.url = f"{url}/mcp/"
        await peer.initialize()
        peer.url = f"{url}/mcp/any/thing"
        assert await adds(peer)


async def test_a_redirect_leads_where_the_host_header_says():
    # Which behind a proxy may be a name that nobody outside knows.
    endpoint = endpoint_of()
    async with hosting(application([Mount("/mcp", endpoint)], endpoint)) as url, peering(f"{url}/mcp") as peer:
        redirect = await peer.post(initialize(), host="inside.example:8000")
        assert redirect.headers["location"] == "http://inside.example:8000/mcp/"
        with pytest.raises(MCPError, match="not followed"), bare_exceptions():
            await official_adds(f"{url}/mcp", headers={"host": "inside.example:8000"})


async def test_a_mount_in_a_router_that_redirects_nothing_is_not_found_without_its_slash():
    endpoint = endpoint_of()
    inner = Router([Mount("/mcp", endpoint)], redirect_slashes=False)
    async with hosting(application([Mount("/api", inner)], endpoint)) as url, peering(f"{url}/api/mcp") as peer:
        assert (await peer.post(initialize())).status_code == 404
        peer.url = f"{url}/api/mcp/"
        await peer.initialize()
        assert await adds(peer)


async def test_a_mount_of_routes_is_a_prefix():
    endpoint = endpoint_of()
    app = application([Mount("/api", routes=[Route("/mcp", endpoint)])], endpoint)
    async with hosting(app) as url, peering(f"{url}/api/mcp") as peer:
        await peer.initialize()
        assert await adds(peer)
        assert await official_adds(f"{url}/api/mcp")


async def test_an_application_that_is_put_together_step_by_step():
    endpoint = endpoint_of()
    app = application([], endpoint)
    app.add_route("/route", endpoint)  # type: ignore[arg-type]  # an ASGI application will do as well
    app.mount("/mount", endpoint)
    async with hosting(app) as url, peering(f"{url}/route") as peer:
        await peer.initialize()
        peer.url = f"{url}/mount/"
        assert await adds(peer)


# Lifespans


async def test_a_lifespan_with_a_state_of_its_own():
    @asynccontextmanager
    async def lifespan(app):
        async with open_session_manager(idle_timeout=60) as sessions:
            endpoint = StreamableHTTPEndpoint(Demo().server, sessions)
            async with endpoint:
                app.router.routes.append(Route("/mcp", endpoint))
                yield {"sessions": sessions}

    async def count(request):
        return JSONResponse(len(request.state.sessions.list_sessions()))

    app = Starlette(routes=[Route("/count", count)], lifespan=lifespan)
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        await peer.initialize()
        assert (await peer.http.get(f"{url}/count")).json() == 1


async def test_the_lifespan_of_an_application_in_another_is_the_outer_ones_to_run():
    endpoint = endpoint_of()
    inner = application([Route("/mcp", endpoint)], endpoint)

    @asynccontextmanager
    async def lifespan(app):
        async with inner.router.lifespan_context(inner):
            yield

    outer = Starlette(routes=[Mount("/inner", inner)], lifespan=lifespan)
    async with hosting(outer) as url, peering(f"{url}/inner/mcp") as peer:
        await peer.initialize()
        assert await adds(peer)
    with pytest.raises(RuntimeError, match="not running"):
        _ = endpoint.sessions


async def test_an_endpoint_whose_application_does_not_run_it_says_so(caplog):
    # Starlette does not start what is mounted in it.
    endpoint = endpoint_of()
    async with hosting(Starlette(routes=[Route("/mcp", endpoint)])) as url, peering(f"{url}/mcp") as peer:
        assert (await peer.post(request("ping"))).status_code == 500
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "in the application's lifespan" in str(record.exc_info[1])
    caplog.clear()


async def test_an_application_whose_endpoint_cannot_start_does_not_start():
    @asynccontextmanager
    async def no_database(server):
        raise OSError("no database")
        yield

    endpoint = endpoint_of(Demo(lifespan=no_database))
    with pytest.raises(LifespanFailureError, match="no database"):
        async with hosting(application([Route("/mcp", endpoint)], endpoint), on="hypercorn"):
            await trio.sleep_forever()
