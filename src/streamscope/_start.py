"""Scopes whose body is a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVarTuple

import trio

from ._errors import SessionClosedError
from ._ids import SessionId
from ._opening import Opening, S

logger: Final = logging.getLogger("streamscope")
Ts = TypeVarTuple("Ts")


async def start_scope(
    nursery: trio.Nursery,
    session_id: SessionId,
    opening: Opening[S],
    body: Callable[[S, *Ts], Awaitable[object]],
    *args: *Ts,
) -> S:
    """Enter a session or a stream in a new task, run a body in it there, and return once it is entered.

    What the entry raises, the caller gets. What comes later is caught at the
    body's edge and logged, so that one bad body does not end its siblings.
    """

    @trio.lowlevel.enable_ki_protection
    async def run(task_status: trio.TaskStatus[S]) -> None:
        # It would keep alive the nursery in which the task was started.
        statuses = [task_status]
        del task_status
        await run_scope(lambda scope: statuses.pop().started(scope), session_id, opening, body, *args)

    opened: S = await nursery.start(run)
    return opened


@trio.lowlevel.enable_ki_protection
async def run_scope(
    entered: Callable[[S], None],
    session_id: SessionId,
    opening: Opening[S],
    body: Callable[[S, *Ts], Awaitable[object]],
    *args: *Ts,
) -> None:
    """Run a body in a scope; raise nothing but what keeps it from being entered."""
    begun = False
    try:
        async with opening as scope:
            entered(scope)
            begun = True
            await _unprotected(body, scope, *args)
    except Exception as exc:
        if not begun:
            raise
        # Whoever ended this session knows. That another one has ended, the body should have handled.
        if not (isinstance(exc, SessionClosedError) and exc.session_id == session_id):
            logger.exception("the body of a session or stream raised")


@trio.lowlevel.disable_ki_protection
async def _unprotected(body: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
    """Run a body, which Ctrl-C may interrupt anywhere, unlike what is around it."""
    await body(*args)
