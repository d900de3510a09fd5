"""Why a scope ended, and how a scope's life may proceed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class CloseReason(enum.StrEnum):
    """Why a session, a stream or a reader ended.

    The members are strings, so a reason can be logged, compared and put into
    JSON without a conversion.
    """

    COMPLETED = "completed"
    """The block of code that was the scope ran to its end."""

    CANCELLED = "cancelled"
    """The scope was cancelled: by its peer, by its own task, or by a scope around it."""

    FAILED = "failed"
    """The block of code that was the scope raised an exception."""

    DISCONNECTED = "disconnected"
    """The peer went away."""

    IDLE = "idle"
    """Nothing held it for longer than its idle time-out."""

    EXPIRED = "expired"
    """It reached its maximum age."""

    SUPERSEDED = "superseded"
    """A newer reader took its place."""

    SLOW_READER = "slow_reader"
    """It did not keep up, and its stream could not wait any longer."""

    EVICTED = "evicted"
    """It made room for another one."""

    TERMINATED = "terminated"
    """The client ended it."""

    KILLED = "killed"
    """The operator ended it."""

    SHUTDOWN = "shutdown"
    """The server stopped."""


class State(enum.Enum):
    """Where a session or a stream stands between its entry and its exit."""

    OPEN = "open"
    """Its block is running."""

    CLOSING = "closing"
    """It was ended, and its block is unwinding."""

    CLOSED = "closed"
    """Its block has been left."""


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.OPEN: frozenset({State.CLOSING, State.CLOSED}),
        State.CLOSING: frozenset({State.CLOSED}),
        State.CLOSED: frozenset(),
    }
)
"""The states that may follow each state.

An open scope that is left by its own block goes straight to ``CLOSED``. One
that is ended from outside is ``CLOSING`` while its block unwinds. Nothing is
ever opened again: whoever comes back gets a new scope.
"""
