"""Starlette's own authentication in front of the endpoint, with users of any kind."""

from __future__ import annotations

from contextlib import asynccontextmanager

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route

from tests.mcp.helpers import hosting, initialize, peering, request
from tests.mounting.apps import adds, application, endpoint_of, official


class ByCookie(AuthenticationBackend):
    """Lets in whom a cookie names."""

    async def authenticate(self, conn):
        name = conn.cookies.get("user")
        if name == "mallory":
            raise AuthenticationError("not you")
        return None if name is None else (AuthCredentials(["tools"]), SimpleUser(name))


@asynccontextmanager
async def users(**options):
    """Host an endpoint that knows its users by a cookie; give a client without one."""
    endpoint = endpoint_of(**options)
    middleware = [Middleware(AuthenticationMiddleware, backend=ByCookie())]
    app = application([Route("/mcp", endpoint)], endpoint, middleware=middleware)
    async with hosting(app) as url, peering(f"{url}/mcp") as peer:
        yield endpoint, peer


async def test_a_session_belongs_to_the_user():
    async with users() as (endpoint, peer):
        peer.headers["cookie"] = "user=alice"
        await peer.initialize()
        assert await adds(peer)
        assert [session.principal for session in endpoint.sessions.list_sessions()] == ["alice"]
        for cookie in ("user=bob", None):
            assert (await peer.post(request("ping"), cookie=cookie)).status_code == 404
        # As it has it in the cookie, whatever else is there.
        assert (await peer.post(request("ping"), cookie="theme=dark; user=alice")).status_code == 200


async def test_the_official_client_has_a_session_of_its_users():
    async with users() as (endpoint, peer), official(peer.url, headers={"cookie": "user=alice"}) as client:
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        assert [session.principal for session in endpoint.sessions.list_sessions()] == ["alice"]


async def test_a_middleware_that_only_looks_lets_nobody_in_as_nobody():
    async with users() as (endpoint, peer):
        await peer.initialize()
        assert [session.principal for session in endpoint.sessions.list_sessions()] == [None]
        assert (await peer.post(initialize(), cookie="user=mallory", mcp_session_id=None)).status_code == 400
        assert len(endpoint.sessions.list_sessions()) == 1


async def test_each_user_has_so_many_sessions():
    async with users(max_sessions_per_principal=1, evict_idle=False) as (_, peer):
        for user, status in [("alice", 200), ("alice", 503), ("bob", 200)]:
            assert (await peer.post(initialize(), cookie=f"user={user}")).status_code == status
