"""What the checks of an event log have in common: its streams, and a reader."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self, cast, final

import attrs
import trio

from .._ids import SessionId, StreamId
from .._window import Event
from ..abc import Batch, EventLog, StreamLog
from ._require import require, require_equal

PATIENCE: Final = 30.0
"""Seconds to wait for a wake-up before it counts as lost."""


@final
class Bench:
    """A log with two sessions for one check, which are discarded afterwards.

    Args:
        log: The log to check.
        check: The name of the check, added to whatever it raises.
    """

    def __init__(self, log: EventLog, check: str) -> None:
        self.log = log
        self.session_id = SessionId.new()
        self.other_session_id = SessionId.new()
        self._check = check
        self._used: set[SessionId] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session_id in self._used:
            self.log.discard_session(session_id)
        if exc is not None:
            where = f"in {self._check} of {type(self.log).__name__}"
            exc.add_note(where)
            # What a check's own tasks raise comes in a group; whoever runs the suite is to see the message.
            if (message := _find_message(exc)) is not None and not isinstance(exc, AssertionError):
                error = AssertionError(message)
                error.add_note(where)
                raise error from None

    def open(self, session_id: SessionId | None = None) -> tuple[StreamId, StreamLog]:
        """Open a new stream."""
        session_id = session_id or self.session_id
        stream_id = StreamId.new()
        self._used.add(session_id)
        return stream_id, self.log.open_stream(session_id, stream_id)


def _find_message(exc: BaseException) -> str | None:
    if isinstance(exc, BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], exc)
        return next(filter(None, map(_find_message, group.exceptions)), None)
    return str(exc) if isinstance(exc, AssertionError) else None


@final
class Bell:
    """Rings when a log wakes it. A bound method, like those of real readers, is a new object each time."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """What to attach and to detach."""
        self._event.set()

    def mute(self) -> None:
        """Wait for the next ring only."""
        self._event = trio.Event()

    async def has_rung(self) -> bool:
        """Wait for a ring, and return whether there was one."""
        with trio.move_on_after(PATIENCE):
            await self._event.wait()
        return self._event.is_set()

    @property
    def rung(self) -> bool:
        """Whether there was a ring."""
        return self._event.is_set()


@attrs.frozen
class Story:
    """What a reader has read.

    Args:
        data: The events' bytes.
        finished: Whether the log said that no event will follow.
    """

    data: list[bytes]
    finished: bool


async def follow(stream: StreamLog, *, after: int = 0, until: int | None = None, limit: int = 7) -> Story:
    """Read as a reader does: what follows, and where nothing does, wait to be woken.

    Args:
        stream: What to read.
        after: Where to begin.
        until: The number of the event to stop at; without one, the end of the stream.
        limit: The number of events to read at once at most.
    """
    data: list[bytes] = []
    finished = False
    bell = Bell()
    stream.attach(bell.ring)
    try:
        while not finished and (until is None or after < until):
            bell.mute()
            batch = await read(stream, after, limit)
            data.extend(event.data for event in batch.events)
            after += len(batch.events)
            finished = batch.finished
            if not batch.events and not finished:
                woken = await bell.has_rung()
                require(woken, f"a reader that has read up to event {after} was not woken for what follows")
    finally:
        stream.detach(bell.ring)
    return Story(data, finished)


async def read(stream: StreamLog, after: int, limit: int) -> Batch:
    """Read once, and check what holds for any batch."""
    batch = await stream.read(after, limit)
    _require_batch(f"read({after}, {limit})", batch, after, limit)
    return batch


def read_nowait(stream: StreamLog, after: int, limit: int) -> Batch | None:
    """Do the same, if it takes no time."""
    batch = stream.read_nowait(after, limit)
    if batch is not None:
        _require_batch(f"read_nowait({after}, {limit})", batch, after, limit)
    return batch


def _require_batch(asked: str, batch: Batch, after: int, limit: int) -> None:
    require(len(batch.events) <= limit, f"{asked} returned {len(batch.events)} events")
    numbers = [event.seq for event in batch.events]
    require_equal(f"the numbers of {asked}", numbers, list(range(after + 1, after + 1 + len(numbers))))
    for event in batch.events:
        require(type(event) is Event, f"{asked} returned {event!r}, which is no streamscope.Event")
        require(type(event.data) is bytes, f"{asked} returned {event.data!r}, which is not bytes")


async def append_all(stream: StreamLog, events: Sequence[bytes]) -> None:
    """Append events, and check their numbers."""
    for data in events:
        expected = stream.last + 1
        require_equal("the number that append() returned", await stream.append(data), expected)
