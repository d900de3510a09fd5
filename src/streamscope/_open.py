"""A session manager with a nursery of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Unpack, final

import trio

from ._limits import LimitOptions
from ._manager import SessionManager
from ._streams import StreamManager
from .abc import EventLog, Instrument

logger: Final = logging.getLogger("streamscope")


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
        try:
            self._sessions = self._make(nursery)
        except BaseException:
            await self._nursery.__aexit__(None, None, None)  # noqa: ASYNC102 - a nursery is left like this
            raise
        return self._sessions

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        sessions = self._sessions
        assert sessions is not None
        sessions.close()
        waits = True
        try:
            swallowed: bool = await self._nursery.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - a nursery is left like this
            return swallowed  # noqa: TRY300 - the wait below comes first in any case
        except RuntimeError:
            # This very task has left a session open, and cannot end it while it waits here.
            waits = False
            raise
        finally:
            if waits:
                await self._wait(sessions)  # noqa: ASYNC102 - has its own shield

    async def _wait(self, sessions: SessionManager) -> None:
        """Wait for the sessions that other tasks run."""
        timeout = sessions.limits.drain_timeout
        with trio.CancelScope(shield=True, relative_deadline=timeout):
            await sessions.wait_closed()
        if left := sessions.statistics().open_sessions:
            logger.warning("%d sessions still run %g seconds after the end of their manager", left, timeout)


def open_session_manager(
    *,
    streams: StreamManager | None = None,
    log: EventLog | None = None,
    instruments: Iterable[Instrument] = (),
    **limits: Unpack[LimitOptions],
) -> OpenSessionManager:
    """Run a session manager with a nursery of its own, for the length of an ``async with`` block.

    Leaving the block ends all sessions, as ``shutdown``, and waits for them; for those
    that are run by tasks outside of the nursery, at most ``drain_timeout`` seconds.
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
