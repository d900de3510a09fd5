"""Scopes whose body is a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar, TypeVarTuple

import trio

from ._errors import SessionClosedError
from ._ids import SessionId

logger: Final = logging.getLogger("streamscope")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def start_scope(
    nursery: trio.Nursery,
    session_id: SessionId,
    opening: AbstractAsyncContextManager[T, bool | None],
    body: Callable[[T, *Ts], Awaitable[object]],
    *args: *Ts,
) -> T:
    """Enter a context manager in a new task, run a body in it there, and return once it is entered.

    What the entry raises, the caller gets. What comes later is caught at the
    body's edge and logged, so that one bad body does not end its siblings.
    """

    @trio.lowlevel.enable_ki_protection
    async def run(task_status: trio.TaskStatus[T]) -> None:
        started = False
        try:
            async with opening as scope:
                task_status.started(scope)
                # It would keep alive the nursery in which the task was started.
                del task_status
                started = True
                await _unprotected(body, scope, *args)
        except Exception as exc:
            if not started:
                raise
            # Whoever ended this session knows. That another one has ended, the body should have handled.
            if not (isinstance(exc, SessionClosedError) and exc.session_id == session_id):
                logger.exception("the body of a session or stream raised")

    opened: T = await nursery.start(run)
    return opened


@trio.lowlevel.disable_ki_protection
async def _unprotected(body: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
    """Run a body, which Ctrl-C may interrupt anywhere, unlike what is around it."""
    await body(*args)
