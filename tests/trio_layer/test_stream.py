from __future__ import annotations

import math
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    EventId,
    EventTooLargeError,
    MemoryEventLog,
    Session,
    SessionClosedError,
    SessionId,
    State,
    Stream,
    StreamClosedError,
    StreamManager,
    WrongThreadError,
    open_session_manager,
)
from tests.helpers import Boom, check_nothing_left, check_session_closed, sleep_shielded, takes

S1 = SessionId("s1")


# The handle


async def test_it_says_what_it_is(mock_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session(principal="alice") as session:
        opening = session.open_stream(kind="listen", connection_info="203.0.113.7:50412")
        async with opening as stream:
            assert stream.session_id == session.id
            assert stream.kind == "listen"
            assert stream.reason is None
            assert repr(stream) == f"<Stream {stream.id} 'listen' open>"
            mock_clock.jump(2)
            await stream.send(b"12345")
            mock_clock.jump(3)
            metadata = stream.metadata
            assert metadata.stream_id == stream.id
            assert metadata.session_id == session.id
            assert metadata.principal == "alice"
            assert metadata.kind == "listen"
            assert metadata.connection_info == "203.0.113.7:50412"
            assert (metadata.state, metadata.reason) == (State.OPEN, None)
            assert (metadata.age, metadata.idle) == (5, 3)
            assert (metadata.event_count, metadata.byte_count) == (1, 5)
            stream.cancel(CloseReason.KILLED)
            assert (stream.metadata.state, stream.metadata.reason) == (State.CLOSING, CloseReason.KILLED)
            assert repr(stream) == f"<Stream {stream.id} 'listen' closing>"
        assert (stream.metadata.state, stream.metadata.reason) == (State.CLOSED, CloseReason.KILLED)


# Sending


async def test_sending_appends_counts_and_touches(mock_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            mock_clock.jump(5)
            with assert_checkpoints():
                assert await stream.send(b"a") == EventId(stream.id, 1)
            assert stream.metadata.idle == 0
            mock_clock.jump(5)
            with assert_no_checkpoints():
                assert stream.send_nowait(b"bc") == EventId(stream.id, 2)
            assert stream.metadata.idle == 0
            assert session.metadata.idle == 0
            assert (stream.log.first, stream.log.last, stream.log.finished) == (1, 2, False)
            assert (stream.metadata.event_count, stream.metadata.byte_count) == (2, 3)
            statistics = sessions.streams.statistics()
            assert (statistics.sent_events, statistics.sent_bytes) == (2, 3)


async def test_what_cannot_be_sent_is_not_counted() -> None:
    log = MemoryEventLog(max_stream_bytes=10, max_bytes=10)
    async with open_session_manager(log=log) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            with assert_checkpoints(), pytest.raises(EventTooLargeError):
                await stream.send(b"*" * 11)
            with pytest.raises(EventTooLargeError):
                stream.send_nowait(b"*" * 11)
        with assert_checkpoints(), pytest.raises(StreamClosedError) as caught:
            await stream.send(b"")
        assert caught.value.stream_id == stream.id
        with pytest.raises(StreamClosedError):
            stream.send_nowait(b"")
        assert stream.metadata.event_count == sessions.streams.statistics().sent_events == 0


@pytest.mark.parametrize("wait", [False, True])
async def test_the_last_event_and_the_end_are_seen_together(wait: bool) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            await stream.send(b"a")
            if wait:
                assert await stream.send(b"b", last=True) == EventId(stream.id, 2)
            else:
                assert stream.send_nowait(b"b", last=True) == EventId(stream.id, 2)
            async with session.open_reader(stream.id) as reader:
                assert [event.data for event in await reader.receive_some()] == [b"a", b"b"]
                assert reader.finished
            with pytest.raises(StreamClosedError):
                stream.send_nowait(b"c")
            # The scope is another matter.
            assert stream.reason is None
            assert session.streams == [stream.id]
            assert stream.metadata.event_count == 2


async def test_a_send_that_is_cancelled_before_it_began_sends_nothing() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.send(b"a")
            assert scope.cancelled_caught
            assert stream.log.last == stream.metadata.event_count == 0


async def test_from_another_thread_it_can_be_read_but_not_changed() -> None:
    def look_from_outside(stream: Stream) -> None:
        assert stream.metadata.stream_id == stream.id
        with pytest.raises(WrongThreadError):
            stream.send_nowait(b"a")
        with pytest.raises(WrongThreadError):
            stream.cancel()
        with pytest.raises(WrongThreadError):
            stream.touch()

    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            await trio.to_thread.run_sync(look_from_outside, stream)
            assert stream.reason is None
            assert stream.log.last == 0
            # A stream ends with the loop that it lives in, so another loop cannot send on it either.

            async def send_from_another_loop() -> None:
                with pytest.raises(WrongThreadError):
                    await stream.send(b"a")

            await trio.to_thread.run_sync(trio.run, send_from_another_loop)
            assert stream.log.last == 0


# Ending


async def test_cancelling_is_idempotent_and_the_first_reason_stays() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            with assert_no_checkpoints():
                stream.cancel(CloseReason.KILLED)
                stream.cancel(CloseReason.DISCONNECTED)
            with pytest.raises(trio.Cancelled) as caught:
                await trio.sleep_forever()
            assert caught.value.reason == "stream ended: killed"
            raise caught.value
        stream.cancel(CloseReason.DISCONNECTED)
        assert stream.reason is CloseReason.KILLED
        # The session goes on.
        await trio.lowlevel.checkpoint()
        assert session.reason is None


async def test_whatever_ends_the_block_the_reason_says_so() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as completed:
            pass
        with pytest.raises(Boom):
            async with session.open_stream() as failed:
                raise Boom
        with trio.CancelScope() as scope:
            async with session.open_stream() as cancelled:
                scope.cancel()
                await trio.sleep_forever()
        with pytest.RaisesGroup(Boom):
            async with session.open_stream() as failed_too, trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise Boom
        with trio.CancelScope() as scope:
            async with session.open_stream() as cancelled_too, trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
        assert completed.reason is CloseReason.COMPLETED
        assert failed.reason is failed_too.reason is CloseReason.FAILED
        assert cancelled.reason is cancelled_too.reason is CloseReason.CANCELLED
    check_nothing_left(sessions)


async def test_a_group_of_cancellations_only_is_no_failure() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            # Real ones, which nobody else can make.
            with pytest.raises(trio.Cancelled) as one:
                await trio.lowlevel.checkpoint()
            with pytest.raises(trio.Cancelled) as two:
                await trio.lowlevel.checkpoint()
        only = BaseExceptionGroup("outer", [one.value, BaseExceptionGroup("inner", [two.value])])
        mixed = BaseExceptionGroup("outer", [one.value, BaseExceptionGroup("inner", [two.value, Boom()])])
        for group, reason in ((only, CloseReason.CANCELLED), (mixed, CloseReason.FAILED)):
            came_out: BaseException | None = None
            try:
                async with session.open_stream() as stream:
                    raise group
            except BaseExceptionGroup as exc:
                came_out = exc
            # No scope of ours is cancelled, so it is not ours to change.
            assert came_out is group
            assert stream.reason is reason


async def test_a_stream_that_ends_by_itself_keeps_its_own_reason_though_it_was_cancelled() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with pytest.raises(Boom):
            async with session.open_stream() as stream:
                stream.cancel(CloseReason.KILLED)
                # It never meets a checkpoint, so it is never cancelled: the error is its own, the reason is not.
                raise Boom
        assert stream.reason is CloseReason.KILLED
        async with session.open_stream() as stream:
            stream.cancel(CloseReason.KILLED)
        assert stream.reason is CloseReason.KILLED


async def test_a_body_may_swallow_its_cancellation_for_a_while(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        with takes(6):
            async with session.open_stream() as stream:
                session.close(CloseReason.KILLED)
                for _ in range(3):
                    try:
                        await trio.sleep_forever()
                    except trio.Cancelled:  # noqa: ASYNC103 - this body does not behave
                        await sleep_shielded(2)  # noqa: ASYNC102 - it is shielded
                # Cancelled, but never caught by the scope: so it ends by itself.
            assert session.reason is stream.reason is CloseReason.KILLED


async def test_an_error_while_it_unwinds_is_not_lost() -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        with pytest.raises(Boom) as caught:
            async with session.open_stream() as stream:
                session.close(CloseReason.KILLED)
                try:
                    await trio.sleep_forever()
                finally:
                    raise Boom
        assert isinstance(caught.value.__context__, trio.Cancelled)
        # Of a group, what is left when the cancellations are taken out.
        another = await sessions.start_session()

        async def child(error: Exception | None) -> None:
            try:
                await trio.sleep_forever()
            finally:
                if error is not None:
                    raise error

        error = Boom()
        with pytest.RaisesGroup(Boom) as group:
            async with another.open_stream(), trio.open_nursery() as nursery:
                nursery.start_soon(child, None)
                nursery.start_soon(child, error)
                await wait_all_tasks_blocked()
                another.close()
        assert group.value.exceptions == (error,)
        assert stream.reason is CloseReason.KILLED


async def test_a_log_that_fails_at_the_end_leaves_no_scope_open_and_nothing_registered() -> None:
    def wake() -> None:
        raise Boom

    async with open_session_manager() as sessions, sessions.open_session() as session:
        with pytest.raises(Boom):
            async with session.open_stream() as stream:
                # The log tells its readers of the end. That they must not raise is in its interface.
                stream.log.attach(wake)
        assert stream.reason is CloseReason.COMPLETED
        assert session.streams == []
        await trio.lowlevel.checkpoint()
    check_nothing_left(sessions)


# Idle


async def test_it_ends_when_nobody_has_read_it_for_so_long(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with takes(10):
            async with session.open_stream(idle_timeout=10) as stream:
                await trio.sleep_forever()
        assert stream.reason is CloseReason.IDLE
        assert session.reason is None


async def test_readers_keep_it_and_the_time_counts_from_the_last_of_them(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(_wait, idle_timeout=10)
        await trio.sleep(9)
        async with session.open_reader(stream.id):
            await trio.sleep(20)
            async with session.open_reader(stream.id):
                await trio.sleep(20)
            await trio.sleep(20)
        await trio.sleep(9)
        assert stream.reason is None
        await trio.sleep(2)
        assert stream.reason is CloseReason.IDLE


async def test_what_it_sends_does_not_keep_it_but_a_touch_does(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(_wait, idle_timeout=10)
        await trio.sleep(9)
        # Nobody reads it: that is what the time-out is about.
        stream.send_nowait(b"a")
        await trio.sleep(2)
        assert stream.reason is CloseReason.IDLE
        stream = await session.start_stream(_wait, idle_timeout=10)
        await trio.sleep(9)
        stream.touch()
        await trio.sleep(9)
        assert stream.reason is None


async def _wait(stream: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("idle_timeout", [0, -1, math.nan])
async def test_an_idle_timeout_is_a_number_of_seconds(idle_timeout: float) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with pytest.raises(ValueError, match="idle_timeout"):
            session.open_stream(idle_timeout=idle_timeout)
        with pytest.raises(ValueError, match="idle_timeout"):
            await session.start_stream(_wait, idle_timeout=idle_timeout)


# The block


async def test_it_can_be_entered_only_once() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        opening = session.open_stream()
        async with opening:
            with pytest.raises(RuntimeError, match="only once"):
                await opening.__aenter__()
        with pytest.raises(RuntimeError, match="only once"):
            await opening.__aenter__()
    check_nothing_left(sessions)


async def test_one_that_was_refused_may_be_tried_again() -> None:
    streams = StreamManager(max_streams_per_session=1)
    opening = streams.open_stream(S1)
    async with streams.open_stream(S1):
        with pytest.raises(Exception, match="max_streams_per_session"):
            await opening.__aenter__()
    async with opening:
        assert len(streams.get_session_streams(S1)) == 1


async def test_leaving_is_not_a_checkpoint() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        opening = session.open_stream()
        await opening.__aenter__()
        with assert_no_checkpoints():
            await opening.__aexit__(None, None, None)


async def test_streams_nest(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        for ended in range(2):
            session = await sessions.start_session()
            async with session.open_stream() as outer:
                async with session.open_stream() as inner:
                    [outer, inner][ended].cancel()
                    await trio.sleep_forever()
                # Reached only where the inner one alone was ended.
                assert ended == 1
            assert (inner.reason, outer.reason) == (
                (CloseReason.CANCELLED, CloseReason.CANCELLED)
                if ended == 0
                else (CloseReason.CANCELLED, CloseReason.COMPLETED)
            )
            # Both are cancelled; the outermost that ends with the session tells.
            with pytest.raises(SessionClosedError) as caught:
                async with session.open_stream():
                    async with session.open_stream():
                        session.close(CloseReason.KILLED)
                        await trio.sleep_forever()
                    pytest.fail("the outer stream is cancelled as well")
            check_session_closed(caught.value, session.id, CloseReason.KILLED)


async def test_it_may_be_opened_in_a_session_of_another_nursery(autojump_clock: MockClock) -> None:
    async def own(sessions_session: trio.MemorySendChannel[Session]) -> None:
        async with sessions.open_session() as session:
            await sessions_session.send(session)
            await trio.sleep(1)

    send, receive = trio.open_memory_channel[Session](0)
    async with open_session_manager() as sessions, trio.open_nursery() as one, trio.open_nursery() as two:
        two.start_soon(own, send)
        session = await receive.receive()

        async def visit() -> None:
            with pytest.raises(SessionClosedError) as caught:
                async with session.open_stream():
                    # Its own scopes have no say in how long the session lives, and the other way round.
                    await trio.sleep_forever()
            check_session_closed(caught.value, session.id, CloseReason.COMPLETED)

        one.start_soon(visit)
    assert trio.current_time() == 1


async def test_an_exit_stack_may_hold_it(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session() as session, AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(session.open_stream()) for _ in range(3)]
            streams[1].cancel()
            await trio.sleep_forever()
        # The middle one has caught its own cancellation; that is all that was left of the block.
        assert [stream.reason for stream in streams] == [
            CloseReason.COMPLETED,
            CloseReason.CANCELLED,
            CloseReason.CANCELLED,
        ]
    check_nothing_left(sessions)


async def test_left_in_another_task_it_says_so() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        opening = session.open_stream()

        async def enter(task_status: trio.TaskStatus[None]) -> None:
            await opening.__aenter__()
            task_status.started()
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await nursery.start(enter)
            with pytest.raises(RuntimeError, match="unrelated"):
                await opening.__aexit__(None, None, None)
            # The registry is right at least.
            assert session.streams == []
            nursery.cancel_scope.cancel()
    check_nothing_left(sessions)
