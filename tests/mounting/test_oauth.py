"""The whole way of a client to its token: from the refusal, by way of the metadata, to a session of its own."""

from __future__ import annotations

import httpx2
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.routes import (
    build_resource_metadata_url,
    create_auth_routes,
    create_protected_resource_routes,
)
from mcp.server.auth.settings import ClientRegistrationOptions
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route

from tests.mcp.demo import Demo
from tests.mcp.helpers import hosting, no_lifespan, peering, request
from tests.mounting.apps import endpoint_of, official
from tests.mounting.issuer import Issuer, Keeper, login

SCOPES = ["tools"]


def with_issuer(endpoint, issuer, url):
    """Make an application that serves an endpoint, and issues the tokens for it."""
    resource = AnyHttpUrl(f"{url}/mcp")
    registration = ClientRegistrationOptions(enabled=True, valid_scopes=SCOPES, default_scopes=SCOPES)
    return Starlette(
        routes=[
            Route("/mcp", RequireAuthMiddleware(endpoint, SCOPES, build_resource_metadata_url(resource))),
            *create_protected_resource_routes(resource, [AnyHttpUrl(url)], SCOPES),
            *create_auth_routes(issuer, AnyHttpUrl(url), client_registration_options=registration),
        ],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(issuer, resource_server_url=resource)),
            Middleware(AuthContextMiddleware),
        ],
    )


async def test_the_official_client_finds_its_way_and_keeps_its_session_when_it_has_to_log_in_again():
    demo, issuer, keeper = Demo(), Issuer("alice", SCOPES), Keeper()

    async def whoami() -> str:
        token = get_access_token()
        assert token is not None
        return token.token

    demo.server.add_tool(whoami)
    apps = []

    async def late(scope, receive, send):
        # The application has to know its URL, and that is known when its server listens.
        await apps[0](scope, receive, send)

    async with (
        endpoint_of(demo) as endpoint,
        hosting(no_lifespan(late)) as url,
        httpx2.AsyncClient(verify=False) as http,
    ):
        apps.append(with_issuer(endpoint, issuer, url))
        async with official(f"{url}/mcp", auth=login(f"{url}/mcp", keeper, http)) as client:

            async def who():
                return (await client.call_tool("whoami")).structured_content["result"]

            (first,) = issuer.tokens
            assert await who() == first == keeper.tokens.access_token
            (session,) = endpoint.sessions.list_sessions()
            assert "alice" in session.principal
            assert keeper.client.client_id in session.principal

            await issuer.revoke_token(issuer.tokens[first])
            second = await who()
            assert list(issuer.tokens) == [second] != [first]
            assert endpoint.sessions.list_sessions()[0].session_id == session.session_id
        await endpoint.close()
        # Who has no token is told the way.
        async with peering(f"{url}/mcp") as peer:
            refused = await peer.post(request("ping"))
            assert refused.status_code == 401
            assert f"{url}/.well-known/oauth-protected-resource/mcp" in refused.headers["www-authenticate"]
