"""The HTTP requests that the load is made of, as bytes, with the header fields that the SDK's own client sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

HANDSHAKE: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
ERAS: Final = (HANDSHAKE, MODERN)

CLIENT: Final = {"name": "load", "version": "1"}
_FIELDS: Final = (
    "host: 127.0.0.1:8000\r\naccept: application/json, text/event-stream\r\naccept-encoding: gzip, deflate\r\n"
    "connection: keep-alive\r\nuser-agent: python-httpx2/2.16.2\r\ncontent-type: application/json\r\n"
)


def http_request(method: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return an HTTP request to the endpoint."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} /mcp HTTP/1.1\r\n{_FIELDS}{fields}content-length: {len(body)}\r\n\r\n".encode() + body


def post(message: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return the POST of a JSON-RPC message."""
    return http_request("POST", headers, json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode())


def initialize() -> bytes:
    """Return what opens a session of the handshake era."""
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
    return post({"id": 0, "method": "initialize", "params": params}, {})


def initialized(session: str) -> bytes:
    """Return what follows it."""
    return post({"method": "notifications/initialized"}, in_session(session))


def delete(session: str) -> bytes:
    """Return what ends a session."""
    return http_request("DELETE", in_session(session))


def in_session(session: str) -> dict[str, str]:
    """Return the header fields of a request in a session."""
    return {"mcp-session-id": session, "mcp-protocol-version": HANDSHAKE}


def call(tool: str, arguments: Mapping[str, Any], session: str | None, meta: Mapping[str, Any] | None = None) -> bytes:
    """Return the call of a tool: in a session, or, without one, as 2026-07-28 has it."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta is not None:
        params["_meta"] = {**meta}
    if session is not None:
        return post({"id": 1, "method": "tools/call", "params": params}, in_session(session))
    params["_meta"] = {**params.get("_meta", {}), **envelope()}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
    return post({"id": 1, "method": "tools/call", "params": params}, headers)


def get(session: str) -> bytes:
    """Return what opens a session's stream for what belongs to no request."""
    return http_request("GET", in_session(session))


def subscribe() -> bytes:
    """Return what opens a stream of changes, as 2026-07-28 has it."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": envelope()}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "subscriptions/listen"}
    return post({"id": 1, "method": "subscriptions/listen", "params": params}, headers)


def envelope() -> dict[str, Any]:
    """Return what each request of 2026-07-28 says of its client."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
