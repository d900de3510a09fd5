"""Handshake-era clients of an endpoint without sessions: each POST by itself."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from mcp.server import Server
from mcp.shared.exceptions import NoBackChannelError
from mcp_types import ListRootsRequest, ListRootsResult, NotificationParams

from streamscope import CloseReason, StreamClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import answer, call, initialize, notification, peering, request, serving, until


@asynccontextmanager
async def stateless(demo=None, sse_delay=20, **options):
    server = (demo or Demo()).server
    async with serving(server, stateless=True, sse_delay=sse_delay, **options) as served, peering(served.url) as peer:
        yield served, peer


async def test_no_session_is_made_or_asked_for():
    async with stateless() as (served, peer):
        response = await peer.post(initialize())
        assert response.json()["result"]["protocolVersion"] == "2025-11-25"
        assert "mcp-session-id" not in response.headers
        assert (await peer.post(notification("notifications/initialized"))).status_code == 202
        assert (await peer.ask(call("add", {"a": 1, "b": 2})))["result"]["structuredContent"] == {"result": 3}
        # One session holds them all, and no client knows it.
        assert len(served.sessions.list_sessions()) == 1


async def test_a_session_that_a_client_names_is_of_no_importance():
    async with stateless() as (_, peer):
        assert (await peer.post(request("ping"), mcp_session_id="of old")).status_code == 200


async def test_progress_is_streamed_and_cannot_be_resumed():
    async with stateless() as (_, peer), peer.stream("POST", call("count", {"n": 2})) as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        frames = [await events.frame() for _ in range(3)]
        assert {frame.id for frame in frames} == {None}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_is_only_post(method):
    async with stateless() as (_, peer):
        response = await peer.send(method)
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"


async def test_the_client_cannot_be_asked():
    async with stateless() as (_, peer):
        body = await peer.ask(call("ask"))
        assert "back-channel" in body["result"]["structuredContent"]["result"][0][1]
        assert (await peer.post(answer(1, {}))).status_code == 202


async def test_a_client_that_goes_away_cancels_its_request():
    demo = Demo()
    async with stateless(demo, sse_delay=0.02) as (served, peer), served.sessions.watch() as changes:
        async with peer.stream("POST", call("wait", {"name": "x"})):
            pass
        await demo.over["x"].wait()
        assert (await until(changes, StreamClosed)).reason is CloseReason.DISCONNECTED


async def test_a_notification_is_handled():
    heard = []

    async def hear(ctx, params):
        heard.append(ctx.protocol_version)
        with pytest.raises(NoBackChannelError):
            await ctx.session.send_request(ListRootsRequest(), ListRootsResult)
        raise RuntimeError("only logged")

    server = Server("s")
    server.add_notification_handler("notifications/x", NotificationParams, hear)
    async with serving(server, stateless=True) as served, peering(served.url) as peer:
        for version in ("2025-06-18", None):
            response = await peer.post(notification("notifications/x"), mcp_protocol_version=version)
            assert response.status_code == 202
        (session,) = served.sessions.list_sessions()
        assert served.sessions.streams.get_session_streams(session.session_id) == []
    assert heard == ["2025-06-18", "2025-03-26"]


async def test_errors_have_no_statuses_of_their_own():
    async with stateless() as (_, peer):
        response = await peer.post(request("no/such"))
        assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)


async def test_batches_are_not_taken():
    async with stateless() as (_, peer):
        response = await peer.post([request("ping")], mcp_protocol_version="2025-03-26")
        assert response.status_code == 400
        assert "takes no batches" in response.json()["error"]["message"]


async def test_a_version_that_is_not_served():
    async with stateless() as (_, peer):
        assert (await peer.post(request("ping"), mcp_protocol_version="1999-01-01")).status_code == 400


async def test_a_server_that_stops_answers_first():
    demo = Demo()
    async with (
        stateless(demo, sse_delay=0.02) as (served, peer),
        peer.stream("POST", call("wait", {"name": "x"})) as events,
    ):
        served.stop.set()
        assert (await events.answer())["error"]["data"] == {"reason": "shutdown"}
