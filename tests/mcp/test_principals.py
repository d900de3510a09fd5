"""Whose session it is: what is somebody else's does not exist."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import attrs
import pytest
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser

from streamscope import SessionId, StreamId, open_session_manager
from streamscope.mcp import StreamableHTTPEndpoint, principal_of
from tests.mcp.demo import Demo
from tests.mcp.helpers import (
    Served,
    answer,
    call,
    hosting,
    initialize,
    no_lifespan,
    notification,
    peering,
    request,
    serving,
)


def login(app):
    """Wrap an application in a middleware that believes whatever name it is given."""

    async def wrapped(scope, receive, send):
        name = dict(scope["headers"]).get(b"x-user")
        scope["user"] = UnauthenticatedUser() if name is None else SimpleUser(name.decode())
        await app(scope, receive, send)

    return wrapped


@asynccontextmanager
async def two_users(**options):
    """Give a server, Alice with her session, and Mallory without one."""
    demo = Demo()
    async with (
        open_session_manager(**options) as sessions,
        StreamableHTTPEndpoint(demo.server, sessions) as endpoint,
        hosting(no_lifespan(login(endpoint))) as url,
        peering(url) as alice,
    ):
        alice.headers["x-user"] = "alice"
        mallory = alice.twin()
        mallory.headers["x-user"] = "mallory"
        await alice.initialize()
        yield demo, Served(url, sessions, None), alice, mallory
        await endpoint.close()


def whole(response):
    return response.status_code, {k: v for k, v in response.headers.items() if k != "date"}, response.content


async def test_a_session_belongs_to_who_opened_it():
    async with two_users() as (_, served, alice, mallory):
        await mallory.initialize()
        owners = {session.principal: session.session_id for session in served.sessions.list_sessions()}
        assert owners == {"alice": alice.session_id, "mallory": mallory.session_id}


@pytest.mark.parametrize("who", ["mallory", None])
async def test_anothers_session_answers_exactly_like_one_that_there_is_not(who):
    async with two_users() as (demo, served, alice, mallory):
        if who is None:
            del mallory.headers["x-user"]
        unknown = mallory.twin()
        mallory.headers["mcp-session-id"] = str(alice.session_id)
        unknown.headers["mcp-session-id"] = str(SessionId.new())
        async with alice.listen() as listening, alice.stream("POST", call("wait", {"name": "x"}, 1)) as events:
            primed = await events.frame()
            for method, message, headers in [
                ("POST", request("ping"), {}),
                ("POST", request("no/such/method"), {}),
                ("POST", initialize(), {}),
                ("POST", notification("notifications/cancelled", {"requestId": 1}), {}),
                ("POST", answer(1, {}), {}),
                ("POST", [request("ping")], {}),
                ("GET", None, {}),
                ("GET", None, {"last_event_id": primed.id}),
                ("GET", None, {"last_event_id": listening.last_id}),
                ("GET", None, {"last_event_id": f"{StreamId.new()}.1"}),
                ("GET", None, {"last_event_id": "nonsense"}),
                ("GET", None, {"accept": "application/json"}),
                ("DELETE", None, {}),
            ]:
                theirs = await mallory.send(method, message, **headers)
                none = await unknown.send(method, message, **headers)
                assert theirs.status_code == 404
                assert whole(theirs) == whole(none)
            # Nothing of this has touched Alice.
            demo.gates["x"].set()
            assert (await events.answer())["result"]["content"][0]["text"] == "x waited"
            assert len(served.sessions.list_sessions()) == 1


async def test_who_is_not_logged_in_has_a_session_too():
    async with two_users() as (_, served, alice, mallory):
        del mallory.headers["x-user"]
        await mallory.initialize()
        assert "result" in await mallory.ask(request("ping"))
        alice.headers["mcp-session-id"] = str(mallory.session_id)
        assert (await alice.post(request("ping"))).status_code == 404
        assert {session.principal for session in served.sessions.list_sessions()} == {"alice", None}


async def test_2026_requests_are_kept_apart():
    async with two_users() as (_, served, alice, mallory):
        for peer in (alice, mallory, alice):
            assert (await peer.modern("tools/list")).status_code == 200
        assert [len(served.sessions.list_sessions(principal=name)) for name in ("alice", "mallory")] == [2, 1]


async def test_no_principal_takes_more_than_its_share():
    async with two_users(max_sessions_per_principal=2, evict_idle=False) as (_, served, alice, mallory):
        assert (await alice.post(initialize(), mcp_session_id=None)).status_code == 200
        response = await alice.post(initialize(), mcp_session_id=None)
        assert response.status_code == 503
        assert "max_sessions_per_principal=2" in response.json()["error"]["message"]
        await mallory.initialize()
        assert len(served.sessions.list_sessions()) == 3


async def test_a_principal_of_ones_own_making():
    def by_header(scope):
        return dict(scope["headers"]).get(b"x-tenant", b"nobody").decode()

    async with serving(Demo().server, principal=by_header) as served, peering(served.url) as peer:
        peer.headers["x-tenant"] = "a"
        await peer.initialize()
        assert served.sessions.list_sessions()[0].principal == "a"
        assert (await peer.post(request("ping"), x_tenant="b")).status_code == 404
        assert (await peer.post(request("ping"), x_tenant=None)).status_code == 404
        assert "result" in await peer.ask(request("ping"))


# The default


def token(**fields):
    return AuthenticatedUser(AccessToken(token="t", client_id="client", scopes=[], **fields))


def test_nobody():
    assert principal_of({}) is None
    assert principal_of({"user": None}) is None
    assert principal_of({"user": UnauthenticatedUser()}) is None
    assert principal_of({"user": object()}) is None


def test_somebody():
    assert principal_of({"user": SimpleUser("alice")}) == "alice"


@attrs.define
class User:
    """A user of some other framework."""

    identity: str
    is_authenticated: bool = True
    display_name: str = "shown"


def test_an_identity_counts_more_than_a_name():
    assert principal_of({"user": User("id")}) == "id"
    assert principal_of({"user": User("")}) == "shown"
    assert principal_of({"user": User("id", is_authenticated=False)}) is None


class Named(BaseUser):
    """A user that has a name only."""

    is_authenticated = True
    display_name = "named"


class Shown:
    """A user that knows of no identities."""

    is_authenticated = True
    display_name = "shown"


@pytest.mark.parametrize(("user", "name"), [(Named(), "named"), (Shown(), "shown")], ids=["BaseUser", "any class"])
def test_a_user_without_an_identity_has_its_name(user, name):
    assert principal_of({"user": user}) == name


def test_a_token_is_not_the_principal_its_client_and_subject_are():
    first = token(subject="alice")
    refreshed = AuthenticatedUser(AccessToken(token="u", client_id="client", scopes=["more"], subject="alice"))
    assert principal_of({"user": first}) == principal_of({"user": refreshed})
    assert "alice" in json.loads(principal_of({"user": first})).values()
    assert "t" not in json.loads(principal_of({"user": first})).values()
    assert len({principal_of({"user": user}) for user in (first, token(subject="bob"), token())}) == 3
