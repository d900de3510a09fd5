"""Bearer tokens, and an application that asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route

from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.helpers import Peer, hosting, peering
from tests.mounting.apps import application


@attrs.define
class Tokens:
    """Issues tokens, and verifies them for the SDK's middleware."""

    issued: dict[str, AccessToken] = attrs.field(factory=dict)

    def issue(
        self, subject: str | None = None, *, client: str = "client", issuer: str | None = None, **fields: Any
    ) -> str:
        """Return a token that there was not before."""
        token = f"token-{len(self.issued)}"
        claims = None if issuer is None else {"iss": issuer}
        self.issued[token] = AccessToken(
            token=token, client_id=client, subject=subject, claims=claims, **{"scopes": ["tools"], **fields}
        )
        return token

    async def verify_token(self, token: str) -> AccessToken | None:
        return self.issued.get(token)


def guarded(endpoint: StreamableHTTPEndpoint, tokens: Tokens, scopes: Sequence[str] = ("tools",)) -> Starlette:
    """Make an application with an endpoint behind the SDK's middleware, put together as the SDK does."""
    return application(
        [Route("/mcp", RequireAuthMiddleware(endpoint, list(scopes)))],
        endpoint,
        middleware=[
            Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(tokens)),
            Middleware(AuthContextMiddleware),
        ],
    )


def bear(peer: Peer, token: str) -> None:
    """Let a client use a token from now on."""
    peer.headers["authorization"] = f"Bearer {token}"


@asynccontextmanager
async def two_bearers(
    endpoint: StreamableHTTPEndpoint, tokens: Tokens, first: str, second: str
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Host a guarded endpoint; give two clients that bear these tokens, the first with a session."""
    async with hosting(guarded(endpoint, tokens)) as url, peering(f"{url}/mcp") as peer:
        bear(peer, first)
        other = peer.twin()
        bear(other, second)
        await peer.initialize()
        yield peer, other
