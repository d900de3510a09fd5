"""The SDK's bearer tokens in front of the endpoint: who gets in, and whose a session is."""

from __future__ import annotations

import time

import pytest

from streamscope import SessionId, StreamId
from streamscope.mcp import principal_of
from tests.mcp.demo import Demo
from tests.mcp.helpers import answer, call, hosting, initialize, notification, peering, request
from tests.mounting.apps import adds, endpoint_of, official_adds
from tests.mounting.tokens import Tokens, bear, guarded, two_bearers

MODES = ["legacy", "2026-07-28"]


# The middleware's part


async def test_nobody_gets_in_without_a_token():
    endpoint, tokens = endpoint_of(), Tokens()
    expired = tokens.issue(expires_at=int(time.time()) - 1)
    async with hosting(guarded(endpoint, tokens)) as url, peering(f"{url}/mcp") as peer:
        for header in (None, "Bearer", "Bearer unknown", f"Bearer {expired}", "Basic YTpi"):
            for method in ("POST", "GET", "DELETE"):
                refused = await peer.send(method, initialize() if method == "POST" else None, authorization=header)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
        assert endpoint.sessions.recently_closed() == endpoint.sessions.list_sessions() == []


async def test_a_token_that_is_good_for_less_is_not_enough():
    endpoint, tokens = endpoint_of(), Tokens()
    async with hosting(guarded(endpoint, tokens, ["tools", "more"])) as url, peering(f"{url}/mcp") as peer:
        bear(peer, tokens.issue("alice", scopes=["tools"]))
        refused = await peer.post(initialize())
        assert refused.status_code == 403
        assert refused.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
        bear(peer, tokens.issue("alice", scopes=["tools", "more"]))
        await peer.initialize()
        # Also where it has a session, which goes on.
        bear(peer, tokens.issue("alice", scopes=["more"]))
        assert (await peer.post(request("ping"))).status_code == 403
        assert len(endpoint.sessions.list_sessions()) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_with_a_token(mode):
    endpoint, tokens = endpoint_of(), Tokens()
    headers = {"authorization": f"Bearer {tokens.issue('alice')}"}
    async with hosting(guarded(endpoint, tokens)) as url:
        assert await official_adds(f"{url}/mcp", mode, headers=headers)


# Whose a session is


async def test_a_session_belongs_to_the_client_the_issuer_and_the_subject():
    tokens = Tokens()
    alice = {"subject": "alice", "client": "a", "issuer": "https://one.example"}
    async with two_bearers(endpoint_of(), tokens, tokens.issue(**alice), tokens.issue(**alice)) as (peer, other):
        for changes, status in [
            ({}, 200),
            ({"scopes": ["tools", "more"]}, 200),
            ({"subject": "bob"}, 404),
            ({"client": "b"}, 404),
            ({"issuer": "https://two.example"}, 404),
            ({"subject": None}, 404),
            ({"issuer": None}, 404),
        ]:
            bear(other, tokens.issue(**{**alice, **changes}))
            other.headers["mcp-session-id"] = str(peer.session_id)
            assert (await other.post(request("ping"))).status_code == status, changes


async def test_a_refreshed_token_keeps_the_session_and_its_streams():
    demo, tokens = Demo(), Tokens()
    endpoint = endpoint_of(demo, sse_delay=0)
    async with two_bearers(endpoint, tokens, tokens.issue("alice"), tokens.issue("bob")) as (peer, _):
        async with peer.stream("POST", call("speak")) as events:
            await demo.lines.send(0)
            await events.message()
        bear(peer, tokens.issue("alice"))
        await demo.lines.send(1)
        demo.lines.close()
        async with peer.listen(events.last_id) as resumed:
            assert (await resumed.message())["params"]["progress"] == 1
            assert "result" in await resumed.answer()
        assert await adds(peer)
        (session,) = endpoint.sessions.list_sessions()
        assert session.principal is not None
        assert not any(token in session.principal for token in tokens.issued)


async def test_a_token_is_looked_at_when_a_request_comes_and_not_again():
    demo, tokens = Demo(), Tokens()
    token = tokens.issue("alice")
    async with two_bearers(endpoint_of(demo), tokens, token, token) as (peer, _):
        async with peer.stream("POST", call("wait", {"name": "x"})) as events:
            await events.frame()
            del tokens.issued[token]
            assert (await peer.post(request("ping"))).status_code == 401
            demo.gates["x"].set()
            assert (await events.answer())["result"]["content"][0]["text"] == "x waited"


async def test_2026_requests_of_a_refreshed_token_are_in_one_session():
    endpoint, tokens = endpoint_of(), Tokens()
    async with hosting(guarded(endpoint, tokens)) as url, peering(f"{url}/mcp") as peer:
        for subject in ("alice", "alice", "bob"):
            bear(peer, tokens.issue(subject))
            assert (await peer.modern("tools/list")).status_code == 200
        assert len(endpoint.sessions.list_sessions()) == 2


def whole(response):
    return response.status_code, {k: v for k, v in response.headers.items() if k != "date"}, response.content


@pytest.mark.parametrize("stranger", [{"subject": "bob"}, {"subject": "alice", "client": "other"}, {}], ids=str)
async def test_what_is_another_principals_answers_exactly_like_what_there_is_not(stranger):
    demo, tokens = Demo(), Tokens()
    endpoint = endpoint_of(demo)
    async with two_bearers(endpoint, tokens, tokens.issue("alice"), tokens.issue(**stranger)) as (alice, mallory):
        unknown = mallory.twin()
        mallory.headers["mcp-session-id"] = str(alice.session_id)
        unknown.headers["mcp-session-id"] = str(SessionId.new())
        async with alice.listen() as listening, alice.stream("POST", call("wait", {"name": "x"})) as events:
            primed = await events.frame()
            for method, message, headers in [
                ("POST", request("ping"), {}),
                ("POST", call("add", {"a": 1, "b": 2}), {}),
                ("POST", initialize(), {}),
                ("POST", notification("notifications/cancelled", {"requestId": 1}), {}),
                ("POST", answer(1, {}), {}),
                ("GET", None, {}),
                ("GET", None, {"last_event_id": primed.id}),
                ("GET", None, {"last_event_id": listening.last_id}),
                ("DELETE", None, {}),
            ]:
                theirs = await mallory.send(method, message, **headers)
                assert theirs.status_code == 404
                assert whole(theirs) == whole(await unknown.send(method, message, **headers))
            # From a session of one's own, another's stream and event are as unknown as those that never were.
            del mallory.headers["mcp-session-id"]
            await mallory.initialize()
            refused = [
                whole(await mallory.send("GET", last_event_id=event_id))
                for event_id in (primed.id, listening.last_id, f"{StreamId.new()}.0", f"{StreamId.new()}.1")
            ]
            assert refused[0][0] == 400
            assert refused == [refused[0]] * 4
            # Nothing of this has touched Alice.
            demo.gates["x"].set()
            assert (await events.answer())["result"]["content"][0]["text"] == "x waited"
        assert await adds(alice)


async def test_the_principal_is_that_of_principal_of():
    endpoint, tokens = endpoint_of(), Tokens()
    token = tokens.issue("alice", issuer="https://one.example")
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

    async with two_bearers(endpoint, tokens, token, token):
        (session,) = endpoint.sessions.list_sessions()
        assert session.principal == principal_of({"user": AuthenticatedUser(tokens.issued[token])})
