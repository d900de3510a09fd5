"""The protocol's decisions about one HTTP request, without any I/O.

Everything here follows from the request's method, its headers and its body:
what is refused and how, and which era of the protocol a message belongs to.
References are to the MCP specification, "Transports: Streamable HTTP".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, final

import attrs

from .._reasons import CloseReason
from . import _jsonrpc
from ._jsonrpc import INVALID_REQUEST, Message, RequestId

JSON: Final = "application/json"
SSE: Final = "text/event-stream"
SESSION_HEADER: Final = "mcp-session-id"
VERSION_HEADER: Final = "mcp-protocol-version"
LAST_EVENT_ID: Final = "last-event-id"
_VERSION_META_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NOT_ACCEPTED: Final = re.compile(r"q=0(\.0*)?")


@final
class RefusedError(Exception):
    """The request is refused.

    Args:
        status: The HTTP status.
        message: What is wrong and what to do about it.
        code: The JSON-RPC error code.
        data: More about it, for programs.
        headers: Further response headers.
        request_id: The JSON-RPC request that is refused, where there is one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = INVALID_REQUEST,
        data: object = None,
        headers: Mapping[str, str] | None = None,
        request_id: RequestId | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = _jsonrpc.error(request_id, code, message, data)


RETRY_AFTER: Final = {"retry-after": "5"}


def session_not_found() -> RefusedError:
    """Make the answer to whoever names a session that has ended, never was, or is somebody else's."""
    # Each time anew: an exception keeps the frames through which it was raised.
    return RefusedError(404, "Session not found; send a new initialize request without Mcp-Session-Id")


@final
class Headers:
    """The headers of a request, by lower-case name.

    They are there as long as the response is, so they share their bytes with the request.
    """

    __slots__ = ("_values", "duplicates")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        # RFC 9110, section 5.5: surrounding white space is not part of the value.
        fields = [(name if name.islower() else name.lower(), value.strip()) for name, value in raw]
        self._values = dict(fields)
        self.duplicates: frozenset[str] = frozenset()
        """Names that came more than once."""
        if len(self._values) < len(fields):
            self._join(fields)

    def _join(self, fields: list[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            values.setdefault(name, []).append(value)
        # RFC 9110, section 5.3: a repeated field is one list. Joined at once: field by field, thousands take minutes.
        self._values = {name: b", ".join(several) for name, several in values.items()}
        self.duplicates = frozenset(name.decode("latin-1") for name, several in values.items() if len(several) > 1)

    def get(self, name: str) -> str | None:
        """Return the value of a header, or ``None``."""
        value = self._values.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def as_dict(self) -> dict[str, str]:
        """Return all of them."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._values.items()}

    def accepts(self, media_type: str) -> bool:
        """Tell whether ``Accept`` admits this media type (RFC 9110, section 12.5.1)."""
        return _accepts(self.get("accept") or "", media_type)

    def content_length(self) -> int | None:
        """Return the announced length of the body, or ``None``."""
        value = self.get("content-length") or ""
        # int() raises where there are more than 4,300 digits.
        return int(value[:4000]) if value.isascii() and value.isdigit() else None


# A client sends the same with each request.
@lru_cache(maxsize=64)
def _accepts(accept: str, media_type: str) -> bool:
    accepted: dict[str, bool] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = map(str.strip, part.split(";"))
        accepted[media_range] = not any(_NOT_ACCEPTED.fullmatch(parameter) for parameter in parameters)
    # The most specific range decides.
    return accepted.get(media_type, accepted.get(f"{media_type.partition('/')[0]}/*", accepted.get("*/*", False)))


@final
@attrs.frozen
class HostPolicy:
    """Which ``Host`` and ``Origin`` headers are let in, against DNS rebinding.

    Names are compared whole, and with their port where one is given here.

    Args:
        hosts: Host names that are let in; ``None`` for any.
        origins: Origins, such as ``https://app.example``, that are let in besides those of ``hosts``;
            with ``:*`` at the end, on any port.
        same_host: Whether pages of the ``hosts`` themselves are let in.

    Raises:
        ValueError: There are origins, but no hosts, so that any origin would be let in.
    """

    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    same_host: bool = True

    def __attrs_post_init__(self) -> None:
        if self.hosts is None and self.origins:
            raise ValueError("origins are let in besides those of the hosts; say which hosts, too")

    def check(self, headers: Headers) -> None:
        """Check a request.

        Raises:
            RefusedError: 403 for a foreign ``Origin`` ("Security Warning"), 421 for a foreign ``Host``.
        """
        if self.hosts is None:
            return
        host = headers.get("host")
        if host is None or not self._knows(host):
            raise RefusedError(421, "Misdirected request: this server does not answer to that Host")
        origin = headers.get("origin")
        if origin is None or origin in self.origins or f"{_without_port(origin)}:*" in self.origins:
            return
        scheme, separator, authority = origin.partition("://")
        of_a_host = separator and scheme in {"http", "https"} and self._knows(authority)
        if not (self.same_host and of_a_host):
            raise RefusedError(403, "Forbidden: this Origin may not use the server")

    def _knows(self, authority: str) -> bool:
        assert self.hosts is not None
        return authority.lower() in self.hosts or _without_port(authority.lower()) in self.hosts


def _without_port(authority: str) -> str:
    name, _, port = authority.rpartition(":")
    return name if port.isascii() and port.isdigit() else authority


LOOPBACK_ONLY: Final = HostPolicy(frozenset({"127.0.0.1", "localhost", "[::1]"}))
"""The policy for a server that listens on a loopback address."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def default_hosts(address: str) -> HostPolicy:
    """Return the policy for a server that listens on an address, where nobody says otherwise."""
    return LOOPBACK_ONLY if address in _LOOPBACK else HostPolicy()


def check_method(method: str) -> None:
    """Refuse what is neither POST, GET nor DELETE.

    Raises:
        RefusedError: 405, with ``Allow``.
    """
    if method not in {"POST", "GET", "DELETE"}:
        raise method_not_allowed("GET, POST, DELETE")


def method_not_allowed(allow: str) -> RefusedError:
    """Make the refusal of a method (RFC 9110, section 15.5.6)."""
    return RefusedError(405, f"Method not allowed; use {allow}", headers={"allow": allow})


def check_post(headers: Headers, *, json_only: bool = False) -> None:
    """Check what every POST must say ("Sending Messages to the Server").

    Args:
        headers: Its headers.
        json_only: Whether nothing is streamed, so that the client need not accept it.

    Raises:
        RefusedError: 406 or 415.
    """
    if not headers.accepts(JSON):
        raise RefusedError(406, f"Not acceptable: a client must accept both {JSON} and {SSE}")
    if not json_only:
        check_accepts_events(headers)
    content_type = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise RefusedError(415, f"Unsupported media type: Content-Type must be {JSON}")


def check_accepts_events(headers: Headers) -> None:
    """Check that a client accepts a stream of events ("Listening for Messages from the Server").

    Raises:
        RefusedError: 406.
    """
    if not headers.accepts(SSE):
        raise RefusedError(406, f"Not acceptable: a client must accept {SSE}")


def read_body(body: bytes | bytearray) -> Message | list[Message]:
    """Read the body of a POST.

    Raises:
        RefusedError: 400: it is no JSON-RPC message.
    """
    try:
        return _jsonrpc.parse(body)
    except _jsonrpc.MalformedMessageError as exc:
        raise RefusedError(400, str(exc), code=exc.code, request_id=exc.request_id) from None


def has_envelope(message: Message) -> bool:
    """Tell whether a message says of itself that it belongs to the era without a handshake.

    2026-07-28, "Per-request protocol fields": the key is reserved, so no older client sends it.
    """
    if isinstance(message, _jsonrpc.Answer) or not message.params:
        return False
    meta: Any = message.params.get("_meta")
    return isinstance(meta, dict) and _VERSION_META_KEY in meta


def restarted(request_id: RequestId) -> bytes:
    """Write the answer to a request of which the process that handled it has died."""
    return _jsonrpc.error(
        request_id,
        _jsonrpc.CONNECTION_CLOSED,
        "The request was not finished, because the server was restarted",
        {"reason": "restarted"},
    )


def goodbye(request_id: RequestId, reason: CloseReason) -> bytes:
    """Write the answer to a request that cannot be finished, with the reason."""
    if reason is CloseReason.CANCELLED:
        return _jsonrpc.error(request_id, _jsonrpc.REQUEST_CANCELLED, "Request cancelled")
    return _jsonrpc.error(
        request_id,
        _jsonrpc.CONNECTION_CLOSED,
        f"The request was not finished, because its session or stream has ended: {reason}",
        {"reason": str(reason)},
    )
