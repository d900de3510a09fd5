"""What always holds, one test or more for each of the invariants that the design lists.

The files beside this one test what each part does; ``test_interleavings`` looks for orders of events in
which one of these does not hold.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    Event,
    EventsExpiredError,
    MemoryEventLog,
    Session,
    SessionClosed,
    SessionClosedError,
    SessionId,
    SessionManager,
    SessionOpened,
    State,
    Stream,
    StreamClosed,
    StreamManager,
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
    check_session_closed,
    refused,
    serve,
    sleep_shielded,
    takes,
    unwind_slowly,
)


@asynccontextmanager
async def a_session_and_a_task(**limits: float) -> AsyncIterator[tuple[SessionManager, Session, trio.Nursery]]:
    """A session that the manager runs, and a nursery for tasks that visit it."""
    async with open_session_manager(**limits) as sessions:  # type: ignore[arg-type]
        session = await sessions.start_session()
        async with trio.open_nursery() as nursery:
            yield sessions, session, nursery
    check_nothing_left(sessions)


# 1. Registered means open.


class EveryStep(trio.abc.Instrument):
    """Compares, after each step of each task, who is registered with who is in a block."""

    def __init__(self, streams: StreamManager) -> None:
        self.streams = streams
        self.inside: set[object] = set()
        self.steps = 0
        self.wrong: list[str] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        registered = {metadata.stream_id for metadata in self.streams.list_streams()}
        if registered != self.inside:
            self.wrong.append(f"step {self.steps}: {registered ^ self.inside} after {task.name}")


async def test_a_stream_is_registered_exactly_as_long_as_its_scope_is_open(autojump_clock: MockClock) -> None:
    async def visit(number: int) -> None:
        with trio.move_on_after(number % 3 + 1):  # noqa: ASYNC912 - what is below it is full of checkpoints
            try:
                async with session.open_stream(idle_timeout=number % 4 + 1) as stream:
                    # In the same step as the entry, and below in the same step as the exit.
                    watch.inside.add(stream.id)
                    try:
                        if number % 5 == 0:
                            raise Boom
                        await trio.sleep(number % 6)
                        if number % 7 == 0:
                            stream.cancel()
                        await trio.sleep(number % 6)
                    finally:
                        await sleep_shielded(number % 2)  # noqa: ASYNC102 - it is shielded
                        assert sessions.streams.is_stream_active(stream.id)
                        watch.inside.discard(stream.id)
            except (Boom, SessionClosedError):
                pass

    async with open_session_manager() as sessions:
        watch = EveryStep(sessions.streams)
        trio.lowlevel.add_instrument(watch)
        session = await sessions.start_session()
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(visit, number)
            await trio.sleep(3)
            session.close()
        trio.lowlevel.remove_instrument(watch)
    assert watch.wrong == []
    assert watch.steps > 200
    check_nothing_left(sessions)


async def test_a_session_is_registered_exactly_as_long_as_its_scope_is_open() -> None:
    async with open_session_manager() as sessions:
        opening = sessions.open_session()
        assert sessions.list_sessions() == []
        session = await opening.__aenter__()
        assert [metadata.session_id for metadata in sessions.list_sessions()] == [session.id]
        await opening.__aexit__(None, None, None)
        assert sessions.list_sessions() == []
        with trio.CancelScope() as scope:
            async with sessions.open_session() as session:
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    assert sessions.get_session(session.id) is session
        assert sessions.list_sessions() == []


# 2. No stream outlives its session.


async def test_leaving_a_session_waits_for_its_last_stream_shielded(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        with takes(4), trio.CancelScope() as scope:
            async with sessions.open_session() as session:
                streams = [await session.start_stream(unwind_slowly, seconds) for seconds in (1, 4, 2)]
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert {stream.metadata.state for stream in streams} == {State.CLOSED}


async def test_it_waits_at_most_drain_timeout_and_then_warns_and_stays_listed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session_manager(drain_timeout=2) as sessions:
        with takes(2):
            async with sessions.open_session() as session:
                await session.start_stream(unwind_slowly, 3)
                await session.start_stream(unwind_slowly, 5)
                await wait_all_tasks_blocked()
        assert "2 streams of a session still run 2 seconds after its end" in caplog.text
        for left in (2, 1):
            (metadata,) = sessions.list_sessions()
            assert (metadata.state, metadata.stream_count) == (State.CLOSING, left)
            await trio.sleep(1.5 if left == 2 else 2)
        assert sessions.list_sessions() == []


# 3. Each end is its own.


async def test_a_streams_end_hurts_neither_its_session_nor_its_siblings(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(stream: Stream) -> None:
        raise Boom

    async with a_session_and_a_task() as (_, session, _):
        sibling = await session.start_stream(serve, 10)
        await session.start_stream(fail)
        await session.start_stream(serve, 1)
        (await session.start_stream(serve)).cancel()
        await session.start_stream(serve, idle_timeout=1)
        with pytest.raises(Boom):
            async with session.open_stream():
                raise Boom
        await trio.sleep(5)
        assert session.streams == [sibling.id]
        assert session.reason is None
        await trio.sleep(6)
        assert sibling.reason is CloseReason.COMPLETED


@pytest.mark.parametrize("reason", [CloseReason.TERMINATED, CloseReason.KILLED, CloseReason.EVICTED])
async def test_a_sessions_end_gives_the_serving_task_a_bare_session_closed_error(reason: CloseReason) -> None:
    async with a_session_and_a_task() as (_, session, nursery):

        async def serving(children: int) -> None:
            with pytest.raises(SessionClosedError) as caught:
                async with session.open_stream() as stream, trio.open_nursery() as inner:
                    for _ in range(children):
                        inner.start_soon(trio.sleep_forever)
                    await trio.sleep_forever()
            # Bare, though the nursery inside has made a group of cancellations.
            check_session_closed(caught.value, session.id, reason)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__
            assert stream.reason is reason

        nursery.start_soon(serving, 0)
        nursery.start_soon(serving, 3)
        await wait_all_tasks_blocked()
        session.close(reason)


async def test_it_can_still_say_goodbye_and_a_parked_reader_hears_it(autojump_clock: MockClock) -> None:
    async with a_session_and_a_task(idle_timeout=math.inf) as (_, session, nursery):

        async def say_goodbye(stream: Stream) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(1, shield=True):
                    await stream.send(b"so long")
                    await trio.sleep(0.5)
                    await stream.send(f"ended: {stream.reason}".encode())

        async def read() -> None:
            async with session.open_reader(stream.id) as reader:
                assert (await reader.receive()).data == b"hello"
                # Parked here while the session ends.
                received.extend([event.data async for event in reader])

        received: list[bytes] = []
        stream = await session.start_stream(say_goodbye)
        await stream.send(b"hello")
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        session.close(CloseReason.TERMINATED)
        await session.wait_closed()
    assert received == [b"so long", b"ended: terminated"]


async def test_an_outer_cancellation_wins_and_is_never_masked(autojump_clock: MockClock) -> None:
    async with a_session_and_a_task() as (_, session, nursery):

        async def visit(delay: float, scopes: list[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                with pytest.raises(trio.Cancelled) as caught:
                    async with session.open_stream():
                        try:
                            await trio.sleep_forever()
                        finally:
                            await sleep_shielded(delay)  # noqa: ASYNC102 - it is shielded
                assert cancelled_from_outside()
                raise caught.value
            assert scope.cancelled_caught

        scopes: list[trio.CancelScope] = []
        for delay in (0, 1):
            nursery.start_soon(visit, delay, scopes)
        await wait_all_tasks_blocked()
        # First the session; but by the time that the streams are left, the scope around is cancelled, too.
        session.close()
        for scope in scopes:
            scope.cancel()


async def test_a_deadline_around_a_stream_is_not_taken_for_the_sessions_end(autojump_clock: MockClock) -> None:
    async with a_session_and_a_task() as (_, session, _):
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(1):
                async with session.open_stream():
                    try:
                        await trio.sleep_forever()
                    finally:
                        session.close()


# 4. Readers read only the log.


async def test_what_is_replayed_and_what_is_live_is_one_sequence() -> None:
    async with a_session_and_a_task() as (_, session, nursery):
        stream = await session.start_stream(serve)

        async def read(after: int) -> None:
            async with session.open_reader(stream.id, after=after) as reader:
                received = [event async for event in reader]
                assert [event.seq for event in received] == list(range(after + 1, 21))
                assert [event.data for event in received] == [b"%d" % event.seq for event in received]
                done.append(after)

        done: list[int] = []
        for number in range(1, 21):
            stream.send_nowait(b"%d" % number)
            nursery.start_soon(read, number - 1)
            if number % 3:
                await trio.lowlevel.checkpoint()
        stream.cancel()
    assert sorted(done) == list(range(20))


async def test_a_reader_that_lost_events_is_told_and_skips_nothing_in_silence() -> None:
    async with open_session_manager(log=MemoryEventLog(max_events=3)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            received: list[Event] = []
            for _ in range(2):
                stream.send_nowait(b"")
                received += await reader.receive_some()
            for _ in range(4):
                stream.send_nowait(b"")
            with pytest.raises(EventsExpiredError) as caught:
                await reader.receive()
            assert [event.seq for event in received] == [1, 2]
            assert (caught.value.after, caught.value.first) == (2, 4)


# 5. A slow reader is its own problem.


async def test_a_slow_reader_delays_nobody(autojump_clock: MockClock) -> None:
    async with a_session_and_a_task() as (_, session, nursery):

        async def produce(stream: Stream) -> None:
            with takes(0):
                for _ in range(100):
                    await stream.send(b"")

        async def read(stream: Stream, pause: float) -> None:
            with takes(100 * pause):
                async with session.open_reader(stream.id) as reader:
                    async for _ in reader:
                        await trio.sleep(pause)

        async def park(stream: Stream) -> None:
            async with session.open_reader(stream.id):
                await trio.sleep(50)

        for _ in range(2):
            stream = await session.start_stream(produce)
            nursery.start_soon(park, stream)
            nursery.start_soon(read, stream, 0)
            nursery.start_soon(read, stream, 1)


# 6. Every accepted request is answered exactly once: see the tests of the endpoint. Here, what it stands on:
#    whoever waits for a stream's events gets them all and then an end, whatever ends the stream.


@pytest.mark.parametrize("how", ["returns", "raises", "stream", "session", "manager", "idle", "outside"])
async def test_whoever_reads_a_stream_sees_its_end_whatever_ended_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async def body(stream: Stream) -> None:
        try:
            await trio.sleep(5 if how in {"returns", "raises"} else math.inf)
            if how == "raises":
                raise Boom
        finally:
            stream.send_nowait(b"the answer")

    async with open_session_manager(max_age=5 if how == "idle" else math.inf, max_age_jitter=0) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(body)
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                async with session.open_reader(stream.id) as reader:
                    received.extend([event.data async for event in reader])
                ended.append(trio.current_time())

            received: list[bytes] = []
            ended: list[float] = []
            nursery.start_soon(read)
            await trio.sleep(5)
            match how:
                case "stream":
                    stream.cancel()
                case "session":
                    session.close()
                case "manager":
                    sessions.close()
                case "outside":
                    # The reader is no task of the manager's, so it is not cancelled with the stream.
                    sessions.nursery.cancel_scope.cancel()
                    with trio.move_on_after(60, shield=True):
                        await session.wait_closed()
        assert received == [b"the answer"]
        assert ended == [5]


# 7. What is not yours does not exist.


async def test_look_ups_are_scoped_by_session_and_principal() -> None:
    async with open_session_manager() as sessions:
        alice = await sessions.start_session(principal="alice")
        bob = await sessions.start_session(principal="bob")
        async with alice.open_stream() as stream:
            await stream.send(b"secret")
            await refused(UnknownStreamError, bob.open_reader(stream.id).__aenter__)
            await refused(UnknownStreamError, bob.open_reader(stream.id, after=1).__aenter__)
            with pytest.raises(UnknownStreamError):
                sessions.streams.cancel_stream(bob.id, stream.id)
            with pytest.raises(UnknownStreamError):
                sessions.streams.unregister_stream(bob.id, stream.id)
            with pytest.raises(UnknownSessionError):
                sessions.get_session(alice.id, principal="bob")
            assert bob.streams == sessions.streams.get_session_streams(bob.id) == []
            assert bob.get_readers(stream.id) == []
            async with alice.open_reader(stream.id) as reader:
                assert (await reader.receive()).data == b"secret"
        # Nor when the stream has ended, and its events are kept.
        await refused(UnknownStreamError, bob.open_reader(stream.id).__aenter__)


# 8. State changes between two checkpoints, and observers are told afterwards.


async def test_observers_are_told_after_the_change() -> None:
    class Witness(Recorder):
        def changed(self, change: object) -> None:
            super().changed(change)  # type: ignore[arg-type]
            match change:
                case SessionOpened(session):
                    assert sessions.get_session(session.session_id) is not None
                case StreamOpened(stream):
                    assert sessions.streams.is_stream_active(stream.stream_id)
                case StreamClosed(stream):
                    assert not sessions.streams.is_stream_active(stream.stream_id)
                case SessionClosed(session):
                    assert session.session_id not in {listed.session_id for listed in sessions.list_sessions()}
                    assert sessions.streams.get_session_streams(session.session_id) == []
                case _:
                    raise AssertionError

    witness = Witness()
    async with open_session_manager(instruments=(witness,)) as sessions:
        async with sessions.open_session() as session, session.open_stream():
            pass
        # Had one of these raised, it would have been switched off.
        assert witness.names == ["SessionOpened", "StreamOpened", "StreamClosed", "SessionClosed"]


async def test_an_observer_that_raises_is_logged_and_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def changed(self, change: object) -> None:
            super().changed(change)  # type: ignore[arg-type]
            raise Boom

    broken, sound = Broken(), Recorder()
    async with open_session_manager(instruments=(broken, sound)) as sessions:
        async with sessions.open_session() as session, session.open_stream():
            assert session.reason is None
    assert broken.names == ["SessionOpened"]
    assert len(sound.names) == 4
    assert len(caplog.records) == 1


# 9. Time is the loop's.


async def test_a_long_time_passes_in_no_time(autojump_clock: MockClock) -> None:
    day = 24 * 3600.0
    async with open_session_manager(idle_timeout=day, max_age=100 * day, max_age_jitter=0) as sessions:
        idle, held = await sessions.start_session(), await sessions.start_session()
        await held.start_stream(serve)
        with takes(day):
            await idle.wait_closed()
        with takes(99 * day):
            await held.wait_closed()
        assert (idle.reason, held.reason) == (CloseReason.IDLE, CloseReason.EXPIRED)


async def test_leases_hold_a_session_and_a_stream_that_is_none_does_not(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10, lost_after=5) as sessions:

        async def lasts(session: Session, seconds: float, reason: CloseReason = CloseReason.IDLE) -> None:
            with takes(seconds):
                await session.wait_closed()
            assert session.reason is reason

        async def read(session: Session, stream: Stream, seconds: float) -> None:
            async with session.open_reader(stream.id):
                await trio.sleep(seconds)

        by_nothing, by_work, by_listener, by_reader = [await sessions.start_session() for _ in range(4)]
        await by_work.start_stream(serve, 30)
        await by_listener.start_stream(serve, 30, holds_session=False)
        read_stream = await by_reader.start_stream(serve, 30, holds_session=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, by_reader, read_stream, 20)
            nursery.start_soon(lasts, by_nothing, 10)
            nursery.start_soon(lasts, by_work, 30 + 10)
            nursery.start_soon(lasts, by_listener, 10)
            nursery.start_soon(lasts, by_reader, 20 + 5, CloseReason.DISCONNECTED)


async def test_entry_is_refused_when_a_deadline_has_passed_before_the_sessions_task_ran(mock_clock: MockClock) -> None:
    for limits, reason in (
        ({"idle_timeout": 5.0}, CloseReason.IDLE),
        ({"max_age": 5.0, "max_age_jitter": 0.0}, CloseReason.EXPIRED),
    ):
        async with a_session_and_a_task(**limits) as (sessions, session, _):
            mock_clock.jump(5)
            with pytest.raises(SessionClosedError) as caught:
                sessions.streams.register_stream(session.id)
            check_session_closed(caught.value, session.id, reason)
            with pytest.raises(SessionClosedError, match=reason):
                sessions.get_session(session.id)


# 10. Everything is bounded: the outcomes at the bounds are tested where the bounds are, in this folder and below it.


async def test_a_manager_that_has_seen_much_holds_nothing_of_it() -> None:
    async with open_session_manager() as sessions:
        for _ in range(200):
            async with sessions.open_session(principal="alice") as session:
                for _ in range(5):
                    async with session.open_stream() as stream:
                        await stream.send(b"*" * 100)
                        async with session.open_reader(stream.id):
                            pass
        check_nothing_left(sessions)
        assert session._readers._attached == {}
        assert len(sessions.recently_closed()) == 200


# And of the functions: a checkpoint always, or never.


async def test_entries_are_checkpoints_also_when_they_refuse(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions=1, max_streams_per_session=1) as sessions:
        with assert_checkpoints():
            opening = sessions.open_session()
            session = await opening.__aenter__()
        with assert_checkpoints():
            stream_opening = session.open_stream()
            stream = await stream_opening.__aenter__()
        with assert_checkpoints():
            reader_opening = session.open_reader(stream.id)
            await reader_opening.__aenter__()
        for attempt in (
            sessions.open_session().__aenter__,
            sessions.start_session,
            session.open_stream().__aenter__,
            lambda: session.start_stream(serve),
            session.open_reader(stream.id, after=1).__aenter__,
            sessions.streams.open_stream(SessionId.new()).__aenter__,
        ):
            with assert_checkpoints(), pytest.raises(Exception, match=r"."):
                await attempt()
        await reader_opening.__aexit__(None, None, None)
        await stream_opening.__aexit__(None, None, None)
        await opening.__aexit__(None, None, None)
    check_nothing_left(sessions)
