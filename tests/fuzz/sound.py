"""What is sound: the headers that are due, and the names in them of what is only known at run time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fuzz.shots import Header, Shot
from tests.mcp.helpers import BOTH, HANDSHAKE

OTHER = "alice"
"""Another principal."""
SESSIONS = {
    "$mine": (HANDSHAKE, None),
    "$batching": ("2025-03-26", None),
    "$foreign": (HANDSHAKE, OTHER),
    "$ended": (HANDSHAKE, None),
    "$old": (HANDSHAKE, None),
}
"""What stands in headers for sessions: one's own, one that has batches, another principal's, one that has ended; and
one that no request names, which is to survive whatever comes. Of what revision and whose they are."""
STREAMS = ("$finished", "$theirs", "$listener", "$latest")
"""What stands for streams: one's own that has finished, another principal's that has, one's own listener, and one's
own that was opened last."""
BASE: tuple[Header, ...] = (
    (b"host", b"127.0.0.1:8000"),
    (b"accept", BOTH.encode()),
    (b"content-type", b"application/json"),
    (b"content-length", b"$length"),
)


def fields(headers: Mapping[str, str]) -> tuple[Header, ...]:
    """Headers as the helpers of other tests spell them."""
    return tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())


def session(name: str, version: str | None) -> tuple[Header, ...]:
    named: tuple[Header, ...] = ((b"mcp-session-id", name.encode()),)
    return named if version is None else (*named, (b"mcp-protocol-version", version.encode()))


def in_session(name: str) -> tuple[Header, ...]:
    return session(name, SESSIONS[name][0])


def post(message: Any, *more: Header, user: str | None = None) -> Shot:
    return Shot(headers=BASE + more, body=(json.dumps(message).encode(),), user=user)
