"""What a session keeps for as long as it lives: context managers, each in a task of its own.

Theory of operation. A context manager may hold a nursery or a cancel scope, and
must then be left by the task that entered it. Whoever asks for one is long gone
when the session ends, so each has a task that enters it, waits, and leaves it.
From its entry on, that task is shielded: not a cancellation ends it but the
session, which says when, and which gives it a deadline.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeVar, final

import trio

from ._errors import SessionClosedError

logger: Final = logging.getLogger("streamscope")
T = TypeVar("T")


class ResourceHost(Protocol):
    """Whose resources they are: a session."""

    def _refused(self) -> SessionClosedError | None: ...
    def _settle(self) -> None: ...


@final
class _Resource:
    """One context manager that was entered."""

    __slots__ = ("released", "scope")

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.released = trio.Event()


@final
class Resources:
    """A session's resources, which are released in the reverse order of their entry.

    Args:
        timeout: Seconds that each may take to be released.
        host: Says why no more are taken, where that is so, and is told when one is gone.
    """

    __slots__ = ("_held", "_host", "_timeout")

    def __init__(self, timeout: float, host: ResourceHost) -> None:
        self._timeout = timeout
        self._host = host
        self._held: list[_Resource] = []

    def __len__(self) -> int:
        return len(self._held)

    @trio.lowlevel.enable_ki_protection
    async def hold(
        self, manager: AbstractAsyncContextManager[T, bool | None], *, task_status: trio.TaskStatus[T]
    ) -> None:
        """Enter a context manager, and leave it when it is released; the body of its task."""
        resource: _Resource | None = None
        refusal: SessionClosedError | None = None
        try:
            with trio.CancelScope() as scope:
                async with manager as value:
                    if (refusal := self._host._refused()) is None:
                        task_status.started(value)
                        # Where whoever asked was cancelled meanwhile, this ends here.
                        await trio.lowlevel.checkpoint_if_cancelled()
                        resource = _Resource(scope)
                        self._held.append(resource)
                        # end() and release_newest() see to the deadline.
                        scope.shield = True
                        await resource.released.wait()
            if scope.cancelled_caught:
                logger.warning("a resource of a session was not released within %g seconds", self._timeout)
        except Exception:
            if resource is None:
                raise
            logger.exception("a resource of a session raised")
        finally:
            if resource is not None:
                self._held.remove(resource)
                self._host._settle()
        if refusal is not None:
            raise refusal

    def end(self) -> None:
        """Begin to end all of them: should the session's streams take too long, they are not waited for."""
        # One after the other, each with the same time.
        at = trio.current_time()
        for resource in reversed(self._held):
            at += self._timeout
            resource.scope.deadline = at

    def release_newest(self) -> None:
        """Have the newest one released. Idempotent."""
        resource = self._held[-1]
        if not resource.released.is_set():
            resource.released.set()
            self.end()
