"""The examples of docs/mounting.rst, as their page says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import hypercorn.config
import trio
from mcp.server.auth.provider import AccessToken

from tests.mcp.helpers import call, hosting, initialize, peering, request
from tests.mounting.apps import official
from tests.mounting.reverse_proxy import proxying

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


async def test_starlette():
    example = load("guide_starlette.py")
    async with hosting(example["app"]) as url, peering(f"{url}/mcp") as peer:
        assert (await peer.post(initialize())).status_code == 421
        peer.headers["host"] = "tides.example"
        await peer.initialize()
        assert (await peer.http.get(f"{url}/health")).json() == {"sessions": 1}


async def test_starlette_stops_by_itself():
    config, stop = hypercorn.config.Config(), trio.Event()
    config.bind = ["127.0.0.1:0"]
    stop.set()
    with trio.fail_after(30):
        await load("guide_starlette.py")["main"](stop, config)


async def test_two_endpoints():
    example = load("guide_two_endpoints.py")
    async with hosting(example["app"]) as url:
        for name in ("tides", "weather"):
            async with official(f"{url}/coast/{name}") as client:
                assert client.server_info.name == name
                assert len(example[name].sessions.list_sessions()) == 1


async def test_a_proxy_that_is_believed():
    example = load("guide_proxy.py")
    async with (
        hosting(example["app"]) as upstream,
        proxying(upstream, "/coast", host="anything.example") as (_, url),
        peering(f"{url}/mcp") as peer,
    ):
        peer.headers["host"] = "tides.example"
        await peer.initialize()
        assert [session.connection_info for session in example["endpoint"].sessions.list_sessions()] == ["127.0.0.1:0"]


async def test_tokens():
    example = load("guide_tokens.py")
    resource = str(example["RESOURCE"])
    fields = {"client_id": "app", "subject": "alice", "scopes": example["SCOPES"], "resource": resource}
    tokens = example["verifier"].tokens
    for name, changes in {"good": {}, "fresh": {}, "bob": {"subject": "bob"}}.items():
        tokens[name] = AccessToken(token=name, **{**fields, **changes})
    tokens["narrow"] = AccessToken(token="narrow", **{**fields, "scopes": []})
    tokens["foreign"] = AccessToken(token="foreign", **{**fields, "resource": "https://elsewhere.example/mcp"})
    async with hosting(example["app"]) as url, peering(f"{url}/mcp") as peer:
        peer.headers["host"] = "tides.example"
        for token, status in [("none", 401), ("foreign", 401), ("narrow", 403)]:
            refused = await peer.post(initialize(), authorization=f"Bearer {token}")
            assert refused.status_code == status
        # The refusal says where to read how to get in.
        well_known = "/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="https://tides.example{well_known}"' in refused.headers["www-authenticate"]
        metadata = (await peer.http.get(url + well_known)).json()
        assert (metadata["resource"], metadata["scopes_supported"]) == (resource, example["SCOPES"])
        assert metadata["authorization_servers"] == [str(example["ISSUER"])]
        peer.headers["authorization"] = "Bearer good"
        await peer.initialize()
        peer.headers["authorization"] = "Bearer fresh"
        assert (await peer.ask(call("whoami")))["result"]["structuredContent"] == {"result": "alice, through app"}
        assert (await peer.post(request("ping"), authorization="Bearer bob")).status_code == 404


async def test_browser():
    example = load("guide_browser.py")
    origin = example["ORIGIN"]
    async with hosting(example["app"]) as url, peering(f"{url}/mcp") as peer:
        peer.headers |= {"host": "tides.example", "origin": origin}
        asked = "content-type,last-event-id,mcp-protocol-version,mcp-session-id"
        preflight = {"access_control_request_method": "POST", "access_control_request_headers": asked}
        allowed = await peer.send("OPTIONS", **preflight)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin)
        assert set(allowed.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST", "DELETE"}
        assert set(allowed.headers["access-control-allow-headers"].split(",")) >= set(asked.split(","))
        response = await peer.post(initialize())
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
        assert response.headers["access-control-expose-headers"] == "Mcp-Session-Id"
        foreign = "https://evil.example"
        assert (await peer.send("OPTIONS", origin=foreign, **preflight)).status_code == 400
        assert (await peer.post(initialize(), origin=foreign)).status_code == 403
