"""A handshake-era session, from initialize to DELETE, as bytes on the wire."""

from __future__ import annotations

import json

import pytest

from streamscope import CloseReason, SessionClosed, SessionId, SessionOpened
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, initialize, notification, peering, request, serving, talking, until

VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_initialize_opens_a_session(version):
    async with serving(Demo().server) as served, peering(served.url) as peer:
        response = await peer.post(initialize(version))
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body["id"] == "init"
        assert body["result"]["protocolVersion"] == version
        assert body["result"]["serverInfo"]["name"] == "demo"
        session_id = SessionId.parse(response.headers["mcp-session-id"])
        assert [session.session_id for session in served.sessions.list_sessions()] == [session_id]
        # What was opened is a session, and not a stream any more.
        assert served.sessions.streams.list_streams() == []


async def test_an_unknown_version_is_answered_with_the_latest_that_has_sessions():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        assert (await peer.post(initialize("1999-01-01"))).json()["result"]["protocolVersion"] == VERSIONS[-1]


async def test_a_session_from_start_to_end():
    async with serving(Demo().server) as served, peering(served.url) as peer, served.sessions.watch() as changes:
        await peer.initialize()
        opened = await changes.receive()
        assert isinstance(opened, SessionOpened)
        assert opened.session.session_id == peer.session_id
        assert opened.session.connection_info.startswith("127.0.0.1:")

        names = [tool["name"] for tool in (await peer.ask(request("tools/list")))["result"]["tools"]]
        assert {"add", "count"} <= set(names)
        result = (await peer.ask(call("add", {"a": 1, "b": 2})))["result"]
        assert result["structuredContent"] == {"result": 3}

        response = await peer.send("DELETE")
        assert (response.status_code, response.content) == (200, b"")
        assert served.sessions.list_sessions() == []
        (closed,) = served.sessions.recently_closed()
        assert closed == SessionClosed(closed.session, CloseReason.TERMINATED)
        assert closed.session.session_id == peer.session_id

        gone = [await peer.send("DELETE"), await peer.send("GET"), await peer.post(request("ping"))]
        gone.append(await peer.post(notification("notifications/initialized")))
        assert {response.status_code for response in gone} == {404}
        assert {response.json()["error"]["code"] for response in gone} == {-32600}


async def test_initialize_gives_each_client_a_session_of_its_own():
    async with serving(Demo().server) as served, peering(served.url) as one, peering(served.url) as other:
        await one.initialize()
        await other.initialize()
        assert one.session_id != other.session_id
        await one.send("DELETE")
        assert [session.session_id for session in served.sessions.list_sessions()] == [other.session_id]
        assert "result" in await other.ask(request("ping"))


async def test_an_initialize_that_fails_leaves_no_session():
    async with serving(Demo().server) as served, peering(served.url) as peer, served.sessions.watch() as changes:
        response = await peer.post(request("initialize", {"protocolVersion": "2025-11-25"}))
        assert "mcp-session-id" not in response.headers
        assert response.json()["error"]["code"] == -32602
        assert (await until(changes, SessionClosed)).reason is CloseReason.FAILED
        assert served.sessions.list_sessions() == []


async def test_before_initialize_nothing_else_is_served():
    async with serving(Demo().server) as served, peering(served.url) as peer:
        for message in (request("tools/list"), request("ping"), notification("notifications/initialized")):
            response = await peer.post(message)
            assert response.status_code == 400
            assert "Mcp-Session-Id" in response.json()["error"]["message"]
        assert served.sessions.list_sessions() == []


async def test_initialize_for_a_session_that_is_gone_says_so():
    async with talking(Demo().server) as (_, peer):
        await peer.send("DELETE")
        response = await peer.post(initialize())
        assert response.status_code == 404
        assert "without Mcp-Session-Id" in response.json()["error"]["message"]


async def test_initialize_when_everything_is_streamed():
    async with serving(Demo().server, sse_delay=0) as served, peering(served.url) as peer:
        async with peer.stream("POST", initialize()) as events:
            assert events.response.headers["content-type"] == "text/event-stream"
            peer.headers["mcp-session-id"] = events.response.headers["mcp-session-id"]
            assert (await events.answer())["result"]["protocolVersion"] == VERSIONS[-1]
            assert await events.rest() == []
        assert (await peer.ask(call("add", {"a": 1, "b": 2})))["result"]["structuredContent"] == {"result": 3}


async def test_a_client_may_be_silent_about_its_version():
    async with talking(Demo().server) as (_, peer):
        del peer.headers["mcp-protocol-version"]
        assert "result" in await peer.ask(request("ping"))
        async with peer.listen():
            pass
        assert (await peer.send("DELETE")).status_code == 200


async def test_the_version_that_was_negotiated_is_the_sessions():
    # Not what a later header says, or does not say.
    async with talking(Demo().server) as (_, peer):
        del peer.headers["mcp-protocol-version"]
        batch = await peer.post([request("ping")])
        assert batch.status_code == 400
        assert "no batches" in batch.json()["error"]["message"]


@pytest.mark.parametrize("version", ["1999-01-01", "", "2025-11-25, 2025-11-25", "nonsense"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_version_that_is_not_served(method, version):
    async with talking(Demo().server) as (served, peer):
        message = request("ping") if method == "POST" else None
        response = await peer.send(method, message, mcp_protocol_version=version)
        assert response.status_code == 400
        assert json.loads(response.content)["error"]["code"] in {-32022, -32602}
        assert len(served.sessions.list_sessions()) == 1
        assert (await peer.post(notification("n"), mcp_protocol_version=version)).status_code == 400
