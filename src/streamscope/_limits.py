"""The bounds of a manager, in one value, with their defaults."""

from __future__ import annotations

import math
from typing import TypedDict, final

import attrs

from ._util import validate_count, validate_fraction, validate_seconds


class LimitOptions(TypedDict, total=False):
    """The options of `Limits`, as other constructors take them."""

    max_sessions: float
    max_sessions_per_principal: float
    max_streams_per_session: float
    idle_timeout: float
    lost_after: float
    max_age: float
    max_age_jitter: float
    drain_timeout: float
    evict_idle: bool


@final
@attrs.frozen(kw_only=True)
class Limits:
    """How many, how large, how long.

    Every bound has a default and an outcome. `math.inf` takes one away.
    """

    max_sessions: float = attrs.field(default=10_000.0, validator=validate_count)
    """Sessions open at once. One more: see `evict_idle`."""

    max_sessions_per_principal: float = attrs.field(default=math.inf, validator=validate_count)
    """Sessions of one principal open at once. One more: see `evict_idle`. Those of nobody are not counted."""

    max_streams_per_session: float = attrs.field(default=10_000.0, validator=validate_count)
    """Streams of one session open at once. One more: `StreamLimitError`."""

    idle_timeout: float = attrs.field(default=1800.0, validator=validate_seconds)
    """Seconds that nothing may hold a session: no stream that holds it, and no reader. After that: ``idle``."""

    lost_after: float = attrs.field(default=300.0, validator=validate_seconds)
    """The same where its last reader was cut off, and nothing was heard of the client since, if that is sooner. After
    that: ``disconnected``."""

    max_age: float = attrs.field(default=math.inf, validator=validate_seconds)
    """Seconds that a session may live at all. After that: ``expired``."""

    max_age_jitter: float = attrs.field(default=0.1, validator=validate_fraction)
    """By how much of `max_age` a session may end before, drawn anew for each, so that those which were opened
    together do not all come back together."""

    drain_timeout: float = attrs.field(default=5.0, validator=validate_seconds)
    """Seconds that leaving a session waits for its streams to unwind, and then for each of its resources to be
    released. After that: a warning is logged, and the session stays listed as closing until all of them are done."""

    evict_idle: bool = True
    """Whether a session makes room for another one, where there are as many as may be, by ending as ``evicted``: of
    those that nothing holds, the one that would be the first to idle out. Where all are held, or without this:
    `SessionLimitError`."""
