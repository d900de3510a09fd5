"""The bounds of a server, in one value, with their defaults."""

from __future__ import annotations

from typing import Final, final

import attrs

from .._util import validate_count, validate_seconds

READ_SIZE: Final = 2**16
"""Bytes that are read at once. What a client sends ahead of the answers is read while there is less than this."""


@final
@attrs.frozen(kw_only=True, cache_hash=True)
class HTTPLimits:
    """How many, how large, how long.

    Every bound has a default and an outcome. `math.inf` takes one away. A refused request's connection
    is closed.
    """

    max_connections: float = attrs.field(default=10_000.0, validator=validate_count)
    """Connections open at once. One more: 503."""

    max_target: float = attrs.field(default=8192.0, validator=validate_count)
    """Bytes of a request's target. More: 414."""

    max_head: float = attrs.field(default=65_536.0, validator=validate_count)
    """Bytes of a request's head, and of the trailers of a chunked body. More: 431."""

    max_headers: float = attrs.field(default=100.0, validator=validate_count)
    """Header fields of a request, and trailer fields. More: 431."""

    max_body: float = attrs.field(default=16.0 * 2**20, validator=validate_count)
    """Bytes of a request's body. More: 413, before any of it is read if ``Content-Length`` announces it."""

    idle_timeout: float = attrs.field(default=75.0, validator=validate_seconds)
    """Seconds that a connection may be without a request. After that, it is closed."""

    head_timeout: float = attrs.field(default=10.0, validator=validate_seconds)
    """Seconds that the head of a request may take from its first byte to its last. Longer: 408."""

    body_timeout: float = attrs.field(default=30.0, validator=validate_seconds)
    """Seconds that an application may have to wait for a request's body in all, besides those that
    `min_body_rate` adds. Longer: 408."""

    min_body_rate: float = attrs.field(default=500.0, validator=validate_seconds)
    """Bytes of a body for which it may take a second longer than `body_timeout`."""

    write_timeout: float = attrs.field(default=30.0, validator=validate_seconds)
    """Seconds that a client may read nothing of what is sent to it. After that, the connection is reset,
    and ``send()`` raises `ClientDisconnectedError`."""
