from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    MemoryEventLog,
    Session,
    SessionClosed,
    SessionClosedError,
    SessionId,
    State,
    Stream,
    StreamClosed,
    StreamId,
    StreamLimitError,
    StreamManager,
    StreamOpened,
    UnknownSessionError,
    UnknownStreamError,
    WrongThreadError,
    open_session_manager,
)
from streamscope._forward import ForwardingEventLog
from streamscope.abc import StreamLog
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

S1, S2 = SessionId("s1"), SessionId("s2")


@asynccontextmanager
async def managed(*session_ids: SessionId) -> AsyncIterator[StreamManager]:
    """A stream manager below a session manager, with some sessions open."""
    async with open_session_manager() as sessions:
        for session_id in session_ids:
            await sessions.start_session(session_id=session_id)
        yield sessions.streams
    check_nothing_left(sessions)


@asynccontextmanager
async def standalone(*session_ids: SessionId) -> AsyncIterator[StreamManager]:
    """A stream manager by itself, where a session is but a name."""
    streams = StreamManager()
    yield streams
    check_nothing_left(streams)


both = pytest.mark.parametrize("manager", [managed, standalone])
Manager = Callable[..., AbstractAsyncContextManager[StreamManager]]


# Concurrent registration


@both
async def test_concurrent_registration(manager: Manager, autojump_clock: MockClock) -> None:
    session_ids = [SessionId(f"s{number}") for number in range(5)]
    mine: dict[SessionId, list[StreamId]] = {session_id: [] for session_id in session_ids}

    async def come_and_go(number: int) -> None:
        session_id = session_ids[number % 5]
        await trio.sleep(number % 3)
        async with streams.open_stream(session_id) as stream:
            mine[session_id].append(stream.id)
            await trio.sleep(number % 7)
            registered = streams.register_stream(session_id)
            mine[session_id].append(registered)
            await trio.sleep(10)
            streams.unregister_stream(session_id, registered)

    async with manager(*session_ids) as streams:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(come_and_go, number)
            await trio.sleep(9.5)
            assert {key: set(value) for key, value in mine.items()} == {
                key: set(streams.get_session_streams(key)) for key in session_ids
            }
            everything = [stream_id for ids in mine.values() for stream_id in ids]
            assert len(set(everything)) == 200
            assert all(streams.is_stream_active(stream_id) for stream_id in everything)
            assert streams.statistics().open_streams == 200
        assert streams.statistics().opened_streams == 200
        assert not any(streams.is_stream_active(stream_id) for stream_id in everything)
        assert streams.statistics().closed_streams == {CloseReason.COMPLETED: 200}


async def test_other_threads_may_look_but_not_touch() -> None:
    def look(stream_id: StreamId) -> None:
        assert streams.is_stream_active(stream_id)
        assert streams.get_session_streams(S1) == [stream_id]
        metadata = streams.get_metadata(stream_id)
        assert metadata is not None
        assert metadata.age >= 0
        assert [metadata.stream_id for metadata in streams.list_streams()] == [stream_id]
        assert streams.get_stream(stream_id) is not None
        assert streams.statistics().open_streams == 1
        for change in (
            lambda: streams.register_stream(S1),
            lambda: streams.unregister_stream(S1, stream_id),
            lambda: streams.cancel_stream(S1, stream_id),
            lambda: streams.cleanup_inactive_streams(0),
        ):
            with pytest.raises(WrongThreadError):
                change()

    streams = StreamManager()
    async with streams.open_stream(S1) as stream:
        await trio.to_thread.run_sync(look, stream.id)
        assert stream.reason is None


def test_without_a_loop_nothing_can_be_opened() -> None:
    streams = StreamManager()
    with pytest.raises(WrongThreadError):
        streams.register_stream(S1)
    assert streams.list_streams() == []


# Clean-up


@both
async def test_clean_up_cancels_scopes_and_deletes_no_row_under_a_running_task(
    manager: Manager, autojump_clock: MockClock
) -> None:
    streams_left: list[StreamId] = []

    async def body() -> None:
        with takes(15 + 2):
            async with streams.open_stream(S1) as stream:
                ids.append(stream.id)
                try:
                    await trio.sleep_forever()
                finally:
                    await sleep_shielded(2)  # noqa: ASYNC102 - it is shielded
                    assert streams.is_stream_active(stream.id)
                    streams_left.append(stream.id)
        # The block has ended quietly: a stream was ended, not its session.
        assert stream.reason is CloseReason.IDLE

    ids: list[StreamId] = []
    async with manager(S1) as streams, trio.open_nursery() as nursery:
        nursery.start_soon(body)
        await trio.sleep(15)
        with assert_no_checkpoints():
            assert streams.cleanup_inactive_streams(10) == ids
        assert len(ids) == 1
        metadata = streams.get_metadata(ids[0])
        assert metadata is not None
        assert (metadata.state, metadata.reason) == (State.CLOSING, CloseReason.IDLE)
        await trio.sleep(1)
        assert streams.is_stream_active(ids[0])
        assert streams.get_session_streams(S1) == ids
        # It is not found twice.
        assert streams.cleanup_inactive_streams(10) == []
        await trio.sleep(2)
        assert streams_left == ids
        assert not streams.is_stream_active(ids[0])


@both
async def test_clean_up_returns_the_least_active_first_and_leaves_the_active_ones(
    manager: Manager, autojump_clock: MockClock
) -> None:
    async with manager(S1, S2) as streams:
        async with trio.open_nursery() as nursery:

            async def body(session_id: SessionId, task_status: trio.TaskStatus[Stream]) -> None:
                async with streams.open_stream(session_id) as stream:
                    task_status.started(stream)
                    await trio.sleep_forever()

            one, two, three, four = [await nursery.start(body, session_id) for session_id in (S1, S2, S1, S2)]
            await trio.sleep(5)
            one.touch()
            await trio.sleep(5)
            await three.send(b"a")
            assert streams.cleanup_inactive_streams(10) == []
            # Exactly ten seconds are not more than ten seconds.
            await trio.sleep(1)
            assert streams.cleanup_inactive_streams(10) == [two.id, four.id]
            assert streams.cleanup_inactive_streams(1) == [one.id]
            assert streams.cleanup_inactive_streams(math.inf) == []
            await wait_all_tasks_blocked()
            assert streams.get_session_streams(S1) == [three.id]
            nursery.cancel_scope.cancel()
        assert streams.statistics().closed_streams == {CloseReason.IDLE: 3, CloseReason.CANCELLED: 1}


async def test_clean_up_counts_a_readers_progress_as_activity(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = await session.start_stream(serve)
        await stream.send(b"a")
        async with session.open_reader(stream.id) as reader:
            await trio.sleep(10)
            await reader.receive()
            assert sessions.streams.cleanup_inactive_streams(5) == []
            # That a reader is there is no progress.
            await trio.sleep(10)
            assert sessions.streams.cleanup_inactive_streams(5) == [stream.id]


@both
async def test_clean_up_unregisters_what_has_no_scope(manager: Manager, mock_clock: MockClock) -> None:
    async with manager(S1) as streams:
        ids = [streams.register_stream(S1) for _ in range(3)]
        scope = trio.CancelScope()
        scoped = streams.register_stream(S1, scope=scope)
        mock_clock.jump(1)
        assert streams.cleanup_inactive_streams(0) == [*ids, scoped]
        assert streams.get_session_streams(S1) == [scoped]
        assert scope.cancel_called
        assert [streams.is_stream_active(stream_id) for stream_id in ids] == [False] * 3
        streams.unregister_stream(S1, scoped)
        assert streams.statistics().closed_streams == {CloseReason.IDLE: 4}


@pytest.mark.parametrize("max_age", [-1, math.nan, -math.inf])
async def test_clean_up_takes_a_number_of_seconds(max_age: float) -> None:
    streams = StreamManager()
    stream_id = streams.register_stream(S1)
    with pytest.raises(ValueError, match="max_age"):
        streams.cleanup_inactive_streams(max_age)
    assert streams.is_stream_active(stream_id)
    streams.unregister_stream(S1, stream_id)


async def test_clean_up_may_meet_an_observer_that_cleans_up_as_well(mock_clock: MockClock) -> None:
    def unregister_all(change: StreamClosed) -> None:
        for stream_id in streams.get_session_streams(S1):
            streams.unregister_stream(S1, stream_id)
        streams.cleanup_inactive_streams(0)

    recorder = Recorder()
    async with open_session_manager(instruments=(recorder,)) as sessions:
        streams = sessions.streams
        # It finds those that are next, and are closing already.
        sessions.add_instrument(Reaction(StreamClosed, unregister_all))
        await sessions.start_session(session_id=S1)
        ids = [streams.register_stream(S1) for _ in range(4)]
        mock_clock.jump(1)
        assert streams.cleanup_inactive_streams(0) == ids
        assert streams.get_session_streams(S1) == []
    assert Counter(change.stream.stream_id for change in recorder.of(StreamClosed)) == Counter(ids)
    check_nothing_left(sessions, recorder)


# Sessions and their streams


@both
async def test_a_stream_belongs_to_its_session(manager: Manager) -> None:
    async with manager(S1, S2) as streams:
        async with streams.open_stream(S1) as one, streams.open_stream(S2) as two, streams.open_stream(S1) as three:
            assert streams.get_session_streams(S1) == [one.id, three.id]
            assert streams.get_session_streams(S2) == [two.id]
            assert [metadata.stream_id for metadata in streams.list_streams()] == [one.id, two.id, three.id]
            assert streams.get_stream(two.id) is two
            registered = streams.register_stream(S2)
            assert streams.get_session_streams(S2) == [two.id, registered]
            # There is no block that could be handed out.
            assert streams.get_stream(registered) is None
            streams.unregister_stream(S2, registered)
        assert streams.get_session_streams(S1) == streams.get_session_streams(S2) == []
        assert streams.get_stream(one.id) is None


async def test_the_list_of_a_sessions_streams_is_the_callers_own() -> None:
    streams = StreamManager()
    async with streams.open_stream(S1):
        streams.get_session_streams(S1).clear()
        assert len(streams.get_session_streams(S1)) == 1


async def test_a_session_that_is_but_a_name_goes_with_its_last_stream() -> None:
    streams = StreamManager()
    async with streams.open_stream(S1):
        stream_id = streams.register_stream(S1)
    assert streams.get_session_streams(S1) == [stream_id]
    streams.unregister_stream(S1, stream_id)
    check_nothing_left(streams)
    # The name may be used again.
    async with streams.open_stream(S1):
        assert len(streams.get_session_streams(S1)) == 1


@both
async def test_ending_the_only_stream_of_a_session_ends_it_quietly(manager: Manager) -> None:
    async with manager(S1) as streams:
        async with streams.open_stream(S1) as stream:
            stream.cancel()
            await trio.sleep_forever()
        assert stream.reason is CloseReason.CANCELLED
        async with streams.open_stream(S1) as stream:
            streams.cancel_stream(S1, stream.id)
            await trio.sleep_forever()
        assert stream.reason is CloseReason.KILLED


async def test_below_a_session_manager_a_session_must_be_open(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        streams = sessions.streams
        await refused(UnknownSessionError, streams.open_stream(S1).__aenter__)
        with pytest.raises(UnknownSessionError):
            streams.register_stream(S1)
        session = await sessions.start_session(session_id=S1)
        await session.start_stream(unwind_slowly, 1)
        await wait_all_tasks_blocked()
        session.close(CloseReason.KILLED)
        check_session_closed(
            await refused(SessionClosedError, streams.open_stream(S1).__aenter__), S1, CloseReason.KILLED
        )
        with pytest.raises(SessionClosedError):
            streams.register_stream(S1)
        assert streams.statistics().opened_streams == 1
        await session.wait_closed()
        await refused(UnknownSessionError, streams.open_stream(S1).__aenter__)
    check_nothing_left(sessions)


async def test_a_session_has_at_most_so_many_streams() -> None:
    streams = StreamManager(max_streams_per_session=2)
    async with streams.open_stream(S1), streams.open_stream(S2):
        registered = streams.register_stream(S1)
        exc = await refused(StreamLimitError, streams.open_stream(S1).__aenter__)
        assert isinstance(exc, StreamLimitError)
        assert (exc.limit, exc.value) == ("max_streams_per_session", 2)
        with pytest.raises(StreamLimitError):
            streams.register_stream(S1)
        assert streams.statistics().opened_streams == 3
        streams.unregister_stream(S1, registered)
        async with streams.open_stream(S1):
            pass


# Metadata


@both
async def test_metadata(manager: Manager, mock_clock: MockClock) -> None:
    async with manager(S1) as streams:
        registered = streams.register_stream(S1, kind="get", connection_info="203.0.113.7:50412")
        async with streams.open_stream(S1, kind="post", connection_info="[2001:db8::1]:443") as stream:
            mock_clock.jump(3)
            await stream.send(b"123")
            mock_clock.jump(4)
            metadata = streams.get_metadata(stream.id)
            assert metadata == stream.metadata
            assert metadata is not None
            assert (metadata.kind, metadata.connection_info) == ("post", "[2001:db8::1]:443")
            assert (metadata.age, metadata.idle, metadata.event_count, metadata.byte_count) == (7, 4, 1, 3)
            assert (metadata.last_activity - metadata.created_at).total_seconds() == 3
            of_registered = streams.get_metadata(registered)
            assert of_registered is not None
            assert (of_registered.kind, of_registered.connection_info) == ("get", "203.0.113.7:50412")
            assert (of_registered.age, of_registered.idle, of_registered.event_count) == (7, 7, 0)
            # A snapshot does not change.
            assert metadata.age == 7
        assert streams.get_metadata(stream.id) is None
        assert streams.get_metadata(StreamId.new()) is None
        streams.unregister_stream(S1, registered)


# Empty sessions


@both
async def test_empty_sessions(manager: Manager) -> None:
    async with manager(S1) as streams:
        assert streams.get_session_streams(S1) == []
        assert streams.get_session_streams(S2) == []
        assert streams.list_streams() == []
        assert streams.cleanup_inactive_streams(0) == []
        assert not streams.is_stream_active(StreamId.new())
        assert streams.statistics().open_streams == 0


# Orphaned streams


@both
async def test_what_is_not_there_cannot_be_unregistered_or_ended(manager: Manager) -> None:
    async with manager(S1, S2) as streams:
        stream_id = streams.register_stream(S1)
        before = streams.statistics()
        for wrong in ((S2, stream_id), (S1, StreamId.new()), (SessionId("s3"), stream_id)):
            for change in (streams.unregister_stream, streams.cancel_stream):
                with pytest.raises(UnknownStreamError) as caught:
                    change(*wrong)
                assert caught.value.stream_id == wrong[1]
                assert str(wrong[1]) in str(caught.value)
        assert streams.statistics() == before
        assert streams.get_session_streams(S1) == [stream_id]
        streams.unregister_stream(S1, stream_id)
        # Not twice either.
        with pytest.raises(UnknownStreamError):
            streams.unregister_stream(S1, stream_id)
        assert streams.statistics().closed_streams == {CloseReason.COMPLETED: 1}


@both
async def test_the_stream_of_a_block_cannot_be_unregistered_under_it(manager: Manager) -> None:
    async with manager(S1) as streams, streams.open_stream(S1) as stream:
        with pytest.raises(RuntimeError, match=r"open_stream\(\)"):
            streams.unregister_stream(S1, stream.id)
        assert streams.is_stream_active(stream.id)
        await trio.lowlevel.checkpoint()
        assert stream.reason is None


async def test_not_even_by_an_observer_that_has_just_learnt_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session(session_id=S1)
        streams = sessions.streams
        seen: list[Stream | None] = []
        sessions.add_instrument(
            Reaction(StreamOpened, lambda change: seen.append(streams.get_stream(change.stream.stream_id)))
        )
        sessions.add_instrument(
            Reaction(StreamOpened, lambda change: streams.unregister_stream(S1, change.stream.stream_id))
        )
        async with session.open_stream() as stream:
            assert session.streams == [stream.id]
            # Whoever learns of a stream can look it up.
            assert seen == [stream]
        (record,) = caplog.records
        assert record.exc_info is not None
        assert type(record.exc_info[1]) is RuntimeError
    check_nothing_left(sessions)


async def test_a_stream_whose_session_has_ended_is_ended_with_it(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        streams = sessions.streams
        scopeless = streams.register_stream(session.id)
        scope = trio.CancelScope()
        scoped = streams.register_stream(session.id, scope=scope)
        session.close(CloseReason.TERMINATED)
        # What has a scope is told, and is there until it is taken out; what has none goes at once.
        assert streams.get_session_streams(session.id) == [scoped]
        assert not streams.is_stream_active(scopeless)
        assert scope.cancel_called
        with trio.move_on_after(1):
            await session.wait_closed()
            pytest.fail("the session waits for its stream")
        streams.unregister_stream(session.id, scoped)
        await session.wait_closed()
        assert streams.statistics().closed_streams == {CloseReason.TERMINATED: 2}
    check_nothing_left(sessions)


async def test_one_that_is_forgotten_is_waited_for_only_so_long(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session_manager(drain_timeout=3) as sessions:
        with takes(3):
            async with sessions.open_session() as session:
                # Owed, and never paid.
                forgotten = sessions.streams.register_stream(session.id, scope=trio.CancelScope())
        assert "1 streams of a session still run 3 seconds after its end" in caplog.text
        assert [metadata.state for metadata in sessions.list_sessions()] == [State.CLOSING]
        sessions.streams.unregister_stream(session.id, forgotten)
        check_nothing_left(sessions)


async def test_scope_less_streams_are_unregistered_when_they_are_ended() -> None:
    async with managed(S1) as streams:
        ids = [streams.register_stream(S1) for _ in range(2)]
        streams.cancel_stream(S1, ids[0])
        assert streams.get_session_streams(S1) == [ids[1]]
        with pytest.raises(UnknownStreamError):
            streams.cancel_stream(S1, ids[0])
        streams.unregister_stream(S1, ids[1])


async def test_ending_a_stream_twice_keeps_the_first_reason() -> None:
    async with managed(S1) as streams:
        async with streams.open_stream(S1) as stream:
            streams.cancel_stream(S1, stream.id, CloseReason.SLOW_READER)
            streams.cancel_stream(S1, stream.id, CloseReason.KILLED)
            with pytest.raises(trio.Cancelled) as caught:
                await trio.sleep_forever()
            assert caught.value.reason == "stream ended: slow_reader"
        assert stream.reason is CloseReason.SLOW_READER


# The log


class FullLog(ForwardingEventLog):
    """A log that takes no streams, as a disk that is full."""

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        raise Boom


async def test_a_stream_that_the_log_refuses_is_not_opened() -> None:
    recorder = Recorder()
    async with open_session_manager(log=FullLog(MemoryEventLog()), instruments=(recorder,)) as sessions:
        async with sessions.open_session() as session:
            await refused(Boom, session.open_stream().__aenter__)
            await refused(Boom, lambda: session.start_stream(serve))
            assert session.streams == []
        assert session.reason is CloseReason.COMPLETED
    # Nobody was told of what never was.
    assert recorder.names == ["SessionOpened", "SessionClosed"]
    check_nothing_left(sessions)


async def test_a_given_log_is_used() -> None:
    log = MemoryEventLog()
    streams = StreamManager(log=log)
    assert streams.log is log
    async with streams.open_stream(S1) as stream:
        await stream.send(b"a")
        assert log.statistics().events == 1
        # Also through the log itself, where no session hands out readers.
        assert (await (await log.find_stream(S1, stream.id)).read(0, 10)).events[0].data == b"a"


@pytest.mark.parametrize("bound", [0, -1, 1.5, math.nan])
def test_a_bound_is_a_whole_number(bound: float) -> None:
    with pytest.raises(ValueError, match="max_streams_per_session"):
        StreamManager(max_streams_per_session=bound)


async def test_an_observer_may_end_the_session_as_soon_as_a_stream_is_opened(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(instruments=(recorder,)) as sessions:
        session: Session = await sessions.start_session(session_id=S1)
        sessions.add_instrument(Reaction(StreamOpened, lambda change: session.close(CloseReason.KILLED)))
        with pytest.raises(SessionClosedError) as caught:
            async with session.open_stream() as stream:
                assert stream.reason is CloseReason.KILLED
                await trio.sleep_forever()
        check_session_closed(caught.value, S1, CloseReason.KILLED)
        await session.wait_closed()
        # The same with a stream that is registered: it is gone before its id is known.
        session = await sessions.start_session(session_id=S1)
        stream_id = sessions.streams.register_stream(S1)
        assert not sessions.streams.is_stream_active(stream_id)
        await session.wait_closed()
    assert recorder.names == ["SessionOpened", "StreamOpened", "StreamClosed", "SessionClosed"] * 2
    assert {change.reason for change in recorder.of(SessionClosed)} == {CloseReason.KILLED}
    check_nothing_left(sessions, recorder)
