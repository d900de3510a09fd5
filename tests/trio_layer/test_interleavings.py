"""Drawn interleavings: programs of several tasks that open, use, end and leave sessions and streams.

Hypothesis draws a program as data: for each of some tasks a list of steps, which may hold further steps. A
plain function runs it in virtual time, where whole seconds make many things fall together, and with the
drawn randomness of Trio's own scheduler. Three things are checked:

* after each step of each task, that who is registered is exactly who is in a block (`Guard`);
* at each exit of a block, what came out of it, given what came out of its body and what was cancelled
  (`check_exit`), and the reason of its end (`World.leaving_stream` and `World.leaving_session`);
* at the end, that nothing is left: no task, nothing registered, no counter that does not add up, and for
  each opening one closing with the reason that it must have.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import attrs
import trio
from hypothesis import event, given, settings
from hypothesis import strategies as st

from streamscope import (
    CloseReason,
    ManagerClosedError,
    MemoryEventLog,
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
    check_nothing_left,
    closing,
    leaves,
    simulate,
    sleep_shielded,
)

# No example takes that long in virtual time, unless it hangs.
_FOR_EVER = 100_000.0
# The least that are tried; a profile that asks for more gets more.
_EXAMPLES = 400


# The world that a program acts on, and what must be true of it


@attrs.define
class World:
    """What the tasks of a program share."""

    sessions: SessionManager
    known: list[Session] = attrs.Factory(list)
    """All sessions ever opened: steps name them by number, so they also try those that have ended."""
    streams: list[Stream] = attrs.Factory(list)
    actors: list[trio.CancelScope] = attrs.Factory(list)
    inside: set[StreamId] = attrs.Factory(set)
    """The streams in whose block some task is now."""
    inside_session: set[SessionId] = attrs.Factory(set)
    held: list[SessionId] = attrs.Factory(list)
    """The sessions in a hold on which some task is now."""
    without_body: set[SessionId] = attrs.Factory(set)
    """Sessions in whose block no code of ours runs."""
    ended: dict[StreamId | SessionId, CloseReason] = attrs.Factory(dict)
    """What was ended by a step while it was open, and why: that must be the reason in the end."""
    reasons: dict[StreamId | SessionId, CloseReason] = attrs.Factory(dict)
    """Why each stream and session ended that was seen to end."""
    sent: dict[StreamId, int] = attrs.Factory(dict)
    stopping: bool = False
    failed_bodies: int = 0
    resources: int = 0
    """Resources that were entered and not left."""
    failed_resources: int = 0
    failures: list[BaseException] = attrs.Factory(list)

    def session(self, number: int) -> Session:
        return self.known[number % len(self.known)]

    def session_of(self, stream: Stream) -> Session:
        return next(session for session in self.known if session.id == stream.session_id)

    def note(self, exc: BaseException) -> None:
        """Keep what may not come out of a program: checks that failed, and errors of whatever kind."""
        allowed = (trio.Cancelled, Boom, SessionClosedError, ManagerClosedError, SessionLimitError, StreamLimitError)
        self.failures += [leaf for leaf in leaves(exc) if not isinstance(leaf, allowed)]

    def end_all(self, reason: CloseReason) -> None:
        """Note that all sessions are being ended."""
        self.stopping = True
        for session in self.known:
            if session.reason is None:
                self.ended[session.id] = reason

    @contextmanager
    def in_stream(self, session: Session, stream: Stream) -> Iterator[Exit]:
        """What is noted around the body of a stream, in the same steps as its entry and its exit."""
        self.streams.append(stream)
        self.sent[stream.id] = 0
        self.inside.add(stream.id)
        leaving = Exit()
        try:
            yield leaving
        except BaseException as exc:
            leaving.exc = exc
            raise
        finally:
            self.inside.discard(stream.id)
            leaving.own = stream._scope.cancel_called
            leaving.outside = _cancelled_around(stream._scope)
            if session.metadata.state is not State.OPEN:
                leaving.closed = session
            if stream.reason is None:
                assert stream.id not in self.ended
                self.reasons[stream.id] = own_reason(leaving.exc)
            else:
                expected = {self.ended.get(stream.id, session.reason)}
                if stream._scope.deadline <= trio.current_time() and stream.id not in self.ended:
                    assert stream._idle is not None
                    expected.add(stream._idle.reason)
                assert stream.reason in expected
                self.reasons[stream.id] = stream.reason

    @contextmanager
    def in_session(self, session: Session) -> Iterator[Exit]:
        """The same around the body of a session."""
        self.known.append(session)
        self.inside_session.add(session.id)
        leaving = Exit()
        try:
            yield leaving
        except BaseException as exc:
            leaving.exc = exc
            raise
        finally:
            self.inside_session.discard(session.id)
            leaving.own = session._scope.cancel_called
            leaving.outside = _cancelled_around(session._scope)
            leaving.at = trio.current_time()
            leaving.resources = len(session._resources)
            reason = session.reason
            if reason is None:
                assert session.id not in self.ended
                reason = own_reason(leaving.exc)
            else:
                self.check_reason(session, reason)
            self.reasons[session.id] = reason

    def check_reason(self, session: Session, reason: CloseReason) -> None:
        """Check the reason of a session that was ended from outside."""
        limits = self.sessions.limits
        if session.id in self.ended:
            assert reason is self.ended[session.id]
        elif reason is CloseReason.EXPIRED:
            assert session.metadata.age >= limits.max_age
        elif reason is CloseReason.IDLE:
            assert session.metadata.age >= limits.idle_timeout
        elif reason is CloseReason.DISCONNECTED:
            assert session.metadata.age >= limits.lost_after
        elif reason is CloseReason.EVICTED:
            assert limits.evict_idle
        else:
            # A drain ends sessions whenever their work is done.
            assert self.stopping
            assert reason is CloseReason.SHUTDOWN


@attrs.define
class Exit:
    """What is known of the exit of a block in its last step."""

    exc: BaseException | None = None
    own: bool = False
    """Whether the block's own scope was cancelled."""
    outside: bool = False
    """Whether one around it was."""
    closed: Session | None = None
    """For a stream: its session, if that is closing."""
    at: float = 0.0
    resources: int = 0

    def check(self, came_out: BaseException | None) -> None:
        """Check what came out of the block, given what came out of its body."""
        came_in = leaves(self.exc)
        errors = [leaf for leaf in came_in if not isinstance(leaf, trio.Cancelled)]
        if self.outside or not self.own:
            # An outer cancellation wins and is never masked, and an error is what it was.
            assert came_out is self.exc
        elif errors:
            # What is left when the block's own cancellations are taken out.
            assert leaves(came_out) == errors
            assert isinstance(came_out, BaseExceptionGroup) == isinstance(self.exc, BaseExceptionGroup)
        elif self.closed is None or not came_in:
            assert came_out is None
        else:
            assert type(came_out) is SessionClosedError
            assert (came_out.session_id, came_out.reason) == (self.closed.id, self.closed.reason)


def own_reason(exc: BaseException | None) -> CloseReason:
    """Why a block has ended that nobody has ended."""
    if exc is None:
        return CloseReason.COMPLETED
    cancelled = all(isinstance(leaf, trio.Cancelled) for leaf in leaves(exc))
    return CloseReason.CANCELLED if cancelled else CloseReason.FAILED


def _cancelled_around(scope: trio.CancelScope) -> bool:
    """Whether a scope around this one is cancelled, seen from within."""
    status = scope._cancel_status
    assert status is not None
    return status.parent_cancellation_is_visible_to_us


class Guard(trio.abc.Instrument):
    """Checks what always holds, after each step of each task."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.held: dict[SessionId, list[Any]] = {}
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
        # One that was started is registered at once, and entered in its task's first step.
        blocks = {
            record.id
            for record in registry.streams.values()
            if isinstance(record.handle, Stream) and record.handle._scope._has_been_entered
        }
        assert blocks == world.inside
        assert world.inside_session <= set(registry.sessions)
        for session_id, session in registry.sessions.items():
            closing = session.state is State.CLOSING
            inside = session_id in world.inside_session or session_id in world.without_body
            owner = session.owner
            assert isinstance(owner, Session)
            # One that is being left waits for its streams and resources, or would be gone.
            assert inside or (closing and (session.streams or owner._resources))
            if closing:
                assert all(stream.state is State.CLOSING for stream in session.streams)
            readers = len(owner._readers.attached)
            held = readers + sum(stream.holds_session for stream in session.streams) + world.held.count(session_id)
            assert owner._idle.holds == held
            assert (session.idle_since is not None) == (not held and not closing)
            self.check_resources(owner)
        by_session = [stream for session in registry.sessions.values() for stream in session.streams]
        assert sorted(by_session, key=id) == sorted(registry.streams.values(), key=id)
        idle = [session for queue in registry._idle._queues.values() for session in queue]
        assert set(idle) == {session for session in registry.sessions.values() if session.idle_since is not None}
        assert registry._idle.first() is min(idle, key=lambda session: session.idles_out, default=None)
        assert registry.working == sum(stream.holds_session for stream in by_session)
        by_activity = list(registry._by_activity)
        assert sorted(by_activity, key=id) == sorted((s for s in by_session if s.state is State.OPEN), key=id)
        assert by_activity == sorted(by_activity, key=lambda stream: stream.last_activity)

    def check_resources(self, session: Session) -> None:
        """Check that what came last goes first, and after the streams unless its time is up."""
        before = self.held.get(session.id, [])
        now = self.held[session.id] = list(session._resources._held)
        kept = min(len(before), len(now))
        assert before[:kept] == now[:kept]
        for resource in before[kept:]:
            in_time = not resource.scope.cancel_called
            assert not (in_time and session.streams)


# The steps


class Step:
    """Something that a task does."""

    async def take(self, here: Here) -> None:
        raise NotImplementedError


Steps = tuple[Step, ...]


@attrs.frozen
class Here:
    """Where a step is taken."""

    world: World
    stream: Stream | None = None

    async def take(self, steps: Steps) -> None:
        for step in steps:
            await step.take(self)


@attrs.frozen
class Pause(Step):
    seconds: int

    async def take(self, here: Here) -> None:
        await trio.sleep(self.seconds)


@attrs.frozen
class Linger(Step):
    """Will not be hurried."""

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
    """Sends on the stream in whose block it is; the data is the event's own name."""

    wait: bool

    async def take(self, here: Here) -> None:
        if here.stream is not None:
            here.world.sent[here.stream.id] += 1
            data = f"{here.stream.id}.{here.world.sent[here.stream.id]}".encode()
            if self.wait:
                with trio.CancelScope(shield=True):
                    event_id = await here.stream.send(data)
            else:
                event_id = here.stream.send_nowait(data)
            assert str(event_id).encode() == data


@attrs.frozen
class Within(Step):
    """Steps below a scope that has a deadline."""

    seconds: int
    steps: Steps

    async def take(self, here: Here) -> None:
        with trio.move_on_after(self.seconds):
            await here.take(self.steps)


@attrs.frozen
class Together(Step):
    """Steps in tasks side by side. What comes out of them is a group."""

    branches: tuple[Steps, ...]

    async def take(self, here: Here) -> None:
        async with trio.open_nursery() as nursery:
            for steps in self.branches:
                # Two tasks that send on one stream would have to agree on the numbers.
                nursery.start_soon(Here(here.world).take, steps)


@attrs.frozen
class Finally(Step):
    """Steps, and a clean-up that takes its time and says goodbye however they end."""

    steps: Steps
    seconds: int

    async def take(self, here: Here) -> None:
        try:
            await here.take(self.steps)
        finally:
            await sleep_shielded(self.seconds)  # noqa: ASYNC102 - it is shielded
            await Send(wait=False).take(here)  # noqa: ASYNC102 - it is shielded


@attrs.frozen
class InStream(Step):
    """Steps in a stream of some session, which may have ended."""

    session: int
    holds_session: bool
    idle_timeout: float
    abandon_after: float
    steps: Steps

    async def take(self, here: Here) -> None:
        session = here.world.session(self.session)
        leaving: Exit | None = None
        came_out: BaseException | None = None
        try:
            opening = session.open_stream(
                holds_session=self.holds_session, idle_timeout=self.idle_timeout, abandon_after=self.abandon_after
            )
            async with opening as stream:
                with here.world.in_stream(session, stream) as leaving:
                    await Here(here.world, stream).take(self.steps)
        except BaseException as exc:
            came_out = exc
            raise
        finally:
            if leaving is not None:
                leaving.check(came_out)
                assert stream.reason is here.world.reasons[stream.id]
                event(f"a stream: {stream.reason}, {type(came_out).__name__}")


@attrs.frozen
class Held(Step):
    """Steps while some session is held."""

    session: int
    steps: Steps

    async def take(self, here: Here) -> None:
        session = here.world.session(self.session)
        with session.hold():
            here.world.held.append(session.id)
            try:
                await here.take(self.steps)
            finally:
                here.world.held.remove(session.id)


@attrs.frozen
class Keep(Step):
    """Has some session hold a resource, which opens a nursery, and takes its time to come and to go."""

    session: int
    entry: int
    exit: int
    fails: bool

    async def take(self, here: Here) -> None:
        session = here.world.session(self.session)
        assert await session.enter_async_context(self.resource(here.world)) is self
        event("a resource")

    @asynccontextmanager
    async def resource(self, world: World) -> AsyncIterator[Keep]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep(self.entry)
            world.resources += 1
            try:
                yield self
            finally:
                world.resources -= 1
                if self.fails:
                    world.failed_resources += 1
                    raise Boom
                await trio.sleep(self.exit)  # noqa: ASYNC102 - it may be shielded, or be cut short
                nursery.cancel_scope.cancel()


@attrs.frozen
class InSession(Step):
    """Steps in a session of its own."""

    steps: Steps

    async def take(self, here: Here) -> None:
        world = here.world
        leaving: Exit | None = None
        came_out: BaseException | None = None
        try:
            async with world.sessions.open_session() as session:
                with world.in_session(session) as leaving:
                    await here.take(self.steps)
        except BaseException as exc:
            came_out = exc
            raise
        finally:
            if leaving is not None:
                leaving.check(came_out)
                assert session.reason is world.reasons[session.id]
                took = trio.current_time() - leaving.at
                timeout = world.sessions.limits.drain_timeout * (1 + leaving.resources)
                # What is left when the time is up keeps it listed; else it is gone.
                left = session.streams or session._resources
                assert took == timeout if left else took <= timeout
                assert session.metadata.state is (State.CLOSING if left else State.CLOSED)
                event(f"a session: {session.reason}, {type(came_out).__name__}")


@attrs.frozen
class Tolerant(Step):
    """Steps that may be refused, and then are not taken."""

    steps: Steps

    async def take(self, here: Here) -> None:
        world = here.world
        try:
            await here.take(self.steps)
        except SessionClosedError as exc:
            (session,) = (session for session in world.known if session.id == exc.session_id)
            # What one task is told, all others see.
            assert exc.reason is session.reason
        except ManagerClosedError:
            assert world.stopping
        except SessionLimitError as exc:
            assert exc.value == world.sessions.limits.max_sessions
        except StreamLimitError as exc:
            assert exc.value == world.sessions.limits.max_streams_per_session


@attrs.frozen
class StartStream(Step):
    session: int
    holds_session: bool
    idle_timeout: float
    abandon_after: float
    steps: Steps

    async def take(self, here: Here) -> None:
        world = here.world
        session = world.session(self.session)
        stream = await session.start_stream(
            self.body,
            world,
            session,
            holds_session=self.holds_session,
            idle_timeout=self.idle_timeout,
            abandon_after=self.abandon_after,
        )
        # Its body begins soon, if it has not yet.
        assert stream in world.streams or not stream._scope._has_been_entered

    async def body(self, stream: Stream, world: World, session: Session) -> None:
        try:
            with world.in_stream(session, stream) as leaving:
                await Here(world, stream).take(self.steps)
        except BaseException as exc:
            world.note(exc)
            world.failed_bodies += will_be_logged(exc, leaving, session)
            raise


@attrs.frozen
class StartSession(Step):
    steps: Steps | None

    async def take(self, here: Here) -> None:
        world = here.world
        if self.steps is not None:
            session = await world.sessions.start_session(self.body, world)
            assert session in world.known
        else:
            session_id = SessionId.new()
            world.without_body.add(session_id)
            session = await world.sessions.start_session(session_id=session_id)
            if session not in world.known:
                world.known.append(session)

    async def body(self, session: Session, world: World) -> None:
        assert self.steps is not None
        try:
            with world.in_session(session) as leaving:
                await Here(world).take(self.steps)
        except BaseException as exc:
            world.note(exc)
            world.failed_bodies += will_be_logged(exc, leaving, session)
            raise


def will_be_logged(exc: BaseException, leaving: Exit, session: Session) -> bool:
    """Whether what came out of a started body is an error, and not just that its session has ended."""
    if isinstance(exc, SessionClosedError):
        return exc.session_id != session.id
    cancellations = [leaf for leaf in leaves(exc) if isinstance(leaf, trio.Cancelled)]
    if len(cancellations) == len(leaves(exc)):
        return False
    # A group with cancellations from further out is no Exception, and goes on to the nursery.
    return not cancellations or (leaving.own and not leaving.outside)


@attrs.frozen
class Close(Step):
    session: int
    reason: CloseReason

    async def take(self, here: Here) -> None:
        session = here.world.session(self.session)
        if session.reason is None:
            here.world.ended[session.id] = self.reason
        session.close(self.reason)


@attrs.frozen
class Touch(Step):
    session: int

    async def take(self, here: Here) -> None:
        here.world.session(self.session).touch()


@attrs.frozen
class WaitClosed(Step):
    session: int
    seconds: int

    async def take(self, here: Here) -> None:
        session = here.world.session(self.session)
        with trio.move_on_after(self.seconds):
            await session.wait_closed()
            assert session.metadata.state is State.CLOSED
            assert session.streams == []


@attrs.frozen
class Cancel(Step):
    stream: int
    reason: CloseReason
    by_id: bool

    async def take(self, here: Here) -> None:
        world = here.world
        if world.streams:
            stream = world.streams[self.stream % len(world.streams)]
            if stream.reason is None:
                world.ended[stream.id] = self.reason
            if not self.by_id:
                stream.cancel(self.reason)
            elif stream.id in world.inside:
                world.sessions.streams.cancel_stream(stream.session_id, stream.id, self.reason)
            else:
                try:
                    world.sessions.streams.cancel_stream(stream.session_id, stream.id, self.reason)
                except UnknownStreamError:
                    pass
                else:
                    raise AssertionError("it should be gone")


@attrs.frozen
class CleanUp(Step):
    max_age: int

    async def take(self, here: Here) -> None:
        streams = here.world.sessions.streams
        due = {
            metadata.stream_id
            for metadata in streams.list_streams()
            if metadata.state is State.OPEN and metadata.idle > self.max_age
        }
        found = streams.cleanup_inactive_streams(self.max_age)
        assert set(found) == due
        assert len(found) == len(due)
        here.world.ended.update(dict.fromkeys(found, CloseReason.IDLE))
        event(f"a clean-up: {min(len(found), 1)}")


@attrs.frozen
class Register(Step):
    """Registers a stream that it runs itself, with or without a scope."""

    session: int
    scoped: bool
    seconds: int

    async def take(self, here: Here) -> None:
        world = here.world
        session, streams = world.session(self.session), world.sessions.streams
        scope = trio.CancelScope() if self.scoped else None
        try:
            stream_id = streams.register_stream(session.id, scope=scope)
        except UnknownSessionError:
            assert session.metadata.state is State.CLOSED
            return
        try:
            with scope or nullcontext():
                await trio.sleep(self.seconds)
        finally:
            metadata = streams.get_metadata(stream_id)
            if metadata is not None:
                streams.unregister_stream(session.id, stream_id)
                world.reasons[stream_id] = metadata.reason or CloseReason.COMPLETED
            else:
                # It was ended, which for one without a scope means that it is gone.
                assert scope is None
                reason = world.ended.get(stream_id, session.reason)
                assert reason is not None
                world.reasons[stream_id] = reason


@attrs.frozen
class Read(Step):
    """Reads a stream, which may have ended, for some time, some events or to its end."""

    stream: int
    after: int
    count: int
    seconds: int
    supersede: bool

    async def take(self, here: Here) -> None:
        world = here.world
        if not world.streams:
            return
        stream = world.streams[self.stream % len(world.streams)]
        after = self.after % (stream.log.last + 1)
        opening = world.session_of(stream).open_reader(stream.id, after=after, supersede=self.supersede)
        received: list[bytes] = []
        with trio.move_on_after(self.seconds):
            async with opening as reader:
                try:
                    while len(received) < self.count:
                        received += [event.data for event in await reader.receive_some(2)]
                except trio.EndOfChannel:
                    assert stream.log.finished
                    assert after + len(received) == stream.log.last == world.sent[stream.id]
                except ReaderClosedError as exc:
                    assert exc.reason is CloseReason.SUPERSEDED
        assert received == [f"{stream.id}.{after + 1 + index}".encode() for index in range(len(received))]
        event(f"a reader: {min(len(received), 2)} events")


@attrs.frozen
class CancelActor(Step):
    actor: int

    async def take(self, here: Here) -> None:
        here.world.actors[self.actor % len(here.world.actors)].cancel()


@attrs.frozen
class CloseManager(Step):
    reason: CloseReason

    async def take(self, here: Here) -> None:
        world = here.world
        world.end_all(world.sessions._reason or self.reason)
        world.sessions.close(self.reason)


@attrs.frozen
class Drain(Step):
    grace: int
    seconds: int

    async def take(self, here: Here) -> None:
        here.world.stopping = True
        with trio.move_on_after(self.seconds):
            await here.world.sessions.drain(self.grace)
            assert here.world.sessions.list_sessions() == []


# Programs


@attrs.frozen
class Program:
    actors: list[Steps]
    idle_timeout: float
    max_age: float
    lost_after: float
    drain_timeout: float
    max_sessions: float
    evict_idle: bool
    max_streams: float
    leave_after: int | None
    """Seconds after which the manager is left under the tasks that use it; ``None`` to wait for them."""


_SECONDS = st.integers(0, 4)
_NUMBERS = st.integers(0, 5)
_REASONS = st.sampled_from([CloseReason.CANCELLED, CloseReason.KILLED, CloseReason.TERMINATED, CloseReason.FAILED])
_TIMEOUTS = st.sampled_from([math.inf, 1.0, 3.0])
_ABANDON = st.sampled_from([math.inf, math.inf, 0.0, 2.0])

_SIMPLE: st.SearchStrategy[Step] = st.one_of(
    st.builds(Pause, _SECONDS),
    st.builds(Pause, _SECONDS),
    st.builds(Linger, _SECONDS),
    st.builds(Swallow, _SECONDS),
    st.builds(Fail),
    st.builds(Send, st.booleans()),
    st.builds(Close, _NUMBERS, _REASONS),
    st.builds(Touch, _NUMBERS),
    st.builds(WaitClosed, _NUMBERS, _SECONDS),
    st.builds(Cancel, _NUMBERS, _REASONS, st.booleans()),
    st.builds(CleanUp, _SECONDS),
    st.builds(Register, _NUMBERS, st.booleans(), _SECONDS),
    st.builds(Read, _NUMBERS, _NUMBERS, _NUMBERS, _SECONDS, st.booleans()),
    st.builds(Read, _NUMBERS, st.just(0), st.just(100), st.just(100), st.booleans()),
    st.builds(CancelActor, _NUMBERS),
    st.builds(StartSession, st.none()),
    # One in so many programs stops the manager before its end.
    st.builds(lambda step, rare: step if rare == 0 else Pause(1), st.builds(CloseManager, _REASONS), st.integers(0, 5)),
    st.builds(
        lambda step, rare: step if rare == 0 else Pause(1), st.builds(Drain, _SECONDS, _SECONDS), st.integers(0, 5)
    ),
)


# What a stream does that is worth reading.
_PRODUCE = st.lists(
    st.sampled_from([Pause(0), Pause(1), Pause(2), Send(wait=True), Send(wait=False)]), min_size=3, max_size=8
).map(tuple)


def _compound(children: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    steps = st.lists(children, min_size=1, max_size=4).map(tuple)
    refusable = st.one_of(
        st.builds(InStream, _NUMBERS, st.booleans(), _TIMEOUTS, _ABANDON, steps),
        st.builds(InStream, _NUMBERS, st.booleans(), _TIMEOUTS, _ABANDON, steps),
        st.builds(InSession, steps),
        st.builds(StartStream, _NUMBERS, st.booleans(), _TIMEOUTS, _ABANDON, st.one_of(_PRODUCE, steps)),
        st.builds(
            StartStream,
            _NUMBERS,
            st.booleans(),
            _TIMEOUTS,
            _ABANDON,
            st.builds(Finally, _PRODUCE, _SECONDS).map(_alone),
        ),
        st.builds(StartSession, steps),
        st.builds(Held, _NUMBERS, steps),
        st.builds(Keep, _NUMBERS, _SECONDS, _SECONDS, st.sampled_from([False, False, True])),
    )
    return st.one_of(
        st.builds(Tolerant, refusable.map(_alone)),
        st.builds(Tolerant, refusable.map(_alone)),
        refusable,
        st.builds(Tolerant, steps),
        st.builds(Within, _SECONDS, steps),
        st.builds(Finally, steps, _SECONDS),
        st.builds(Together, st.lists(steps, min_size=1, max_size=3).map(tuple)),
    )


def _alone(step: Step) -> Steps:
    return (step,)


_STEPS = st.lists(st.recursive(_SIMPLE, _compound, max_leaves=16), min_size=2, max_size=7).map(tuple)
PROGRAMS = st.builds(
    Program,
    actors=st.lists(_STEPS, min_size=1, max_size=5),
    idle_timeout=_TIMEOUTS,
    max_age=st.sampled_from([math.inf, 3.0, 6.0]),
    lost_after=_TIMEOUTS,
    drain_timeout=st.sampled_from([1.0, 2.0, 50.0]),
    max_sessions=st.sampled_from([100.0, 3.0]),
    evict_idle=st.booleans(),
    max_streams=st.sampled_from([100.0, 3.0]),
    leave_after=st.none() | st.integers(0, 10),
)


async def act(world: World, number: int, steps: Steps) -> None:
    """One of a program's tasks. Whatever it raises that it may raise has been checked where it came from."""
    with world.actors[number]:
        try:
            await Here(world).take(steps)
        except BaseException as exc:  # noqa: ASYNC103 - it is looked at instead
            world.note(exc)
            if any(isinstance(leaf, trio.Cancelled) for leaf in leaves(exc)) and not world.actors[number].cancel_called:
                world.failures.append(AssertionError("a cancellation came from nowhere"))


class Log(logging.Handler):
    """Counts what is logged, instead of writing it somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.msg)


@contextmanager
def logged() -> Iterator[Log]:
    logger, log = logging.getLogger("streamscope"), Log()
    logger.addHandler(log)
    logger.propagate = False
    try:
        yield log
    finally:
        logger.propagate = True
        logger.removeHandler(log)


@settings(max_examples=max(_EXAMPLES, settings().max_examples))
@given(program=PROGRAMS, scheduling=st.random_module())
def test_whatever_happens_in_whatever_order(program: Program, scheduling: object) -> None:
    recorder, guard = Recorder(), Guard()

    async def main() -> World:
        living = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(_FOR_EVER):
            world = await perform(program, recorder, guard)
        assert trio.lowlevel.current_statistics().tasks_living == living
        return world

    with logged() as log:
        world = simulate(main, guard)
    if guard.failure is not None:
        raise guard.failure
    if world.failures:
        raise BaseExceptionGroup("checks that failed", world.failures)
    check_log(world, log.messages)
    check_changes(world, recorder)
    check_nothing_left(world.sessions, recorder)
    assert world.inside == world.inside_session == set()
    assert world.resources == 0
    assert world.sessions.streams.statistics().sent_events == sum(world.sent.values())


async def perform(program: Program, recorder: Recorder, guard: Guard) -> World:
    async with (
        trio.open_nursery() as nursery,
        open_session_manager(
            log=MemoryEventLog(resume_window=math.inf),
            instruments=(recorder,),
            idle_timeout=program.idle_timeout,
            max_age=program.max_age,
            max_age_jitter=0,
            lost_after=program.lost_after,
            drain_timeout=program.drain_timeout,
            max_sessions=program.max_sessions,
            evict_idle=program.evict_idle,
            max_streams_per_session=program.max_streams,
        ) as sessions,
    ):
        world = World(sessions, actors=[trio.CancelScope() for _ in program.actors])
        # The steps name sessions by number, so there must be one.
        await StartSession(None).take(Here(world))
        guard.world = world
        async with trio.open_nursery() as inner:
            for number, steps in enumerate(program.actors):
                (inner if program.leave_after is None else nursery).start_soon(act, world, number, steps)
        if program.leave_after is not None:
            await trio.sleep(program.leave_after)
        world.end_all(sessions._reason or CloseReason.SHUTDOWN)
    return world


def check_log(world: World, messages: list[str]) -> None:
    """Check that each body that failed was logged, and nothing else but what took too long."""
    assert messages.count("the body of a session or stream raised") == world.failed_bodies
    # Where one could not be held, whoever asked for it was told instead.
    assert messages.count("a resource of a session raised") <= world.failed_resources
    assert set(messages) <= {
        "the body of a session or stream raised",
        "a resource of a session raised",
        "a resource of a session was not released within %g seconds",
        "%d streams of a session still run %g seconds after its end",
        "%d sessions still run %g seconds after the end of their manager",
    }


def check_changes(world: World, recorder: Recorder) -> None:
    """Check that each opening has one closing, after it and with the right reason."""
    reasons = closing(recorder)
    assert {key: reason for key, reason in reasons.items() if key not in world.without_body} == world.reasons
    for session in world.known:
        if session.id in world.without_body:
            assert session.reason in {
                # One that was being opened when the manager was closed ended for the manager's reason.
                world.ended.get(session.id, world.sessions.reason or CloseReason.SHUTDOWN),
                CloseReason.IDLE,
                CloseReason.EXPIRED,
                CloseReason.DISCONNECTED,
                CloseReason.EVICTED,
                CloseReason.CANCELLED,
            }
    sessions: set[SessionId] = set()
    streams: set[StreamId] = set()
    attached = 0
    for change in recorder.changes:
        match change:
            case SessionOpened(opened):
                assert opened.session_id not in sessions
                sessions.add(opened.session_id)
            case SessionClosed(closed):
                sessions.remove(closed.session_id)
                assert closed.stream_count == 0
            case StreamOpened(stream):
                assert stream.session_id in sessions
                streams.add(stream.stream_id)
            case StreamClosed(stream):
                # No stream outlives its session.
                assert stream.session_id in sessions
                streams.remove(stream.stream_id)
            case ReaderAttached():
                attached += 1
            case ReaderDetached():
                attached -= 1
                assert attached >= 0
    assert sessions == streams == set()
    assert attached == 0
