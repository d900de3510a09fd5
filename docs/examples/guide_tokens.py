"""An endpoint for those who bear a token, and what tells clients where to get one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route

from streamscope.mcp import HostPolicy, StreamableHTTPEndpoint

server = MCPServer("tides")


@server.tool()
def whoami() -> str:
    token = get_access_token()
    assert token is not None
    return f"{token.subject}, through {token.client_id}"


class Verifier:
    """Looks tokens up. One in service asks the issuer, or checks signatures."""

    def __init__(self) -> None:
        self.tokens: dict[str, AccessToken] = {}

    async def verify_token(self, token: str) -> AccessToken | None:  # noqa: ASYNC124 - others wait for the issuer
        return self.tokens.get(token)


verifier = Verifier()
endpoint = StreamableHTTPEndpoint(
    server,
    hosts=HostPolicy(frozenset({"tides.example"})),
    max_sessions_per_principal=20,
)

ISSUER = AnyHttpUrl("https://login.example/coast")
RESOURCE = AnyHttpUrl("https://tides.example/mcp")
SCOPES = ["tides:read"]


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with endpoint:
        yield


app = Starlette(
    routes=[
        Route("/mcp", RequireAuthMiddleware(endpoint, SCOPES, build_resource_metadata_url(RESOURCE))),
        *create_protected_resource_routes(RESOURCE, [ISSUER], SCOPES),
    ],
    middleware=[
        Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(verifier, resource_server_url=RESOURCE)),
        Middleware(AuthContextMiddleware),
    ],
    lifespan=lifespan,
)
