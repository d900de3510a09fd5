"""The block of code that is a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import final

import trio

from ._session import Session


@final
class OpenSession:
    """The context manager behind ``open_session()``: a class, so that Ctrl-C finds it whole.

    Args:
        make_room: Waits until there is room for it, or none is to be had.
        enter: Admits the session and makes its scope; synchronous, may refuse.
    """

    __slots__ = ("_enter", "_make_room", "_session")

    def __init__(self, make_room: Callable[[], Awaitable[None]], enter: Callable[[], Session]) -> None:
        self._make_room = make_room
        self._enter: Callable[[], Session] | None = enter
        self._session: Session | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Session:
        if self._enter is None:
            raise RuntimeError("open_session() can be entered only once")
        await trio.lowlevel.checkpoint()
        await self._make_room()
        session = self._session = self._enter()
        # It need not live as long as the scope.
        self._enter = None
        session._scope.__enter__()
        return session

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        session = self._session
        assert session is not None
        session._begin_to_leave(exc)
        waits = True
        try:
            return session._scope.__exit__(exc_type, exc, traceback)
        except RuntimeError:
            # This very task has left a stream of the session open, and cannot end it while it waits here.
            waits = False
            raise
        finally:
            session._leave()
            if waits:
                await session._drain()  # noqa: ASYNC102 - has its own shield
