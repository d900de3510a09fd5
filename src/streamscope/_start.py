"""Scopes whose body is a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVarTuple, final

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
        await _run(lambda scope: statuses.pop().started(scope), session_id, opening, body, *args)

    opened: S = await nursery.start(run)
    return opened


@trio.lowlevel.enable_ki_protection
async def start_scope_at_once(
    nursery: trio.Nursery,
    session_id: SessionId,
    opening: Opening[S],
    body: Callable[[S, *Ts], Awaitable[object]],
    *args: *Ts,
) -> S:
    """Do the same where the entry does not wait, at less than half the cost.

    ``nursery.start()`` makes a nursery for what has not been entered yet. Here
    that is nothing: the new task enters the scope in its first step. Either the
    caller is cancelled before that, or the scope is entered.
    """
    asker: _Asker[S] = _Asker()
    nursery.start_soon(_answer, asker, session_id, opening, body, *args)
    return await asker.wait()


@final
class _Asker(Generic[S]):
    """A task that waits until another one has entered a scope for it."""

    __slots__ = ("_begun", "_entered", "_error", "_gone", "_task")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._begun = False
        self._gone = False
        self._entered: S | None = None
        self._error: Exception | None = None

    async def wait(self) -> S:
        """Wait for the answer; in the task that asks."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._entered is None:
            assert self._error is not None
            try:
                raise self._error
            finally:
                # It keeps this very frame.
                self._error = None
        return self._entered

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        if self._begun:
            return trio.lowlevel.Abort.FAILED
        self._gone = True
        return trio.lowlevel.Abort.SUCCEEDED

    def begin(self) -> bool:
        """Begin to answer, if the asker is still there. It cannot be cancelled from now on, until it has its answer."""
        self._begun = not self._gone
        return self._begun

    def entered(self, scope: S) -> None:
        """Say what was entered."""
        self._entered = scope
        trio.lowlevel.reschedule(self._task)

    def failed(self, error: Exception) -> None:
        """Say why nothing was entered."""
        self._error = error
        trio.lowlevel.reschedule(self._task)


@trio.lowlevel.enable_ki_protection
async def _answer(
    asker: _Asker[S],
    session_id: SessionId,
    opening: Opening[S],
    body: Callable[[S, *Ts], Awaitable[object]],
    *args: *Ts,
) -> None:
    if asker.begin():
        try:
            await _run(asker.entered, session_id, opening, body, *args)
        except Exception as exc:  # noqa: BLE001 - it is the asker's
            asker.failed(exc)


async def _run(
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
