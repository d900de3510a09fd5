"""The way into a session or a stream, which is the same for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ClassVar, Generic, Protocol, TypeVar

import trio


async def no_wait() -> None:
    """Return; no checkpoint."""


class Scoped(Protocol):
    """What can be entered: a session or a stream."""

    _scope: trio.CancelScope


S = TypeVar("S", bound=Scoped)


class Opening(ABC, Generic[S]):
    """The first half of a context manager: waits, then admits and enters in one step.

    Args:
        wait: Awaited first.
        enter: Makes what is entered, with its scope; synchronous, may refuse.
    """

    __slots__ = ("_enter", "_opened", "_wait")
    _name: ClassVar[str]

    def __init__(self, wait: Callable[[], Awaitable[object]], enter: Callable[[], S]) -> None:
        self._wait: Callable[[], Awaitable[object]] = wait
        self._enter: Callable[[], S] | None = enter
        self._opened: S | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> S:
        await self._wait()
        if self._enter is None:
            raise RuntimeError(f"{self._name}() can be entered only once")
        opened = self._opened = self._enter()
        # They need not live as long as the scope.
        self._enter, self._wait = None, trio.lowlevel.checkpoint
        opened._scope.__enter__()
        return opened

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...
