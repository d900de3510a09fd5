"""The event loop's clock, from the thread that runs it and from others."""

from __future__ import annotations

import time

import trio

from ._errors import WrongThreadError
from ._records import Record


def now() -> float:
    """Return the time, for a change.

    Raises:
        WrongThreadError: This thread runs no event loop.
    """
    try:
        return trio.current_time()
    except RuntimeError:
        raise WrongThreadError from None


def reading_time(record: Record) -> float:
    """Return the time for a snapshot of ``record``, in any thread.

    Where no event loop runs, it is reckoned by the time of day.
    """
    try:
        return trio.current_time()
    except RuntimeError:
        return record.created + max(0.0, time.time() - record.created_at)
