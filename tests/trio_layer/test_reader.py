from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    Event,
    EventId,
    EventReader,
    EventsExpiredError,
    MemoryEventLog,
    ReaderAttached,
    ReaderClosedError,
    ReaderDetached,
    Session,
    SessionClosedError,
    Stream,
    StreamId,
    UnknownEventError,
    UnknownStreamError,
    open_session_manager,
)
from streamscope.abc import EventLog
from tests.helpers import Recorder, SlowEventLog, refused, simulate, sleep_shielded, takes


def send(stream: Stream, count: int) -> None:
    """Append events whose bytes are their numbers."""
    for _ in range(count):
        stream.send_nowait(b"%d" % (stream.log.last + 1))


def check_numbers(events: list[Event], numbers: range) -> None:
    assert [event.seq for event in events] == list(numbers)
    assert [event.data for event in events] == [b"%d" % number for number in numbers]


# Reading


async def test_it_receives_what_was_there_and_what_comes_and_then_the_end() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        received: list[Event] = []

        async def read(stream_id: StreamId) -> None:
            async with session.open_reader(stream_id) as reader:
                assert reader.position == EventId(stream_id, 0)
                async for event in reader:
                    received.append(event)
                    assert reader.position == EventId(stream_id, event.seq)
                assert reader.finished
                with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
                    await reader.receive()

        async with trio.open_nursery() as nursery, session.open_stream() as stream:
            send(stream, 2)
            nursery.start_soon(read, stream.id)  # noqa: ASYNC111 - it reads on when the stream has ended
            await wait_all_tasks_blocked()
            check_numbers(received, range(1, 3))
            send(stream, 1)
            await wait_all_tasks_blocked()
            check_numbers(received, range(1, 4))
            send(stream, 1)
        check_numbers(received, range(1, 5))


async def test_it_begins_after_a_position() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 5)
            async with session.open_reader(stream.id, after=3) as reader:
                check_numbers(await reader.receive_some(), range(4, 6))
            async with session.open_reader(stream.id, after=5) as reader:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await reader.receive()
                assert reader.position.seq == 5


async def test_a_stream_that_has_ended_is_read_to_its_end() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 3)
        async with session.open_reader(stream.id, after=1) as reader:
            assert not reader.finished
            check_numbers([event async for event in reader], range(2, 4))
            assert reader.finished
        async with session.open_stream() as empty:
            pass
        async with session.open_reader(empty.id) as reader:
            with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
                await reader.receive()


async def test_receiving_is_always_a_checkpoint() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 3)
            async with session.open_reader(stream.id) as reader:
                with assert_checkpoints():
                    await reader.receive()
                # This one is in the reader's hands already.
                with assert_checkpoints():
                    await reader.receive()
                with assert_checkpoints():
                    await reader.receive_some()


async def test_many_are_received_at_once_and_at_most_so_many() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 200)
            async with session.open_reader(stream.id) as reader:
                check_numbers(await reader.receive_some(3), range(1, 4))
                received = await reader.receive_some(1000)
                check_numbers(received, range(4, 4 + len(received)))
                while reader.position.seq < 200:
                    received += await reader.receive_some(1000)
                check_numbers(received, range(4, 201))


async def test_who_asks_for_many_gets_all_that_are_there() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 200)
            async with session.open_reader(stream.id) as reader:
                check_numbers(await reader.receive_some(150), range(1, 151))
                check_numbers(await reader.receive_some(150), range(151, 201))


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_is_at_least_one(limit: int) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 1)
            with pytest.raises(ValueError, match="limit must be at least 1"):
                await reader.receive_some(limit)
            check_numbers(await reader.receive_some(), range(1, 2))


async def test_a_cancelled_receive_takes_nothing() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 3)
            for ready in range(1, 4):
                # The first has to be read from the log; the next is in the reader's hands already.
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await reader.receive()
                assert scope.cancelled_caught
                assert (await reader.receive()).seq == ready


async def test_news_may_come_just_after_its_cancellation() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:

            async def read(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
                with trio.CancelScope() as scope:
                    task_status.started(scope)
                    await reader.receive()
                assert scope.cancelled_caught

            async with trio.open_nursery() as nursery:
                scope = await nursery.start(read)
                await wait_all_tasks_blocked()
                # Both in one step: the task that waits has been scheduled by the time of the second.
                scope.cancel()
                send(stream, 1)
                reader.end(CloseReason.SLOW_READER)
            assert reader.position.seq == 0


async def test_news_may_come_many_at_a_time() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    check_numbers(await reader.receive_some(), range(1, 4))

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                send(stream, 3)


async def test_two_tasks_may_not_receive_from_one_reader() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    assert (await reader.receive()).seq == 1

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await reader.receive()
                send(stream, 2)
            # The one that was refused has spoilt nothing.
            assert (await reader.receive()).seq == 2


async def test_a_log_that_takes_its_time_loses_no_news(autojump_clock: MockClock) -> None:
    async with open_session_manager(log=SlowEventLog(1)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    # The first look finds nothing, and the event comes before it is over.
                    check_numbers(await reader.receive_some(), range(1, 2))

                nursery.start_soon(read)
                await trio.sleep(0.5)
                send(stream, 1)


async def test_one_that_is_ended_while_a_slow_log_is_looking_takes_nothing_more(autojump_clock: MockClock) -> None:
    async with open_session_manager(log=SlowEventLog(1)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 1)
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    with pytest.raises(ReaderClosedError):
                        await reader.receive()

                nursery.start_soon(read)
                await trio.sleep(0.5)
                # Whoever takes over begins where this one was, so the two must not both have the event.
                reader.end(CloseReason.SUPERSEDED)
            assert reader.position.seq == 0


# Closing


async def test_a_log_is_not_asked_to_wake_a_reader_that_has_gone(autojump_clock: MockClock) -> None:
    log = SlowEventLog(0)
    async with open_session_manager(log=log) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            async with session.open_reader(stream.id), session.open_reader(stream.id, supersede=True) as reader:
                assert log.attached == 2
                await reader.aclose()
                assert log.attached == 1
            assert log.attached == 0


async def test_a_reader_that_was_closed_says_so() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 2)
            await reader.receive()
            reader.close()
            reader.close()
            with pytest.raises(trio.ClosedResourceError):
                await reader.receive()
            # Too late for another ending.
            reader.end(CloseReason.SLOW_READER)
            assert reader.reason is None


async def test_a_reader_may_be_closed_while_it_waits_and_is_busy_with_what_it_has() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            for ready in (0, 2):
                send(stream, ready)
                async with session.open_reader(stream.id) as reader, trio.open_nursery() as nursery:
                    if ready:
                        await reader.receive()

                    async def read(reader: EventReader = reader) -> None:
                        with pytest.raises(trio.ClosedResourceError):
                            await reader.receive()

                    nursery.start_soon(read)
                    if not ready:
                        await wait_all_tasks_blocked()
                    nursery.start_soon(reader.aclose)


async def test_aclose_is_a_checkpoint_and_closes_also_where_that_is_cancelled() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            async with session.open_reader(stream.id) as reader:
                with assert_checkpoints():
                    await reader.aclose()
            async with session.open_reader(stream.id) as reader:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    async with reader:
                        pass
                assert scope.cancelled_caught
                with pytest.raises(trio.ClosedResourceError):
                    await reader.receive()


async def test_a_reader_that_was_ended_from_outside_says_why() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 1)
            reader.end(CloseReason.SLOW_READER)
            # The first reason stays.
            reader.end(CloseReason.KILLED)
            with pytest.raises(ReaderClosedError) as caught:
                await reader.receive()
            assert caught.value.reason is reader.reason is CloseReason.SLOW_READER


async def test_what_ends_it_wakes_it() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    with pytest.raises(ReaderClosedError):
                        await reader.receive()

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                reader.end(CloseReason.SLOW_READER)


async def test_a_reader_that_is_stopped_receives_what_is_there_and_then_the_end() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 2)
            async with session.open_reader(stream.id) as reader:
                reader.stop()
                reader.stop()
                received = [event async for event in reader]
                check_numbers(received, range(1, 3))
                send(stream, 1)
                with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
                    await reader.receive()
                # The stream goes on, so the reader has not seen its end.
                assert not reader.finished
            async with session.open_reader(stream.id, after=3) as reader, trio.open_nursery() as nursery:

                async def read() -> None:
                    with pytest.raises(trio.EndOfChannel):
                        await reader.receive()

                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                reader.stop()


async def test_a_stop_while_a_slow_log_is_looking_is_not_overlooked(autojump_clock: MockClock) -> None:
    async with open_session_manager(log=SlowEventLog(1)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    with pytest.raises(trio.EndOfChannel):
                        await reader.receive()

                nursery.start_soon(read)
                await trio.sleep(0.5)
                reader.stop()


async def test_the_newest_reader_supersedes_all_others() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            reasons: list[CloseReason] = []

            async def read(*, supersede: bool) -> None:
                async with session.open_reader(stream.id, supersede=supersede) as reader:
                    try:
                        await reader.receive()
                    except ReaderClosedError as exc:
                        reasons.append(exc.reason)

            async with trio.open_nursery() as nursery:
                # Readers may also share a stream, where none asks for it alone.
                for supersede in (False, False, True, True):
                    nursery.start_soon(functools.partial(read, supersede=supersede))
                    await wait_all_tasks_blocked()
                assert reasons == [CloseReason.SUPERSEDED] * 3
                assert len(session.get_readers(stream.id)) == 1
                send(stream, 1)
            assert len(reasons) == 3
            assert session.get_readers(stream.id) == []


# Attaching


async def test_entry_is_a_checkpoint_and_refuses_with_the_reason() -> None:
    log = MemoryEventLog(max_events=2)
    async with open_session_manager(log=log) as sessions, sessions.open_session() as session:
        async with sessions.open_session() as other, session.open_stream() as stream, other.open_stream() as foreign:
            send(stream, 4)

            def entering(stream_id: StreamId, after: int = 0) -> Callable[[], Awaitable[object]]:
                return session.open_reader(stream_id, after=after).__aenter__

            unknown = StreamId.new()
            exc = await refused(UnknownStreamError, entering(unknown))
            assert isinstance(exc, UnknownStreamError)
            assert exc.stream_id == unknown
            # What is another session's does not exist.
            await refused(UnknownStreamError, entering(foreign.id))
            future = await refused(UnknownEventError, entering(stream.id, after=5))
            assert isinstance(future, UnknownEventError)
            assert (future.stream_id, future.seq) == (stream.id, 5)
            expired = await refused(EventsExpiredError, entering(stream.id, after=1))
            assert isinstance(expired, EventsExpiredError)
            assert (expired.after, expired.first) == (1, 3)
            assert session.get_readers(stream.id) == []
            with assert_checkpoints():
                async with session.open_reader(stream.id, after=2) as reader:
                    assert session.get_readers(stream.id) == [reader]


async def test_it_can_be_entered_only_once() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            opening = session.open_reader(stream.id)
            async with opening:
                with pytest.raises(RuntimeError, match="only once"):
                    await opening.__aenter__()
            with pytest.raises(RuntimeError, match="only once"):
                await opening.__aenter__()


async def test_a_session_that_ends_takes_no_more_readers(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(unwind)
        await wait_all_tasks_blocked()
        session.close(CloseReason.KILLED)
        exc = await refused(SessionClosedError, session.open_reader(stream.id).__aenter__)
        assert isinstance(exc, SessionClosedError)
        assert exc.reason is CloseReason.KILLED
        await session.wait_closed()
        # Its events are gone, but that is not what the caller has to know.
        exc = await refused(SessionClosedError, session.open_reader(stream.id).__aenter__)
        assert isinstance(exc, SessionClosedError)
        assert exc.reason is CloseReason.KILLED


async def unwind(stream: Stream) -> None:
    try:
        await trio.sleep_forever()
    finally:
        await sleep_shielded(1)  # noqa: ASYNC102 - it is shielded


async def test_a_session_may_end_while_a_slow_log_looks_for_the_stream(autojump_clock: MockClock) -> None:
    async with open_session_manager(log=SlowEventLog(1)) as sessions:
        session = await sessions.start_session()
        async with session.open_stream() as stream:
            pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, SessionClosedError, session.open_reader(stream.id).__aenter__)
            await trio.sleep(0.5)
            session.close()


# What others learn of it


async def test_its_coming_and_going_is_told(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(instruments=(recorder,)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 2)
            async with session.open_reader(stream.id, after=1) as reader:
                await reader.receive()
            async with session.open_reader(stream.id), session.open_reader(stream.id, supersede=True):
                pass
        async with session.open_reader(stream.id) as reader:
            await reader.receive_some()
        async with session.open_reader(stream.id) as reader:
            # It has seen one of two, and not the end.
            await reader.receive()
    attached, detached = recorder.of(ReaderAttached), recorder.of(ReaderDetached)
    assert {change.session.session_id for change in attached} == {session.id}
    assert {change.session.session_id for change in detached} == {session.id}
    assert [change.position for change in attached] == [EventId(stream.id, seq) for seq in (1, 0, 0, 0, 0)]
    assert [(change.position.seq, change.reason) for change in detached] == [
        (2, CloseReason.DISCONNECTED),
        (0, CloseReason.DISCONNECTED),
        (0, CloseReason.SUPERSEDED),
        (2, CloseReason.COMPLETED),
        (1, CloseReason.DISCONNECTED),
    ]


async def test_its_progress_counts_as_activity_of_the_stream(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 1)
            async with session.open_reader(stream.id) as reader:
                await trio.sleep(10)
                assert stream.metadata.idle == 10
                await reader.receive()
                assert stream.metadata.idle == 0


async def test_a_reader_that_is_too_slow_is_told_that_it_missed_something() -> None:
    async with open_session_manager(log=MemoryEventLog(max_events=2)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream, session.open_reader(stream.id) as reader:
            send(stream, 3)
            with assert_checkpoints(), pytest.raises(EventsExpiredError) as caught:
                await reader.receive()
            assert (caught.value.after, caught.value.first) == (0, 2)
            # It stays where it was: nothing is skipped without saying so.
            assert reader.position.seq == 0


async def test_one_that_leaves_for_that_left_as_a_slow_reader() -> None:
    recorder = Recorder()
    async with (
        open_session_manager(log=MemoryEventLog(max_events=2), instruments=(recorder,)) as sessions,
        sessions.open_session() as session,
    ):
        async with session.open_stream() as stream:
            with pytest.raises(EventsExpiredError):
                async with session.open_reader(stream.id) as reader:
                    send(stream, 3)
                    await reader.receive()
    assert [change.reason for change in recorder.of(ReaderDetached)] == [CloseReason.SLOW_READER]


# Any coming and going


@attrs.frozen
class Visit:
    """One connection of a reader that comes back."""

    wait: int
    stay: int
    limit: int
    events: int
    cut: bool


VISITS = st.builds(
    Visit,
    wait=st.integers(0, 3),
    stay=st.integers(0, 3),
    limit=st.integers(1, 3),
    events=st.integers(0, 4),
    cut=st.booleans(),
)


@given(
    pauses=st.lists(st.integers(0, 2), max_size=12),
    clients=st.lists(st.lists(VISITS, max_size=5), min_size=1, max_size=3),
    slowness=st.integers(0, 1),
    scheduling=st.random_module(),
)
def test_readers_that_come_and_go_get_each_event_once_and_in_order(
    pauses: list[int], clients: list[list[Visit]], slowness: int, scheduling: object
) -> None:
    async def produce(stream: Stream) -> None:
        for pause in pauses:
            # No pause at all means several events between two looks of a reader.
            if pause:
                await trio.sleep(pause - 1)
            send(stream, 1)
        await trio.sleep(1)

    async def consume(session: Session, stream_id: StreamId, visits: list[Visit]) -> list[Event]:
        received: list[Event] = []
        ended = False
        # The last visit is for whatever the others have left.
        for visit in [*visits, Visit(wait=0, stay=1000, limit=64, events=1000, cut=False)]:
            await trio.sleep(visit.wait)
            async with session.open_reader(stream_id, after=len(received)) as reader:
                with trio.move_on_after(visit.stay):  # noqa: ASYNC912 - what is below it is full of checkpoints
                    for _ in range(visit.events):
                        try:
                            received += await reader.receive_some(visit.limit)
                        except trio.EndOfChannel:
                            ended = True
                            break
                    if visit.cut:
                        await trio.sleep(visit.stay)
        assert ended
        return received

    async def main() -> list[list[Event]]:
        log: EventLog = SlowEventLog(slowness) if slowness else MemoryEventLog()
        results: list[list[Event]] = []

        async def client(session: Session, stream_id: StreamId, visits: list[Visit]) -> None:
            results.append(await consume(session, stream_id, visits))

        async with open_session_manager(log=log) as sessions, sessions.open_session() as session:
            stream = await session.start_stream(produce)
            async with trio.open_nursery() as nursery:
                for visits in clients:
                    nursery.start_soon(client, session, stream.id, visits)
        return results

    for received in simulate(main):
        check_numbers(received, range(1, len(pauses) + 1))


async def test_a_slow_log_takes_the_time_that_it_takes(autojump_clock: MockClock) -> None:
    # Else the test above would test the same thing twice.
    async with open_session_manager(log=SlowEventLog(3)) as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            send(stream, 1)
            with takes(6):
                async with session.open_reader(stream.id) as reader:
                    await reader.receive()


# In one go


async def test_what_is_sent_in_one_go_is_received_in_one_piece() -> None:
    pieces: list[list[Event]] = []

    async def read(session: Session, stream_id: StreamId) -> None:
        async with session.open_reader(stream_id) as reader:
            while not reader.finished:
                pieces.append(await reader.receive_some())

    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        trio.open_nursery() as nursery,
        session.open_stream() as stream,
    ):
        nursery.start_soon(read, session, stream.id)
        await wait_all_tasks_blocked()
        send(stream, 2)
        for number in range(3, 60):
            await stream.send(b"%d" % number, last=number == 59)
    check_numbers([event for piece in pieces for event in piece], range(1, 60))
    assert len(pieces) == 1


async def test_a_nudge_ends_a_wait_for_events_and_nothing_else() -> None:
    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        trio.open_nursery() as nursery,
        session.open_stream() as stream,
        session.open_reader(stream.id) as reader,
    ):
        received: list[list[Event]] = []

        async def receive() -> None:
            received.append(await reader.receive_some())
            received.append([await reader.receive()])

        reader.nudge()
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert received == []
        reader.nudge()
        await wait_all_tasks_blocked()
        assert received == [[]]
        reader.nudge()
        await wait_all_tasks_blocked()
        send(stream, 1)
        await wait_all_tasks_blocked()
        assert received == [[], [Event(1, b"1")]]
        assert reader.position.seq == 1
