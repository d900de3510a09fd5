"""One HTTP request as it was drawn: a value that prints as what makes it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs


@attrs.frozen
class Times:
    """Some bytes, so many times: what is huge is printed short."""

    piece: bytes
    times: int


_NAME = re.compile(rb"\$[a-z]+")
Piece: TypeAlias = bytes | Times
Header: TypeAlias = tuple[bytes, Piece]


def plain(piece: Piece) -> bytes:
    return piece if isinstance(piece, bytes) else piece.piece * piece.times


@attrs.frozen(kw_only=True)
class Shot:
    """One HTTP request, and how its client behaves.

    The values of headers may hold names of what is only known when it is sent, such as ``$mine``:
    `tests.fuzz.world` says which there are. ``$length`` is the length of the body.
    """

    method: str = "POST"
    path: str = "/mcp"
    headers: tuple[Header, ...] = ()
    body: tuple[Piece, ...] = ()
    """The body, as it is cut on its way."""
    then: Literal["end", "leave", "stall"] = "end"
    """What follows the last piece: the body's end, the client's end, or nothing."""
    user: str | None = None
    at: float = 0.0
    """Seconds after the first of several requests."""
    patience: float | None = None
    """Seconds after which the client leaves, whatever it has got; ``None``: when nothing more is to come."""

    @property
    def whole_body(self) -> bytes:
        return b"".join(map(plain, self.body))

    @property
    def stays(self) -> bool:
        """Whether the client waits for what comes."""
        return self.then != "leave" and self.patience is None

    @property
    def complete(self) -> bool:
        """Whether the client sends all of it, too."""
        return self.then == "end" and self.stays


def filled(shot: Shot, names: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers, with what the names in them stand for."""
    known = {**names, b"$length": b"%d" % len(shot.whole_body)}
    return [
        (name, _NAME.sub(lambda match: known.get(match[0], match[0]), plain(piece))) for name, piece in shot.headers
    ]


def messages(body: bytes) -> list[dict[str, Any]]:
    """The messages in a body, as another parser than the endpoint's reads it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def owed(body: bytes) -> list[Any]:
    """The identifiers of the requests in a body that an endpoint has accepted."""
    return [one["id"] for one in messages(body) if "id" in one and isinstance(one.get("method"), str)]
