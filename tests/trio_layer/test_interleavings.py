"""Drawn interleavings: programs of several tasks that open, use, end and leave sessions and streams.

Hypothesis draws a program as data: for each of some tasks a list of steps, which may hold further steps. A
plain function runs it in virtual time, where whole seconds make many things fall together, and with the
drawn randomness of Trio's own scheduler. Three things are checked:

* after each step of each task, that who is registered is exactly who is in a block (`Guard`);
* at each exit of a block, what came out of it, given what went in and what was cancelled (`check_exit`),
  and the reason of its end (`World.leaving`, `World.left`);
* at the end, that nothing is left: no task, nothing registered, no counter that does not add up, each
  opening with its one closing.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio
from hypothesis import given, settings, strategies as st

from streamscope import (
    CloseReason,
    EventReader,
    LimitError,
    ManagerClosedError,
    ReaderAttached,
    ReaderClosedError,
    ReaderDetached,
    Session,
    SessionClosed,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    SessionManager,
    SessionOpened,
    State,
    Stream,
    StreamClosed,
    StreamId,
    StreamLimitError,
    StreamOpened,
    UnknownSessionError,
    UnknownStreamError,
    open_session_manager,
)
from tests.helpers import (
    Boom,
    Recorder,
    cancelled_from_outside,
    check_nothing_left,
    closing,
    leaves,
    simulate,
    sleep_shielded,
)

# No example may take longer than this in virtual time: a hang becomes a failure.
_LONG = 10_000


# The world that a program acts on, and what is checked about it


@attrs.define
class World:
    """What the tasks of a program share."""

    sessions: SessionManager
    known: list[Session] = attrs.Factory(list)
    """All sessions ever opened: the steps name them by number, so they also try those that have ended."""
    streams: list[Stream] = attrs.Factory(list)
    actors: list[trio.CancelScope] = attrs.Factory(list)
    inside: set[StreamId] = attrs.Factory(set)
    """The streams in whose block some task is now."""
    inside_session: set[SessionId] = attrs.Factory(set)
    ended: dict[StreamId | SessionId, CloseReason] = attrs.Factory(dict)
    """What was ended by a step while it was open, and why: that must be the reason in the end."""
    sent: dict[StreamId, int] = attrs.Factory(dict)
    stopping: bool = False

    def session(self, number: int) -> Session:
        return self.known[number % len(self.known)]

    def session_of(self, stream: Stream) -> Session:
        return next(session for session in self.known if session.id == stream.session_id)

    def entered(self, stream: Stream) -> None:
        self.streams.append(stream)
        self.sent[stream.id] = 0
        self.inside.add(stream.id)
        assert stream.reason in {None, self.ended.get(stream.id)}

    def entered_session(self, session: Session) -> None:
        self.known.append(session)
        self.inside_session.add(session.id)

    def end_all(self, reason: CloseReason) -> None:
        """Note that all sessions that are open are being ended."""
        for session in self.known:
            if session.reason is None:
                self.ended[session.id] = reason

    def leaving(self, stream: Stream, exc: BaseException | None) -> CloseReason:
        """Check why a stream is ending, in the last step of its block; return the reason that it must have."""
        self.inside.discard(stream.id)
        session = self.session_of(stream)
        if stream.reason is not None:
            assert stream.reason == self.ended.get(stream.id, session.reason)
            return stream.reason
        assert stream.id not in self.ended
        return own_reason(exc, deadline_passed=stream._scope.cancel_called)

    def leaving_session(self, session: Session, exc: BaseException | None) -> CloseReason:
        """The same for a session."""
        self.inside_session.discard(session.id)
        reason = session.reason
        if reason is None:
            assert session.id not in self.ended
            return own_reason(exc, deadline_passed=False)
        if session.id in self.ended:
            assert reason is self.ended[session.id]
        elif not (reason is CloseReason.SHUTDOWN and self.stopping):
            assert reason in {CloseReason.IDLE, CloseReason.EXPIRED}
            assert session._scope.deadline <= trio.current_time()
            assert (reason is CloseReason.EXPIRED) == (session.metadata.age >= self.sessions.limits.max_age)
        return reason


def own_reason(exc: BaseException | None, *, deadline_passed: bool) -> CloseReason:
    """Why a block has ended that nobody has ended."""
    if exc is None:
        return CloseReason.COMPLETED
    if deadline_passed:
        return CloseReason.IDLE
    if all(isinstance(leaf, trio.Cancelled) for leaf in leaves(exc)):
        return CloseReason.CANCELLED
    return CloseReason.FAILED


@attrs.define
class Exit:
    """What is known of the exit of a block in its last step."""

    exc: BaseException | None
    own: bool
    """Whether its own scope was cancelled."""
    outside: bool
    """Whether a scope around it was."""
    error: SessionClosedError | None = None
    """What stands for the block's own cancellation, if it was caught."""


def check_exit(before: Exit, came_out: BaseException | None) -> None:
    """Check what came out of a block, given what came out of its body."""
    errors = [leaf for leaf in leaves(before.exc) if not isinstance(leaf, trio.Cancelled)]
    cancellations = len(leaves(before.exc)) - len(errors)
    if before.outside or not before.own or not cancellations:
        # Nothing that would be the block's to catch: an outer cancellation wins and is never masked.
        assert came_out is before.exc
    elif errors:
        assert leaves(came_out) == errors
    elif before.error is None:
        assert came_out is None
    else:
        assert type(came_out) is SessionClosedError
        assert (came_out.session_id, came_out.reason) == (before.error.session_id, before.error.reason)


class Guard(trio.abc.Instrument):
    """Checks what always holds after each step of each task."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.failure: AssertionError | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        # What an instrument raises is but logged by Trio, hence kept for the end.
        if self.world is not None and self.failure is None:
            try:
                self.check(self.world)
            except AssertionError as exc:
                self.failure = exc

    def check(self, world: World) -> None:
        registry = world.sessions.streams._registry
        blocks = {record.id for record in registry.streams.values() if record.handle is not None}
        assert blocks == world.inside
        assert world.inside_session <= set(registry.sessions)
        for session_id, session in registry.sessions.items():
            # One that is being left waits for streams, or would be gone.
            assert session_id in world.inside_session or (session.state is State.CLOSING and session.streams)
            if session.state is State.CLOSING:
                assert all(stream.state is State.CLOSING for stream in session.streams)
            owner = session.owner
            assert isinstance(owner, Session)
            readers = sum(len(readers) for readers in owner._readers.values())
            assert owner._idle.holds == readers + sum(stream.holds_session for stream in session.streams)
        assert {stream for session in registry.sessions.values() for stream in session.streams} == set(
            registry.streams.values()
        )
        assert registry.working == sum(stream.holds_session for stream in registry.streams.values())
        is_open = [stream for stream in registry.streams.values() if stream.state is State.OPEN]
        assert sorted(registry._by_activity, key=lambda stream: stream.last_activity) == list(registry._by_activity)
        assert set(registry._by_activity) == set(is_open)


# The steps


@attrs.frozen
class Here:
    """Where a step is taken."""

    world: World
    stream: Stream | None = None

    async def take(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await step.take(self)


class Step:
    """Something that a task does."""

    async def take(self, here: Here) -> None:
        raise NotImplementedError


@attrs.frozen
class Pause(Step):
    seconds: int

    async def take(self, here: Here) -> None:
        await trio.sleep(self.seconds)


@attrs.frozen
class Linger(Step):
    """Takes no cancellation for an answer."""

    seconds: int

    async def take(self, here: Here) -> None:
        await sleep_shielded(self.seconds)


@attrs.frozen
class Swallow(Step):
    """Takes a cancellation, and goes on as if there had been none."""

    seconds: int

    async def take(self, here: Here) -> None:
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:  # noqa: ASYNC103 - that is the point
            pass


@attrs.frozen
class Fail(Step):
    async def take(self, here: Here) -> None:
        raise Boom


@attrs.frozen
class Send(Step):
    wait: bool

    async def take(self, here: Here) -> None:
        if (stream := here.stream) is not None:
            data = f"{stream.id}.{here.world.sent[stream.id] + 1}".encode()
            if self.wait:
                await trio.lowlevel.checkpoint_if_cancelled()
                here.world.sent[stream.id] += 1
                with trio.CancelScope(shield=True):
                    event_id = await stream.send(data)
            else:
                here.world.sent[stream.id] += 1
                event_id = stream.send_nowait(data)
            assert str(event_id).encode() == data


@attrs.frozen
class Within(Step):
    """Some steps below a scope that has a deadline."""

    seconds: int
    steps: tuple[Step, ...]

    async def take(self, here: Here) -> None:
        with trio.move_on_after(self.seconds):
            await here.take(self.steps)


@attrs.frozen
class Together(Step):
    """Some steps in tasks side by side: what comes out of them is a group."""

    branches: tuple[tuple[Step, ...], ...]

    async def take(self, here: Here) -> None:
        async with trio.open_nursery() as nursery:
            for steps in self.branches:
                nursery.start_soon(here.take, steps)


@attrs.frozen
class Finally(Step):
    """Some steps, and some that are taken however the others end, and take their time."""

    steps: tuple[Step, ...]
    seconds: int
    say_goodbye: bool

    async def take(self, here: Here) -> None:
        try:
            await here.take(self.steps)
        finally:
            await sleep_shielded(self.seconds)
            if self.say_goodbye:
                await Send(wait=False).take(here)


@attrs.frozen
class StreamOptions:
    holds_session: bool
    idle_timeout: float


@attrs.frozen
class InStream(Step):
    """Some steps in a stream of a session, which may have ended."""

    session: int
    options: StreamOptions
    steps: tuple[Step, ...]

    async def take(self, here: Here) -> None:
        world = here.world
        session = world.session(self.session)
        opening = session.open_stream(
            holds_session=self.options.holds_session, idle_timeout=self.options.idle_timeout
        )
        async with allow_refusal(world, session):
            stream = await opening.__aenter__()
            async with attempted_exit(opening.__aexit__) as leave:
                try:
                    await in_stream(stream, here, self.steps, leave)
                finally:
                    pass


async def in_stream(stream: Stream, here: Here, steps: tuple[Step, ...], exits: list[Exit]) -> None:
    raise NotImplementedError


@asynccontextmanager
async def attempted_exit(exit_: Callable[..., object]) -> AsyncIterator[list[Exit]]:
    yield []


@asynccontextmanager
async def allow_refusal(world: World, session: Session) -> AsyncIterator[None]:
    yield
