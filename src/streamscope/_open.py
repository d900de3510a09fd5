"""A session manager with a nursery of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Unpack, final

import trio

from ._limits import LimitOptions
from ._manager import SessionManager
from ._streams import StreamManager
from .abc import EventLog, Instrument


@final
class OpenSessionManager:
    """The context manager behind `open_session_manager`: a class, so that Ctrl-C finds it whole."""

    __slots__ = ("_make", "_nursery", "_sessions")

    def __init__(self, make: Callable[[trio.Nursery], SessionManager]) -> None:
        self._make = make
        self._nursery: Any = None
        self._sessions: SessionManager | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> SessionManager:
        if self._nursery is not None:
            raise RuntimeError("open_session_manager() can be entered only once")
        await trio.lowlevel.checkpoint()
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        self._sessions = self._make(nursery)
        return self._sessions

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        sessions = self._sessions
        assert sessions is not None
        sessions.close()
        swallowed: bool | None = await self._nursery.__aexit__(exc_type, exc, traceback)
        return swallowed


def open_session_manager(
    *,
    streams: StreamManager | None = None,
    log: EventLog | None = None,
    instruments: tuple[Instrument, ...] = (),
    **limits: Unpack[LimitOptions],
) -> OpenSessionManager:
    """Run a session manager with a nursery of its own, for the length of an ``async with`` block.

    Leaving the block ends all sessions, as ``shutdown``, and waits for them.
    Like every nursery, and unlike everything else here, it may raise an exception group.

    Args:
        streams: See `SessionManager`.
        log: See `SessionManager`.
        instruments: See `SessionManager`.
        limits: The fields of `Limits`.

    Raises:
        ValueError: A limit is no such limit; or the stream manager is in use, or comes with a log.
    """

    def make(nursery: trio.Nursery) -> SessionManager:
        return SessionManager(nursery, streams=streams, log=log, instruments=instruments, **limits)

    return OpenSessionManager(make)
