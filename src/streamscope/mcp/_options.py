"""The options of an endpoint, in one value, with their defaults."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

import attrs

from .._limits import LimitOptions, Limits
from .._util import validate_count, validate_delay, validate_seconds
from ._seam import principal_of
from ._wire import HostPolicy

PrincipalOf: TypeAlias = Callable[[Mapping[str, Any]], str | None]


class EndpointOptions(LimitOptions, total=False):
    """The options of `StreamableHTTPEndpoint`: the fields of `Options`, and those of `Limits`."""

    json_response: bool
    stateless: bool
    sse_delay: float
    ping_interval: float
    retry: float | None
    max_body: int
    max_batch: int
    body_timeout: float
    initialize_timeout: float
    abandon_after: float
    slow_reader_timeout: float
    reconnect_timeout: float
    listen_grace: float
    max_listeners: int
    max_subscriptions: int
    hosts: HostPolicy
    principal: PrincipalOf


def _finite(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name} must be at least 0 seconds, and not endless; not {value!r}")


@final
@attrs.frozen(kw_only=True)
class Options:
    """How an endpoint answers, and what it lets in."""

    json_response: bool = False
    """Whether every answer is sent as JSON. What a handler sends before it is then lost, and it cannot
    ask the client anything; clients need not accept streams. ``subscriptions/listen`` is streamed still."""

    stateless: bool = False
    """Whether clients of the handshake era are served without sessions: each POST by itself, and no GET."""

    sse_delay: float = attrs.field(default=0.1, validator=validate_delay)
    """Seconds to wait for a request's answer before it is streamed. An answer that comes first, and
    alone, is sent as JSON. With 0, every answer of the handshake era is streamed. In 2026-07-28, where errors have HTTP
    statuses of their own, it is `ping_interval` if that is longer."""

    ping_interval: float = attrs.field(default=15.0, validator=validate_seconds)
    """Seconds without an event after which a comment is sent on a stream."""

    retry: float | None = attrs.field(default=1.0, validator=_finite)
    """Seconds after which a client that loses a stream's connection should come back; ``None`` leaves
    that to the client."""

    max_body: int = attrs.field(default=4 * 2**20, validator=validate_count)
    """Bytes that a request's body may have. More: 413."""

    max_batch: int = attrs.field(default=100, validator=validate_count)
    """Messages that a batch may have, where the session's revision is the one that has batches. More: 400."""

    body_timeout: float = attrs.field(default=30.0, validator=validate_seconds)
    """Seconds that a request's body may take to arrive. Longer: 408."""

    initialize_timeout: float = attrs.field(default=60.0, validator=validate_seconds)
    """Seconds that a session may be idle before its client has sent anything after ``initialize``. After
    that: ``idle``."""

    abandon_after: float = attrs.field(default=math.inf, validator=validate_delay)
    """Seconds that a request of the handshake era goes on whose client was cut off and has not come back. After
    that, it is cancelled, as ``disconnected``. By default it goes on to its end, and its answer is kept for the
    client; with 0, it is cancelled at once. In 2026-07-28, it always is."""

    slow_reader_timeout: float = attrs.field(default=30.0, validator=validate_delay)
    """Seconds that a handler waits where it has said more on its request's stream than is kept, and the client does not
    read. After that, it goes on, and the client has lost events. In the handshake era, it is told so when it resumes;
    in 2026-07-28, it gets what is left, with a comment that says how many are missing. With 0, nobody waits."""

    reconnect_timeout: float = attrs.field(default=10.0, validator=validate_delay)
    """Seconds that a handler of the handshake era waits where its client was cut off, before what it says pushes out
    what the client may come back for. With 0, it does not wait."""

    listen_grace: float = attrs.field(default=300.0, validator=validate_seconds)
    """Seconds that a GET stream waits for its client to come back. After that: ``idle``."""

    max_listeners: int = attrs.field(default=16, validator=validate_count)
    """GET streams that one session may hold. One more ends the oldest, as ``superseded``."""

    max_subscriptions: int = attrs.field(default=128, validator=validate_count)
    """``subscriptions/listen`` streams that one principal may hold. One more: 429. Those of nobody are not counted.
    The SDK's handler has a bound of its own, by default 1,024, for all clients together."""

    hosts: HostPolicy = attrs.field(factory=HostPolicy)
    """Which ``Host`` and ``Origin`` headers are let in; by default any."""

    principal: PrincipalOf = principal_of
    """Says who makes a request, given its ASGI scope."""


def split(options: EndpointOptions) -> tuple[Options, LimitOptions]:
    """Tell an endpoint's own options from the limits of its session manager.

    Raises:
        TypeError: There is no such option.
        ValueError: An option is out of range.
    """
    names = LimitOptions.__annotations__
    limits = {name: value for name, value in options.items() if name in names}
    own: Any = {name: value for name, value in options.items() if name not in names}
    told_apart = LimitOptions(**limits)  # type: ignore[typeddict-item]  # just told apart
    # Says now what is out of range, and not when a session manager is made of it.
    Limits(**told_apart)
    return Options(**own), told_apart
