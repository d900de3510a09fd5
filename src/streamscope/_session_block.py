"""The block of code that is a session."""

from __future__ import annotations

from types import TracebackType
from typing import final

import trio

from ._opening import Opening
from ._session import Session


@final
class OpenSession(Opening[Session]):
    """The context manager behind ``open_session()``: a class, so that Ctrl-C finds it whole."""

    __slots__ = ()
    _name = "open_session"

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        session = self._opened
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
