"""Two endpoints in one application: each has its own server and its own sessions, also where one manager has both."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from starlette.routing import Mount, Route

from streamscope import CloseReason, SessionId, open_session_manager
from tests.mcp.demo import Demo
from tests.mcp.helpers import bare_exceptions, call, hosting, initialize, no_lifespan, peering, request
from tests.mounting.apps import adds, application, endpoint_of, official


def only(endpoint):
    (session,) = endpoint.sessions.list_sessions()
    return session


@asynccontextmanager
async def two(one, other):
    """Host two endpoints that are running in one application; give a client of each, both with a session."""
    routes = [Mount("/api", routes=[Route("/one", one), Route("/other", other)])]
    async with (
        hosting(no_lifespan(application(routes))) as url,
        peering(f"{url}/api/one") as first,
        peering(f"{url}/api/other") as second,
    ):
        await first.initialize()
        await second.initialize()
        yield first, second


MANAGERS = pytest.mark.parametrize("shared", [False, True], ids=["managers of their own", "one manager"])


@MANAGERS
async def test_each_serves_its_own_server_to_the_official_client(shared):
    calm, busy = Demo(), Demo()
    busy.server.add_tool(lambda: "extra", name="extra", description="Only one of them has it.")
    async with open_session_manager() as sessions:
        manager = sessions if shared else None
        one, other = endpoint_of(calm, sessions=manager), endpoint_of(busy, sessions=manager)
        app = application([Route("/one", one), Route("/other", other)], one, other)
        async with hosting(app) as url, official(f"{url}/one") as first, official(f"{url}/other") as second:
            tools = [{tool.name for tool in (await client.list_tools()).tools} for client in (first, second)]
            assert tools[1] - tools[0] == {"extra"}
            counts = [len(endpoint.sessions.list_sessions()) for endpoint in (one, other)]
            assert counts == ([2, 2] if shared else [1, 1])


@MANAGERS
async def test_a_session_of_one_does_not_exist_at_the_other(shared):
    demo = Demo()
    async with open_session_manager() as sessions:
        manager = sessions if shared else None
        async with (
            endpoint_of(demo, sessions=manager) as one,
            endpoint_of(sessions=manager) as other,
            two(one, other) as (first, second),
        ):
            async with first.stream("POST", call("wait", {"name": "x"})) as events:
                primed = await events.frame()
                stranger, nobody = second.twin(), second.twin()
                stranger.headers["mcp-session-id"] = str(first.session_id)
                nobody.headers["mcp-session-id"] = str(SessionId.new())
                for method, message, headers in [
                    ("POST", request("ping"), {}),
                    ("GET", None, {}),
                    ("GET", None, {"last_event_id": primed.id}),
                    ("DELETE", None, {}),
                ]:
                    answers = [await peer.send(method, message, **headers) for peer in (stranger, nobody)]
                    assert [answer.status_code for answer in answers] == [404, 404]
                    assert answers[0].content == answers[1].content
                # Nor does its stream, for who has a session there.
                unknown = await second.send("GET", last_event_id=primed.id)
                assert (unknown.status_code, unknown.json()["error"]["data"]) == (400, {"outcome": "unknown"})
                demo.gates["x"].set()
                assert (await events.answer())["result"]["content"][0]["text"] == "x waited"
            sessions.close()


async def test_closing_one_leaves_the_other():
    demo = Demo()
    async with endpoint_of() as one, endpoint_of(demo) as other, two(one, other) as (first, second):
        async with second.stream("POST", call("wait", {"name": "x"})) as events:
            await events.frame()
            await one.close()
            assert (await first.post(request("ping"))).status_code == 503
            demo.gates["x"].set()
            assert (await events.answer())["result"]["content"][0]["text"] == "x waited"
        assert await adds(second)


@MANAGERS
async def test_leaving_one_ends_its_sessions_and_leaves_the_other(shared):
    demo = Demo()
    async with open_session_manager() as sessions:
        manager = sessions if shared else None
        async with endpoint_of(sessions=manager) as other:
            leave, left = trio.Event(), trio.Event()
            one = endpoint_of(demo, sessions=manager)

            async def run_one(task_status):
                async with one:
                    task_status.started()
                    await leave.wait()
                left.set()

            with bare_exceptions():
                async with trio.open_nursery() as nursery:
                    await nursery.start(run_one)
                    async with two(one, other) as (first, second):
                        async with first.stream("POST", call("wait", {"name": "x"})) as events:
                            await events.frame()
                            leave.set()
                            assert (await events.answer())["error"]["data"] == {"reason": "shutdown"}
                        await left.wait()
                        assert demo.ended["x"] != "returned"
                        assert await adds(second)
                        assert only(other).session_id == second.session_id
        sessions.close()


# With one session manager


async def test_closing_one_of_two_that_share_a_manager_closes_both():
    # It is the manager that is closed, and the limits and the end of its sessions are its own.
    async with (
        open_session_manager() as sessions,
        endpoint_of(sessions=sessions) as one,
        endpoint_of(sessions=sessions) as other,
        two(one, other) as (first, second),
    ):
        await one.close()
        for peer in (first, second):
            assert (await peer.post(request("ping"))).status_code == 503
        assert {closed.reason for closed in sessions.recently_closed()} == {CloseReason.SHUTDOWN}


async def test_two_that_share_a_manager_share_its_limits_and_its_statistics():
    async with (
        open_session_manager(max_sessions=2, evict_idle=False) as sessions,
        endpoint_of(sessions=sessions) as one,
        endpoint_of(sessions=sessions) as other,
        two(one, other) as (first, second),
    ):
        assert sessions.statistics().open_sessions == 2
        for peer in (first, second):
            refused = await peer.post(initialize(), mcp_session_id=None)
            assert (refused.status_code, "max_sessions=2" in refused.text) == (503, True)
        assert (await first.send("DELETE")).status_code == 200
        assert (await second.post(initialize(), mcp_session_id=None)).status_code == 200
        sessions.close()


async def test_an_idle_session_of_one_makes_room_for_a_session_of_the_other():
    async with (
        open_session_manager(max_sessions=2) as sessions,
        endpoint_of(sessions=sessions) as one,
        endpoint_of(sessions=sessions) as other,
        two(one, other) as (first, second),
    ):
        async with second.listen():
            await second.twin().post(initialize(), mcp_session_id=None)
            assert [closed.session.session_id for closed in sessions.recently_closed()] == [first.session_id]
            assert (await first.post(request("ping"))).status_code == 404
            sessions.close()


async def test_requests_without_a_session_are_kept_apart_as_well():
    demos = Demo(), Demo()
    async with (
        open_session_manager() as sessions,
        endpoint_of(demos[0], sessions=sessions) as one,
        endpoint_of(demos[1], sessions=sessions) as other,
        two(one, other) as (first, second),
    ):
        for peer in (first, second):
            assert (await peer.modern("tools/list")).status_code == 200
        # Two of `initialize`, and one for each endpoint that no client sees.
        assert len(sessions.list_sessions()) == 4
        sessions.close()
