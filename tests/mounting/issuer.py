"""An issuer of tokens for the SDK's OAuth routes, whose only user says yes at once; and the client's side."""

from __future__ import annotations

import secrets
import time
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import attrs
import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

Client: TypeAlias = OAuthClientInformationFull


@attrs.define(eq=False)
class Issuer(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Issues tokens to clients that register themselves, and verifies them."""

    subject: str
    scopes: list[str]
    clients: dict[str, Client] = attrs.field(factory=dict)
    codes: dict[str, AuthorizationCode] = attrs.field(factory=dict)
    tokens: dict[str, AccessToken] = attrs.field(factory=dict)

    async def get_client(self, client_id: str) -> Client | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: Client) -> None:
        assert client_info.client_id is not None
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: Client, params: AuthorizationParams) -> str:
        assert client.client_id is not None
        code = secrets.token_urlsafe()
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=self.scopes,
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(self, client: Client, authorization_code: str) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client: Client, authorization_code: AuthorizationCode) -> OAuthToken:
        del self.codes[authorization_code.code]
        token = secrets.token_urlsafe()
        self.tokens[token] = AccessToken(
            token=token,
            client_id=authorization_code.client_id,
            scopes=authorization_code.scopes,
            resource=authorization_code.resource,
            subject=self.subject,
        )
        return OAuthToken(access_token=token, token_type="Bearer", expires_in=3600)

    async def load_refresh_token(self, client: Client, refresh_token: str) -> RefreshToken | None:
        return None

    async def exchange_refresh_token(
        self, client: Client, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        raise NotImplementedError

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)

    verify_token = load_access_token

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        del self.tokens[token.token]


@attrs.define(eq=False)
class Keeper:
    """Keeps what a client has been given."""

    tokens: OAuthToken | None = None
    client: Client | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Client | None:
        return self.client

    async def set_client_info(self, client_info: Client) -> None:
        self.client = client_info


def login(url: str, keeper: Keeper, http: httpx2.AsyncClient) -> OAuthClientProvider:
    """Make the SDK's OAuth client, with a browser that does nothing but follow the redirect."""
    redirects: list[str] = []

    async def open_page(url: str) -> None:
        redirects.append((await http.get(url)).headers["location"])

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**dict(parse_qsl(urlsplit(redirects.pop()).query)))

    metadata = OAuthClientMetadata(client_name="test", redirect_uris=[AnyUrl("http://localhost:1/callback")])
    return OAuthClientProvider(url, metadata, keeper, open_page, callback)
