from __future__ import annotations

import math
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    Session,
    SessionClosed,
    SessionClosedError,
    SessionId,
    SessionManager,
    SessionOpened,
    State,
    Stream,
    StreamClosed,
    StreamId,
    WrongThreadError,
    open_session_manager,
)
from tests.helpers import (
    Boom,
    Reaction,
    Recorder,
    check_nothing_left,
    check_session_closed,
    refused,
    serve,
    sleep_shielded,
    takes,
    unwind_slowly,
)

# The handle


async def test_it_says_what_it_is(mock_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session(principal="alice", connection_info="[::1]:1") as session:
            assert session.principal == "alice"
            assert session.reason is None
            assert session.streams == []
            mock_clock.jump(3)
            session.touch()
            mock_clock.jump(4)
            async with session.open_stream() as stream:
                assert session.streams == [stream.id]
                # Whoever knows the identifier may use the session.
                assert str(session.id) not in repr(session)
                assert repr(session) == "<Session of 'alice' open, 1 streams>"
                metadata = session.metadata
                assert (metadata.session_id, metadata.principal, metadata.connection_info) == (
                    session.id,
                    "alice",
                    "[::1]:1",
                )
                assert (metadata.state, metadata.reason, metadata.stream_count) == (State.OPEN, None, 1)
                # That a stream was opened is the last that has happened.
                assert (metadata.age, metadata.idle) == (7, 0)
            session.close(CloseReason.KILLED)
            closing = session.metadata
            assert (closing.state, closing.reason) == (State.CLOSING, CloseReason.KILLED)
        assert session.metadata.state is State.CLOSED
        assert repr(session) == "<Session of 'alice' closed, 0 streams>"


async def test_from_another_thread_it_can_be_read_but_not_changed() -> None:
    def look(session: Session) -> None:
        assert session.metadata.session_id == session.id
        for change in (session.close, session.touch):
            with pytest.raises(WrongThreadError):
                change()

    async with open_session_manager() as sessions, sessions.open_session() as session:
        await trio.to_thread.run_sync(look, session)
        assert session.reason is None
        await trio.lowlevel.checkpoint()


# The block


async def test_entry_and_exit(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        opening = sessions.open_session()
        with assert_checkpoints():
            session = await opening.__aenter__()
        assert [metadata.session_id for metadata in sessions.list_sessions()] == [session.id]
        with pytest.raises(RuntimeError, match="only once"):
            await opening.__aenter__()
        # With nothing to wait for, leaving does not wait.
        with assert_no_checkpoints():
            await opening.__aexit__(None, None, None)
        assert sessions.list_sessions() == []


async def test_one_whose_entry_is_cancelled_was_never_there() -> None:
    recorder = Recorder()
    async with open_session_manager(instruments=(recorder,)) as sessions:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with sessions.open_session():
                pytest.fail("it was cancelled before")
    assert recorder.names == []


async def test_whatever_ends_the_block_the_reason_says_so(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session() as completed:
            pass
        with pytest.raises(Boom):
            async with sessions.open_session() as failed:
                raise Boom
        with trio.move_on_after(1) as scope:
            async with sessions.open_session() as cancelled:
                await trio.sleep_forever()
        assert scope.cancelled_caught
        async with sessions.open_session() as closed:
            closed.close(CloseReason.TERMINATED)
            await trio.sleep_forever()
        assert [session.reason for session in (completed, failed, cancelled, closed)] == [
            CloseReason.COMPLETED,
            CloseReason.FAILED,
            CloseReason.CANCELLED,
            CloseReason.TERMINATED,
        ]
        assert [change.reason for change in sessions.recently_closed()] == [
            session.reason for session in (completed, failed, cancelled, closed)
        ]


async def test_its_own_exception_comes_out_bare_and_is_the_same() -> None:
    async with open_session_manager() as sessions:
        error = Boom()
        with pytest.raises(Boom) as caught:
            async with sessions.open_session() as session:
                await session.start_stream(serve)
                raise error
        assert caught.value is error
        # Of a group, what is left when the session's own cancellation is taken out.

        async def child(error: Exception | None) -> None:
            try:
                await trio.sleep_forever()
            finally:
                if error is not None:
                    raise error

        with pytest.RaisesGroup(Boom) as group:
            async with sessions.open_session() as session, trio.open_nursery() as nursery:
                nursery.start_soon(child, None)
                nursery.start_soon(child, error)
                await wait_all_tasks_blocked()
                session.close()
        assert group.value.exceptions == (error,)
    check_nothing_left(sessions)


async def test_closing_is_idempotent_and_the_first_reason_stays() -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session() as session:
            with assert_no_checkpoints():
                session.close(CloseReason.TERMINATED)
                session.close(CloseReason.KILLED)
            with pytest.raises(trio.Cancelled) as caught:
                await trio.sleep_forever()
            assert caught.value.reason == "session ended: terminated"
        session.close(CloseReason.KILLED)
        assert session.reason is CloseReason.TERMINATED
    check_nothing_left(sessions)


async def test_waiting_for_its_end_is_always_a_checkpoint(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.start_stream(unwind_slowly, 2)
        await wait_all_tasks_blocked()

        async def wait() -> None:
            with takes(3):
                await session.wait_closed()
            assert session.metadata.state is State.CLOSED

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(1)
            session.close()
        with assert_checkpoints():
            await session.wait_closed()


# Closing from unusual places


async def test_closing_from_inside_its_own_stream(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session() as session:
            async with session.open_stream() as stream:
                session.close(CloseReason.TERMINATED)
                # What is below the session's own block is cancelled by the session, and need not be told.
                await trio.sleep_forever()
            pytest.fail("the session's block is cancelled as well")
        assert (session.reason, stream.reason) == (CloseReason.TERMINATED, CloseReason.TERMINATED)
        # In a stream elsewhere, it is told as any other.
        session = await sessions.start_session()
        with pytest.raises(SessionClosedError) as caught:
            async with session.open_stream():
                session.close(CloseReason.KILLED)
                await session.wait_closed()
        check_session_closed(caught.value, session.id, CloseReason.KILLED)


async def test_a_stream_may_close_its_session_and_never_meet_a_checkpoint_again(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        async with session.open_stream() as stream:
            session.close(CloseReason.KILLED)
        # It was not cancelled, so there is nothing to tell it.
        assert stream.reason is CloseReason.KILLED
        await session.wait_closed()


async def test_closing_from_its_stream_while_it_is_being_left(autojump_clock: MockClock) -> None:
    async def body(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            session.close(CloseReason.KILLED)
            sessions.close(CloseReason.KILLED)
            await sleep_shielded(1)  # noqa: ASYNC102 - it is shielded

    async with open_session_manager() as sessions:
        with takes(1):
            async with sessions.open_session() as session:
                await session.start_stream(body)
                await wait_all_tasks_blocked()
        assert session.reason is CloseReason.COMPLETED
    check_nothing_left(sessions)


async def test_closing_in_an_observer(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(instruments=(recorder,)) as sessions:
        sessions.add_instrument(Reaction(StreamClosed, lambda change: find(change.stream.session_id).close()))

        def find(session_id: SessionId) -> Session:
            return sessions.get_session(session_id)

        async with sessions.open_session() as session:
            async with session.open_stream():
                pass
            assert session.reason is CloseReason.CANCELLED
            await trio.sleep_forever()
        # Where it is the last stream of a session that is being left, the session goes right after it.
        sessions.add_instrument(Reaction(SessionClosed, lambda change: sessions.close(CloseReason.KILLED)))
        with takes(1):
            async with sessions.open_session() as session:
                await session.start_stream(unwind_slowly, 1)
                await wait_all_tasks_blocked()
        with takes(0):
            await sessions.wait_closed()
    check_nothing_left(sessions, recorder)


async def test_an_observer_may_close_a_session_before_its_block_begins() -> None:
    async with open_session_manager() as sessions:
        sessions.add_instrument(
            Reaction(
                SessionOpened, lambda change: sessions.get_session(change.session.session_id).close(CloseReason.KILLED)
            )
        )
        async with sessions.open_session() as session:
            assert session.reason is CloseReason.KILLED
            await trio.sleep_forever()
        check_nothing_left(sessions)


# Draining


async def test_leaving_waits_for_the_last_stream_and_no_longer(autojump_clock: MockClock) -> None:
    async with open_session_manager(drain_timeout=100) as sessions:
        with takes(4):
            async with sessions.open_session() as session:
                for seconds in (2, 4, 3):
                    await session.start_stream(unwind_slowly, seconds)
                await wait_all_tasks_blocked()
        assert session.metadata.state is State.CLOSED


async def test_the_wait_is_shielded_and_has_a_deadline(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session_manager(drain_timeout=3) as sessions:
        with takes(3), trio.CancelScope() as scope:
            async with sessions.open_session() as session:
                stream = await session.start_stream(unwind_slowly, 5)
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
        assert [record.getMessage() for record in caplog.records] == [
            "1 streams of a session still run 3 seconds after its end"
        ]
        # It stays listed, for it has not ended, and its name is not free.
        (metadata,) = sessions.list_sessions()
        assert (metadata.session_id, metadata.state, metadata.stream_count) == (session.id, State.CLOSING, 1)
        await refused(ValueError, sessions.open_session(session_id=session.id).__aenter__)
        with pytest.raises(SessionClosedError):
            sessions.get_session(session.id)
        with takes(2):
            await session.wait_closed()
        assert sessions.list_sessions() == []
        assert stream.metadata.state is State.CLOSED


async def test_the_last_stream_may_end_at_the_very_deadline(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session_manager(drain_timeout=3) as sessions:
        with takes(3):
            async with sessions.open_session() as session:
                await session.start_stream(unwind_slowly, 3)
                await wait_all_tasks_blocked()
        # Whichever comes first: it is warned of if and only if a stream is left.
        await session.wait_closed()
    check_nothing_left(sessions)
    assert len(caplog.records) <= 1


async def test_it_waits_also_where_a_group_is_on_its_way(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:

        async def fail(error: Exception) -> None:
            raise error

        # A RuntimeError in a group is nothing special.
        for error in (Boom(), RuntimeError()):
            with takes(2), pytest.RaisesGroup(type(error)):
                async with sessions.open_session() as session, trio.open_nursery() as nursery:
                    await session.start_stream(unwind_slowly, 2)
                    await wait_all_tasks_blocked()
                    session.close()
                    nursery.start_soon(fail, error)
        # Nor is a bare one.
        with takes(2), pytest.raises(RuntimeError, match="own"):
            async with sessions.open_session() as session:
                await session.start_stream(unwind_slowly, 2)
                await wait_all_tasks_blocked()
                raise RuntimeError("own")


# Misuse


async def test_leaving_it_with_a_stream_of_the_same_task_open_is_an_error_and_no_deadlock(
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    async with open_session_manager(drain_timeout=math.inf, instruments=(recorder,)) as sessions:
        with takes(0), pytest.raises(RuntimeError, match="scope"):
            async with AsyncExitStack() as stack, sessions.open_session() as session:
                stream = await stack.enter_async_context(session.open_stream())
        assert stream.reason is session.reason is CloseReason.COMPLETED
        await session.wait_closed()
        # The task is as good as before.
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        assert scope.cancelled_caught
    assert recorder.names == ["SessionOpened", "StreamOpened", "StreamClosed", "SessionClosed"]
    check_nothing_left(sessions, recorder)


async def test_the_session_is_listed_until_that_stream_is_out() -> None:
    async with open_session_manager() as sessions:
        opening = None
        with pytest.raises(RuntimeError, match="scope"):
            async with sessions.open_session() as session:
                opening = session.open_stream()
                await opening.__aenter__()
        assert opening is not None
        assert session.metadata.state is State.CLOSING
        assert sessions.statistics().open_sessions == 1
        await opening.__aexit__(None, None, None)
        check_nothing_left(sessions)


# Idle


async def test_a_session_without_a_lease_is_idle(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        with takes(10):
            async with sessions.open_session() as session:
                await trio.sleep_forever()
        assert session.reason is CloseReason.IDLE
        with takes(15):
            async with sessions.open_session() as session:
                await trio.sleep(5)
                session.touch()
                await trio.sleep_forever()


async def test_each_session_may_have_a_time_out_of_its_own(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        assert session.idle_timeout == 10
        await trio.sleep(5)
        session.idle_timeout = 3
        assert session.idle_timeout == 3
        with takes(3):
            await session.wait_closed()
        session = await sessions.start_session()
        async with session.open_stream():
            # It counts from when nothing holds the session any more, as the other did.
            session.idle_timeout = 20
            await trio.sleep(50)
        with takes(20):
            await session.wait_closed()
        session = await sessions.start_session()
        await trio.sleep(5)
        # To be told what it knows is no sign of life.
        session.idle_timeout = 10
        with takes(5):
            await session.wait_closed()


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
async def test_its_time_out_is_a_number_of_seconds(seconds: float) -> None:
    async with open_session_manager(idle_timeout=10) as sessions, sessions.open_session() as session:
        with pytest.raises(ValueError, match="idle_timeout"):
            session.idle_timeout = seconds
        assert session.idle_timeout == 10


async def test_streams_and_readers_hold_it(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        async with session.open_stream() as stream:
            await trio.sleep(50)
            # One of two is still a lease.
            async with session.open_stream():
                await trio.sleep(50)
            await trio.sleep(50)
        await trio.sleep(9)
        async with session.open_reader(stream.id):
            await trio.sleep(50)
        await trio.sleep(9)
        registered = sessions.streams.register_stream(session.id)
        await trio.sleep(50)
        sessions.streams.unregister_stream(session.id, registered)
        await trio.sleep(9)
        assert session.reason is None
        await trio.sleep(2)
        assert session.reason is CloseReason.IDLE


async def test_a_stream_that_does_not_hold_it_does_not_hold_it(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, holds_session=False)
        await trio.sleep(9)
        # Neither does what it sends, nor its end.
        await stream.send(b"a")
        stream.cancel()
        await trio.sleep(2)
        assert session.reason is CloseReason.IDLE


async def test_with_its_readers_a_listener_does_hold_it(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, holds_session=False)
        async with session.open_reader(stream.id):
            await trio.sleep(50)
        assert session.reason is None
        with takes(10):
            await session.wait_closed()
        # It went with its session.
        assert stream.reason is CloseReason.IDLE


async def test_the_maximum_age_counts_whatever_holds_it(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_age=30, max_age_jitter=0, idle_timeout=20) as sessions:
        session = await sessions.start_session()
        with pytest.raises(SessionClosedError) as caught, takes(30):
            async with session.open_stream():
                await trio.sleep_forever()
        check_session_closed(caught.value, session.id, CloseReason.EXPIRED)


async def test_both_at_once_is_of_age(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_age=10, max_age_jitter=0, idle_timeout=10) as sessions:
        async with sessions.open_session() as session:
            await trio.sleep_forever()
        assert session.reason is CloseReason.EXPIRED


async def test_the_deadline_that_came_first_is_the_reason_however_long_it_unwinds(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_age=15, max_age_jitter=0, idle_timeout=10) as sessions:
        async with sessions.open_session() as session:
            try:
                await trio.sleep_forever()
            finally:
                await sleep_shielded(20)  # noqa: ASYNC102 - it is shielded
        assert session.reason is CloseReason.IDLE


async def test_deadlines_may_fall_together(autojump_clock: MockClock) -> None:
    # The session's, the stream's and that of a scope around the stream, in one instant.
    for _ in range(10):
        async with open_session_manager(max_age=10, max_age_jitter=0, drain_timeout=5) as sessions:
            session = await sessions.start_session()
            outcome: BaseException | None = None
            with trio.move_on_after(10) as scope:  # noqa: ASYNC912 - what is below it is full of checkpoints
                try:
                    async with session.open_stream(idle_timeout=10) as stream:
                        await trio.sleep(10)
                        await trio.sleep_forever()
                except SessionClosedError as exc:
                    outcome = exc
            # The outermost wins wherever it is cancelled by the time the stream is left.
            assert scope.cancelled_caught or outcome is not None
            assert stream.reason in {CloseReason.IDLE, CloseReason.EXPIRED}
            await session.wait_closed()
            assert session.reason is CloseReason.EXPIRED
        check_nothing_left(sessions)


async def test_it_refuses_whatever_comes_after_its_deadline_even_before_it_knows(mock_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions, trio.open_nursery() as nursery:

        async def body(task_status: trio.TaskStatus[Session]) -> None:
            async with sessions.open_session() as session:
                async with session.open_stream() as stream:
                    pass
                streams.append(stream.id)
                task_status.started(session)
                # Whatever it does here, it has not been told yet.
                with trio.CancelScope(shield=True):
                    await done.wait()
                # It is never told, but everybody else has been.

        streams: list[StreamId] = []
        done = trio.Event()
        session = await nursery.start(body)
        mock_clock.jump(10)
        for attempt in (
            session.open_stream().__aenter__,
            lambda: session.start_stream(serve),
            session.open_reader(streams[0]).__aenter__,
            session.open_reader(StreamId.new()).__aenter__,
            sessions.streams.open_stream(session.id).__aenter__,
        ):
            check_session_closed(await refused(SessionClosedError, attempt), session.id, CloseReason.IDLE)
        with pytest.raises(SessionClosedError):
            sessions.streams.register_stream(session.id)
        with pytest.raises(SessionClosedError):
            sessions.get_session(session.id)
        # Too late for a sign of life as well.
        session.touch()
        check_session_closed(
            await refused(SessionClosedError, session.open_stream().__aenter__), session.id, CloseReason.IDLE
        )
        # And for another reason: all those have been told this one.
        session.close(CloseReason.KILLED)
        done.set()
        await session.wait_closed()
        assert session.reason is CloseReason.IDLE


# After its end


async def test_a_handle_never_leads_to_another_session_of_the_same_name() -> None:
    async with open_session_manager() as sessions:
        name = SessionId("s1")
        async with sessions.open_session(session_id=name, principal="alice") as alice:
            async with alice.open_stream() as stream:
                await stream.send(b"secret")
        async with sessions.open_session(session_id=name, principal="bob") as bob:
            for attempt in (
                alice.open_stream().__aenter__,
                lambda: alice.start_stream(serve),
                alice.open_reader(stream.id).__aenter__,
            ):
                check_session_closed(await refused(SessionClosedError, attempt), name, CloseReason.COMPLETED)
            alice.close(CloseReason.KILLED)
            alice.touch()
            assert bob.streams == []
            await trio.lowlevel.checkpoint()
            assert bob.reason is None


async def test_readers_may_stay_until_after_its_end(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(idle_timeout=10, instruments=(recorder,)) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve)
        await stream.send(b"a")
        async with session.open_reader(stream.id) as reader:
            session.close()
            await session.wait_closed()
            check_nothing_left(sessions)
            assert [event.data async for event in reader] == [b"a"]
        # That it had held the session brings nothing back.
        await trio.sleep(20)
        check_nothing_left(sessions, recorder)
        assert session.reason is CloseReason.CANCELLED


async def test_a_session_that_is_run_elsewhere_needs_no_nursery_to_be_open(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        sessions = SessionManager(nursery)
    with takes(1):
        async with sessions.open_session() as session:
            await trio.sleep(1)
    assert session.reason is CloseReason.COMPLETED
