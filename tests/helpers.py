"""What tests of several floors share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
from trio.testing import MockClock

from streamscope import (
    Change,
    CloseReason,
    MemoryEventLog,
    SessionClosed,
    SessionClosedError,
    SessionId,
    SessionManager,
    SessionOpened,
    Stream,
    StreamClosed,
    StreamId,
    StreamManager,
    StreamOpened,
)
from streamscope._forward import ForwardingEventLog, ForwardingStreamLog
from streamscope.abc import Batch, Instrument, StreamLog

T = TypeVar("T")
C = TypeVar("C", bound=Change)


class Boom(Exception):  # noqa: N818 - what a stranger raises
    """What bodies raise in tests. No code of ours may catch it and keep it to itself."""


def simulate(main: Callable[[], Awaitable[T]], *instruments: trio.abc.Instrument) -> T:
    """Run in virtual time, which jumps whenever every task sleeps.

    For tests that hypothesis calls: each example has its own loop and clock.
    """
    return trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)


class Recorder(Instrument):
    """Keeps all changes, in order."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def changed(self, change: Change) -> None:
        self.changes.append(change)

    def of(self, kind: type[C]) -> list[C]:
        return [change for change in self.changes if isinstance(change, kind)]

    @property
    def names(self) -> list[str]:
        return [type(change).__name__ for change in self.changes]


class Reaction(Instrument):
    """Does something about each change of a kind: what observers should not do, and will."""

    def __init__(self, kind: type[C], react: Callable[[C], object]) -> None:
        self._kind = kind
        self._react: Callable[[C], object] = react

    def changed(self, change: Change) -> None:
        if isinstance(change, self._kind):
            self._react(change)


async def serve(stream: Stream, seconds: float = math.inf, ended: list[BaseException] | None = None) -> None:
    """A stream's body that takes some time, and says how it was ended before."""
    try:
        await trio.sleep(seconds)
    except BaseException as exc:
        if ended is not None:
            ended.append(exc)
        raise


async def unwind_slowly(stream: Stream, seconds: float) -> None:
    """A stream's body that waits for its end, and then takes some time for it."""
    try:
        await trio.sleep_forever()
    finally:
        await sleep_shielded(seconds)  # noqa: ASYNC102 - it is shielded


async def sleep_shielded(seconds: float) -> None:
    """What a clean-up does that will not be hurried."""
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


@contextmanager
def takes(seconds: float) -> Iterator[None]:
    """Assert that a block takes exactly so long, in virtual time."""
    begin = trio.current_time()
    yield
    assert trio.current_time() - begin == seconds


def cancelled_from_outside() -> bool:
    """Whether a scope around this point is cancelled."""
    return trio.current_effective_deadline() == -math.inf


def leaves(exc: BaseException | None) -> list[BaseException]:
    """The exceptions in a group, in groups in it, and so on; of any other, itself."""
    if exc is None:
        return []
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in leaves(inner)]
    return [exc]


def check_nothing_left(sessions: SessionManager | StreamManager, recorder: Recorder | None = None) -> None:
    """Assert that nothing is registered, in no index, and that the counters add up."""
    streams = sessions if isinstance(sessions, StreamManager) else sessions.streams
    registry = streams._registry
    assert not registry.sessions
    assert not registry.streams
    assert not registry.by_principal
    assert not registry._by_activity
    assert registry.working == 0
    statistics = streams.statistics()
    assert statistics.open_streams == 0
    assert statistics.opened_streams == sum(statistics.closed_streams.values())
    if isinstance(sessions, SessionManager):
        counts = sessions.statistics()
        assert counts.open_sessions == 0
        assert counts.opened_sessions == sum(counts.closed_sessions.values())
        if isinstance(streams.log, MemoryEventLog):
            # A session that has ended has taken its events with it.
            kept = streams.log.statistics()
            assert (kept.streams, kept.finished_streams, kept.events, kept.bytes) == (0, 0, 0, 0)
        if recorder is not None:
            assert len(recorder.of(SessionOpened)) == counts.opened_sessions
            assert Counter(change.reason for change in recorder.of(SessionClosed)) == counts.closed_sessions
            assert len(recorder.of(StreamOpened)) == statistics.opened_streams
            assert Counter(change.reason for change in recorder.of(StreamClosed)) == statistics.closed_streams


def closing(recorder: Recorder) -> dict[StreamId | SessionId, CloseReason]:
    """The reason that each stream and session ended for; fails where one ended twice."""
    reasons: dict[StreamId | SessionId, CloseReason] = {}
    for change in recorder.changes:
        match change:
            case StreamClosed(stream, reason):
                assert stream.stream_id not in reasons
                reasons[stream.stream_id] = reason
            case SessionClosed(session, reason):
                assert session.session_id not in reasons
                reasons[session.session_id] = reason
    return reasons


async def refused(error: type[BaseException], enter: Callable[[], Awaitable[object]]) -> BaseException:
    """Assert that an entry refuses, and with exactly this error, and is a checkpoint nevertheless."""
    caught: BaseException | None = None
    with trio.testing.assert_checkpoints():
        try:
            await enter()
        except BaseException as exc:  # noqa: ASYNC103 - it is looked at instead
            caught = exc
    assert type(caught) is error, repr(caught)
    assert caught is not None
    return caught


def check_session_closed(exc: BaseException | None, session_id: SessionId, reason: CloseReason) -> None:
    """Assert that an error is a bare `SessionClosedError` that says what happened."""
    assert type(exc) is SessionClosedError, repr(exc)
    assert exc.session_id == session_id
    assert exc.reason is reason


class SlowEventLog(ForwardingEventLog):
    """The log in memory behind a disk: each read takes time, and returns what was there when it began.

    What is appended meanwhile is news that comes while the reader is not parked.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(MemoryEventLog())
        self.seconds = seconds
        self.attached = 0
        """Who is waiting for news, in all."""

    def wrap(self, stream_id: StreamId, inner: StreamLog) -> StreamLog:
        return _SlowStreamLog(self, inner)

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        stream = await super().find_stream(session_id, stream_id)
        await trio.sleep(self.seconds)
        return stream


class _SlowStreamLog(ForwardingStreamLog):
    def __init__(self, log: SlowEventLog, inner: StreamLog) -> None:
        super().__init__(inner)
        self._log = log

    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        await trio.sleep(self._log.seconds)
        return batch

    def read_nowait(self, after: int, limit: int) -> Batch | None:
        return None

    def attach(self, wake: Callable[[], None]) -> None:
        self._log.attached += 1
        super().attach(wake)

    def detach(self, wake: Callable[[], None]) -> None:
        self._log.attached -= 1
        super().detach(wake)
