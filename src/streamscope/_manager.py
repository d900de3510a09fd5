"""The session manager: opens sessions, finds them, ends them, and tells what happens."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, TypeVarTuple, Unpack, final

import trio

from ._changes import Change, SessionClosed, SessionOpened
from ._clock import now, reading_time
from ._errors import ManagerClosedError, SessionClosedError, UnknownSessionError
from ._feed import Feed, Watcher
from ._ids import SessionId
from ._limits import LimitOptions, Limits
from ._metadata import SessionMetadata
from ._reasons import CloseReason
from ._session import Session
from ._session_block import OpenSession
from ._start import start_scope
from ._statistics import SessionManagerStatistics
from ._streams import StreamManager
from ._util import check_seconds
from .abc import EventLog, Instrument

Ts = TypeVarTuple("Ts")
_RECENT: Final = 1000


async def _live(_: Session) -> None:
    await trio.sleep_forever()


@final
class SessionManager:
    """Knows every open session and, through `streams`, every open stream.

    It runs no task of its own; the nursery is for those of `start_session` and
    `Session.start_stream`. For a manager with a nursery of its own, see
    `open_session_manager`.

    Args:
        nursery: Where started sessions and streams run.
        streams: A stream manager without streams; a new one if none is given.
        log: Where the new stream manager keeps events; a `MemoryEventLog` if none is given.
        instruments: What is told of every change.
        limits: The fields of `Limits`.

    Raises:
        ValueError: A limit is no such limit; or the stream manager is in use, or comes with a log.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        streams: StreamManager | None = None,
        log: EventLog | None = None,
        instruments: Iterable[Instrument] = (),
        **limits: Unpack[LimitOptions],
    ) -> None:
        if streams is None:
            streams = StreamManager(log=log)
        elif log is not None:
            raise ValueError("give the log to the stream manager, or leave the stream manager out")
        self.nursery = nursery
        """Where started sessions and streams run."""
        self.streams = streams
        """The streams of all sessions."""
        self._registry = streams._adopt(limits)
        self._feed = Feed(instruments)
        self._recent: dict[SessionId, SessionClosed] = {}
        self._reason: CloseReason | None = None
        self._quiet = trio.Event()
        self._work_done: trio.Event | None = None
        self._evicting = trio.Lock()

    @property
    def limits(self) -> Limits:
        """The bounds in force."""
        return self._registry.limits

    @property
    def reason(self) -> CloseReason | None:
        """Why the manager takes no sessions any more; ``None`` while it does."""
        return self._reason

    # Opening

    def open_session(
        self,
        *,
        principal: str | None = None,
        session_id: SessionId | None = None,
        connection_info: str | None = None,
        idle_timeout: float | None = None,
        max_age: float | None = None,
    ) -> OpenSession:
        """Open a session for the length of a block: ``async with sessions.open_session() as session``.

        Entering is a checkpoint, also when it refuses. Leaving ends the
        session's streams and waits for them, for at most ``drain_timeout``
        seconds. A session that is ended from outside is cancelled, and the
        block ends quietly, as a cancel scope does.

        Args:
            principal: Whose session it is.
            session_id: Its identifier; a new one that nobody can guess if none is given.
            connection_info: Where its peer is.
            idle_timeout: Seconds without a hold after which it ends; those of the manager's limits if none are given.
            max_age: Seconds that it may live at all, exactly; those of the manager's limits if none are given.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The manager is stopping.
            ValueError: A session of that id is open, or a number of seconds is none.
        """
        limits = self.limits
        idle_timeout = limits.idle_timeout if idle_timeout is None else check_seconds("idle_timeout", idle_timeout)
        if max_age is None:
            max_age = limits.max_age * (1 - limits.max_age_jitter * random.random())  # noqa: S311 - no secret
        check_seconds("max_age", max_age)
        enter = partial(self._enter, session_id or SessionId.new(), principal, connection_info, idle_timeout, max_age)
        return OpenSession(partial(self._make_room, principal), enter)

    async def _make_room(self, principal: str | None) -> None:
        """End sessions that nothing holds until there is room for another, if possible. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        if self._registry.find_bound(principal) is None:
            return
        # One at a time: of those who wait for the same room, each gets some of its own.
        with trio.move_on_after(self.limits.drain_timeout):
            async with self._evicting:
                await self._evict(principal)

    async def _evict(self, principal: str | None) -> None:
        while self._reason is None and (record := self._registry.find_evictable(principal)) is not None:
            assert isinstance(record.owner, Session)
            record.owner.close(CloseReason.EVICTED)
            await record.owner.wait_closed()

    def _enter(
        self,
        session_id: SessionId,
        principal: str | None,
        connection_info: str | None,
        idle_timeout: float,
        max_age: float,
    ) -> Session:
        if self._reason is not None:
            raise ManagerClosedError
        record = self._registry.admit_session(
            session_id, now=now(), wall=time.time(), principal=principal, connection_info=connection_info
        )
        session = Session(self, self._registry, record, trio.CancelScope(), idle_timeout=idle_timeout, max_age=max_age)
        if self._feed:
            self._publish(SessionOpened(session.metadata))
        return session

    async def start_session(
        self,
        async_fn: Callable[[Session, *Ts], Awaitable[object]] | None = None,
        /,
        *args: *Ts,
        principal: str | None = None,
        session_id: SessionId | None = None,
        connection_info: str | None = None,
        idle_timeout: float | None = None,
        max_age: float | None = None,
    ) -> Session:
        """Open a session that outlives the task that asked for it, and return once it is open.

        Its body is a task in the manager's nursery. The session lives exactly
        as long as ``async_fn(session, *args)`` runs; without a body, until it
        is closed, is idle for too long, or reaches its maximum age. An
        exception in the body ends the session as ``failed`` and is logged; it
        does not hurt the other sessions.

        Raises:
            Exception: Whatever entering `open_session` raises.
        """
        session_id = session_id or SessionId.new()
        opening = self.open_session(
            principal=principal,
            session_id=session_id,
            connection_info=connection_info,
            idle_timeout=idle_timeout,
            max_age=max_age,
        )
        if self._reason is not None:
            # The nursery may be closed by now, and would say so instead.
            await trio.lowlevel.checkpoint()
            raise ManagerClosedError
        if async_fn is None:
            return await start_scope(self.nursery, session_id, opening, _live)
        return await start_scope(self.nursery, session_id, opening, async_fn, *args)

    # Finding

    def get_session(self, session_id: SessionId, *, principal: str | None = None) -> Session:
        """Return an open session of this principal.

        Raises:
            SessionClosedError: It was this principal's, and has ended; it tells why. That is known
                of those in `recently_closed`.
            UnknownSessionError: There is none, or it is somebody else's; nothing tells which.
        """
        record = self._registry.sessions.get(session_id)
        if record is None:
            change = self._recent.get(session_id)
            if change is not None and change.session.principal == principal:
                raise SessionClosedError(session_id, change.reason)
        elif record.principal == principal and isinstance(record.owner, Session):
            if (reason := record.owner.reason) is not None:
                raise SessionClosedError(session_id, reason)
            return record.owner
        raise UnknownSessionError

    def list_sessions(self, *, principal: str | None = None) -> list[SessionMetadata]:
        """Return a snapshot of every open session, the oldest first; of one principal where it is given."""
        records = (
            self._registry.sessions.values() if principal is None else self._registry.by_principal.get(principal, ())
        )
        return [record.snapshot(reading_time(record)) for record in list(records)]

    def recently_closed(self) -> list[SessionClosed]:
        """Return the last 1,000 sessions that have ended, the newest last."""
        return list(self._recent.values())

    def statistics(self) -> SessionManagerStatistics:
        """Count what the manager has seen."""
        registry = self._registry
        return SessionManagerStatistics(
            open_sessions=len(registry.sessions),
            opened_sessions=registry.opened_sessions,
            closed_sessions=dict(registry.closed_sessions),
            streams=self.streams.statistics(),
        )

    # Watching

    def watch(self, *, buffer: int = 1024) -> Watcher:
        """Watch what happens from now on; a `trio.abc.ReceiveChannel` of changes, to be closed after use.

        Args:
            buffer: Changes that wait for a slow watcher. More are missed, and counted in a `ChangesMissed`.
        """
        watcher = Watcher(self._feed, buffer)
        if self._quiet.is_set():
            watcher.finish()
        return watcher

    def add_instrument(self, instrument: Instrument) -> None:
        """Tell an instrument of every change from now on."""
        self._feed.add(instrument)

    def remove_instrument(self, instrument: Instrument) -> None:
        """Tell it no more. Idempotent."""
        self._feed.remove(instrument)

    # Ending

    @trio.lowlevel.enable_ki_protection
    def close(self, reason: CloseReason = CloseReason.SHUTDOWN) -> None:
        """End every session, and open no more. Idempotent, and does not wait.

        Args:
            reason: Why. The first reason stays.
        """
        self._stop(reason)
        for record in list(self._registry.sessions.values()):
            assert isinstance(record.owner, Session)
            record.owner.close(self._reason or reason)

    def _stop(self, reason: CloseReason) -> None:
        if self._reason is None:
            self._reason = reason
        self._check_quiet()

    def _check_quiet(self) -> None:
        if self._reason is not None and not self._registry.sessions and not self._quiet.is_set():
            self._quiet.set()
            self._feed.finish()

    async def wait_closed(self) -> None:
        """Wait until the manager was closed and its last session has ended. Always a checkpoint."""
        await self._quiet.wait()

    async def drain(self, grace: float) -> None:
        """Stop gracefully: open no more sessions, let running work finish, then end what is left.

        Running work is a stream that holds its session. Listeners are ended when no work is left.

        Args:
            grace: Seconds that running work may take.
        """
        self._stop(CloseReason.SHUTDOWN)
        if self._registry.working:
            if self._work_done is None:
                self._work_done = trio.Event()
            with trio.move_on_after(grace):
                await self._work_done.wait()
        self.close()
        await self.wait_closed()

    # What sessions tell

    def _observed(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._feed)

    def _publish(self, change: Change) -> None:
        """Tell all observers of a change."""
        self._feed.publish(change)

    def _stream_over(self) -> None:
        """Take note of a stream's end."""
        if self._work_done is not None and not self._registry.working:
            self._work_done.set()

    def _session_over(self, session: Session) -> None:
        """Take note of a session's end."""
        metadata = session.metadata
        if metadata.reason is not CloseReason.SHUTDOWN or not self.streams.log.durable:
            # Where the server stops, its clients may find another one that goes on with the log.
            self.streams.log.discard_session(session.id)
        change = SessionClosed(metadata, metadata.reason or CloseReason.COMPLETED)
        # An identifier that was used twice is told of once, as what it was last.
        self._recent.pop(session.id, None)
        self._recent[session.id] = change
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        self._publish(change)
        self._check_quiet()
