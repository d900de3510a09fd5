"""Readers that do not keep up: who waits for them, for how long, and what they miss."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    EventId,
    EventReader,
    EventsExpiredError,
    EventTooLargeError,
    MemoryEventLog,
    ReaderClosedError,
    ReaderDetached,
    Session,
    SessionManager,
    SlowReaders,
    Stream,
    StreamClosedError,
    StreamManagerStatistics,
    open_session_manager,
)
from streamscope._reader import OpenReader
from streamscope.abc import EventLog
from tests.helpers import Recorder, simulate, sleep_shielded, takes

KEPT = 4


@attrs.frozen
class Stage:
    """A session with one stream, which keeps four events."""

    sessions: SessionManager
    session: Session
    stream: Stream
    recorder: Recorder

    async def send(self, count: int) -> None:
        """Send events whose bytes are their numbers."""
        for _ in range(count):
            seq = self.stream.log.last + 1
            assert (await self.stream.send(b"%d" % seq)).seq == seq

    def read(self, *, after: int = 0, supersede: bool = False) -> OpenReader:
        return self.session.open_reader(self.stream.id, after=after, supersede=supersede)

    @property
    def statistics(self) -> StreamManagerStatistics:
        return self.sessions.streams.statistics()

    @property
    def last_reason(self) -> CloseReason:
        return self.recorder.of(ReaderDetached)[-1].reason


@asynccontextmanager
async def staging(policy: SlowReaders | None = None, *, log: EventLog | None = None) -> AsyncIterator[Stage]:
    recorder = Recorder()
    async with (
        open_session_manager(log=log or MemoryEventLog(max_events=KEPT), instruments=[recorder]) as sessions,
        sessions.open_session() as session,
        session.open_stream(slow_readers=policy or SlowReaders()) as stream,
    ):
        yield Stage(sessions, session, stream, recorder)


def numbers(events) -> list[int]:
    seqs = [event.seq for event in events]
    assert [event.data for event in events] == [b"%d" % seq for seq in seqs]
    return seqs


# Nobody waits


async def test_by_default_nobody_waits_and_who_is_overtaken_is_told(autojump_clock):
    async with staging() as stage, stage.read() as reader:
        with takes(0):
            await stage.send(KEPT + 2)
        with pytest.raises(EventsExpiredError) as caught:
            await reader.receive()
        assert (caught.value.after, caught.value.first) == (0, 3)
        assert reader.skipped == 0
    assert stage.statistics.waited_sends == 0


async def test_a_reader_that_was_overtaken_ends_as_slow_whoever_handles_its_error(autojump_clock):
    async with staging() as stage:
        async with stage.read() as reader:
            await stage.send(KEPT + 1)
            with suppress(EventsExpiredError):
                await reader.receive()
        assert stage.last_reason is CloseReason.SLOW_READER
        assert stage.statistics.slow_readers == 1
        async with stage.read(after=KEPT):
            pass
        assert stage.last_reason is CloseReason.DISCONNECTED
        assert stage.statistics.slow_readers == 1


# Waiting


async def test_a_producer_waits_until_a_reader_has_received_what_would_be_dropped(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read() as reader:
        with takes(0):
            await stage.send(KEPT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.send, 2)
            await trio.sleep(29)
            assert stage.stream.log.last == KEPT
            # One is asked for, and those that come with it are the reader's, too.
            assert (await reader.receive()).seq == 1
            with takes(0):
                await wait_all_tasks_blocked()
            assert stage.stream.log.last == KEPT + 2
        assert numbers(await reader.receive_some()) == [2, 3, 4, 5, 6]
        assert stage.statistics.waited_sends == 1


async def test_after_the_deadline_the_producer_goes_on_and_the_reader_is_told(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage:
        async with stage.read() as reader:
            await stage.send(KEPT)
            with takes(30):
                await stage.send(1)
            # It has lost something already, and is not waited for again.
            with takes(0):
                await stage.send(10)
            with pytest.raises(EventsExpiredError):
                await reader.receive()
        assert stage.last_reason is CloseReason.SLOW_READER
        assert stage.statistics.waited_sends == 1


async def test_what_a_reader_has_already_it_gets_before_it_is_told(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read() as reader:
        await stage.send(KEPT)
        await reader.receive()
        with takes(0):
            await stage.send(KEPT)
        with takes(30):
            await stage.send(1)
        assert numbers(await reader.receive_some()) == [2, 3, 4]
        with pytest.raises(EventsExpiredError):
            await reader.receive()


async def test_a_reader_that_comes_back_after_the_gap_is_waited_for_again(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage:
        async with stage.read():
            await stage.send(KEPT)
            with takes(30):
                await stage.send(1)
        with takes(0):
            await stage.send(1)
        async with stage.read(after=stage.stream.log.first - 1):
            with takes(30):
                await stage.send(1)


async def test_every_move_of_a_slow_reader_gives_it_time(autojump_clock):
    log = MemoryEventLog(max_stream_bytes=300)
    async with staging(SlowReaders(wait=30), log=log) as stage:
        received: list[int] = []

        async def read() -> None:
            async with stage.read() as reader:
                await trio.sleep(20)
                # A batch of 64 each time.
                while len(received) < 301:
                    received.extend(event.seq for event in await reader.receive_some())
                    await trio.sleep(20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            for _ in range(300):
                await stage.stream.send(b"x")
            with takes(100):
                # Needs as much room as all of these.
                await stage.stream.send(bytes(300))
        assert received == list(range(1, 302))


async def test_the_slowest_of_several_readers_counts(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, trio.open_nursery() as nursery:
        async with stage.read() as slow:
            await stage.send(KEPT)
            with takes(30):
                nursery.start_soon(stage.send, 1)
                await trio.sleep(10)
                # That another one moves gives it no more time.
                async with stage.read() as quick:
                    assert numbers(await quick.receive_some()) == [1, 2, 3, 4]
                    await trio.sleep(10)
                await trio.sleep(10)
                await wait_all_tasks_blocked()
                assert stage.stream.log.last == KEPT + 1
            with pytest.raises(EventsExpiredError):
                await slow.receive()


@pytest.mark.parametrize("how", ["leaves", "closes", "ends", "stops before", "is superseded"])
async def test_nobody_waits_for_a_reader_that_wants_no_more(how, autojump_clock):
    async with staging(SlowReaders(wait=math.inf)) as stage, trio.open_nursery() as nursery:

        async def be_slow() -> None:
            async with stage.read(after=stage.stream.log.last) as reader:
                nursery.start_soon(go, reader)
                await trio.sleep(20)

        async def go(reader: EventReader) -> None:
            await trio.sleep(10)
            match how:
                case "closes":
                    reader.close()
                case "ends":
                    reader.end(CloseReason.KILLED)
                case "is superseded":
                    async with stage.read(after=stage.stream.log.last, supersede=True):
                        await trio.sleep(1)

        if how == "stops before":
            await stage.send(1)
            async with stage.read(after=1) as reader:
                reader.stop()
                with takes(0):
                    await stage.send(3 * KEPT)
            return
        nursery.start_soon(be_slow)
        await wait_all_tasks_blocked()
        with takes(20 if how == "leaves" else 10):
            await stage.send(KEPT + 1)


async def test_a_reader_that_is_to_stop_keeps_what_it_is_to_receive_till_then(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read() as reader, trio.open_nursery() as nursery:
        await stage.send(KEPT)
        reader.stop()
        nursery.start_soon(stage.send, 1)
        await trio.sleep(29)
        assert [event.seq async for event in reader] == [1, 2, 3, 4]


async def test_nobody_waits_where_nobody_reads(autojump_clock):
    async with staging(SlowReaders(wait=math.inf)) as stage:
        with takes(0):
            await stage.send(3 * KEPT)
            async with stage.read(after=3 * KEPT):
                pass
            await stage.send(3 * KEPT)
    assert stage.statistics.waited_sends == 0


async def test_bytes_count_too(autojump_clock):
    log = MemoryEventLog(max_stream_bytes=100)
    async with staging(SlowReaders(wait=30), log=log) as stage, stage.read() as reader:
        await stage.stream.send(bytes(60))
        with takes(0):
            await stage.stream.send(bytes(40))
            with pytest.raises(EventTooLargeError):
                await stage.stream.send(bytes(101))
        with takes(30):
            await stage.stream.send(b"x")
        with pytest.raises(EventsExpiredError):
            await reader.receive()


async def test_what_is_sent_without_waiting_never_waits(autojump_clock):
    async with staging(SlowReaders(wait=math.inf)) as stage, stage.read() as reader:
        with takes(0):
            for _ in range(2 * KEPT):
                stage.stream.send_nowait(b"x")
        with pytest.raises(EventsExpiredError):
            await reader.receive()


async def test_sending_is_a_checkpoint_whether_it_waits_or_not(autojump_clock):
    async with staging(SlowReaders(wait=1)) as stage, stage.read():
        for _ in range(KEPT + 2):
            with assert_checkpoints():
                await stage.stream.send(b"x")


async def test_what_is_to_be_sent_under_a_shield_waits_before(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read():
        with takes(0):
            with assert_checkpoints():
                await stage.stream.wait_for_readers(1)
            await stage.send(KEPT)
        with takes(30):
            await stage.stream.wait_for_readers(1)
        with takes(0):
            await stage.stream.send(b"x", patient=False)
        assert stage.statistics.waited_sends == 1


async def test_a_producer_that_is_cancelled_while_it_waits_has_sent_nothing(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read() as reader:
        await stage.send(KEPT)
        with trio.move_on_after(10) as scope:
            await stage.stream.send(b"cancelled")
        assert scope.cancelled_caught
        assert numbers(await reader.receive_some()) == [1, 2, 3, 4]
        await stage.send(1)
        assert numbers(await reader.receive_some()) == [5]


async def test_several_producers_wait_and_none_longer_than_the_first(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read():
        await stage.send(KEPT)
        with takes(30):
            async with trio.open_nursery() as nursery:
                for seconds in (0, 10, 20):
                    nursery.start_soon(later, seconds, stage.stream)
        assert stage.stream.log.last == KEPT + 3
        assert stage.statistics.waited_sends == 3


async def later(seconds: float, stream: Stream) -> None:
    await trio.sleep(seconds)
    await stream.send(b"x")


async def test_several_producers_go_on_when_the_reader_does(autojump_clock):
    async with staging(SlowReaders(wait=30)) as stage, stage.read() as reader:
        await stage.send(KEPT)
        with takes(10):
            async with trio.open_nursery() as nursery:
                for _ in range(KEPT):
                    nursery.start_soon(stage.stream.send, b"x")
                await trio.sleep(10)
                await reader.receive()
        assert stage.stream.log.last == 2 * KEPT


async def test_no_other_stream_and_no_other_session_waits(autojump_clock):
    async with staging(SlowReaders(wait=math.inf)) as stage, stage.read():
        await stage.send(KEPT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.send, 1)
            await wait_all_tasks_blocked()
            with takes(0):
                async with (
                    stage.sessions.open_session() as other,
                    stage.session.open_stream(slow_readers=SlowReaders(wait=30)) as second,
                    other.open_stream(slow_readers=SlowReaders(wait=30)) as third,
                ):
                    for stream, session in ((second, stage.session), (third, other)):
                        async with session.open_reader(stream.id) as reader:
                            for _ in range(3 * KEPT):
                                await stream.send(b"x")
                                await reader.receive()
            assert stage.stream.log.last == KEPT
            nursery.cancel_scope.cancel()


# Ends


@pytest.mark.parametrize("how", ["stream", "session", "manager", "registry"])
async def test_a_stream_that_is_ending_says_goodbye_without_waiting(how, autojump_clock):
    said: list[int] = []
    async with open_session_manager(log=MemoryEventLog(max_events=KEPT)) as sessions:
        session = await sessions.start_session()

        async def body(stream: Stream) -> None:
            for _ in range(KEPT):
                await stream.send(b"x")
            try:
                await stream.send(b"x")
            finally:
                with trio.CancelScope(shield=True, relative_deadline=5):
                    said.append((await stream.send(b"goodbye", last=True)).seq)

        stream = await session.start_stream(body, slow_readers=SlowReaders(wait=math.inf))
        async with session.open_reader(stream.id) as reader:
            await wait_all_tasks_blocked()
            with takes(0):
                match how:
                    case "stream":
                        stream.cancel()
                    case "registry":
                        sessions.streams.cancel_stream(session.id, stream.id)
                    case "session":
                        session.close()
                    case "manager":
                        sessions.close()
                await wait_all_tasks_blocked()
            assert said == [KEPT + 1]
            with pytest.raises(EventsExpiredError):
                await reader.receive()
        session.close()


@pytest.mark.parametrize("how", ["cancel", "last event", "leave"])
async def test_who_waits_under_a_shield_goes_on_when_the_stream_ends(how, autojump_clock):
    outcomes: list[object] = []

    async def send(stream: Stream) -> None:
        with trio.CancelScope(shield=True, relative_deadline=60):
            try:
                outcomes.append((await stream.send(b"x")).seq)
            except StreamClosedError as exc:
                outcomes.append(exc.stream_id)

    async def read_nothing(session: Session, stream: Stream) -> None:
        async with session.open_reader(stream.id):
            await trio.sleep_forever()

    async with (
        open_session_manager(log=MemoryEventLog(max_events=KEPT)) as sessions,
        sessions.open_session() as session,
        trio.open_nursery() as nursery,
    ):
        async with session.open_stream(slow_readers=SlowReaders(wait=math.inf)) as stream:
            nursery.start_soon(read_nothing, session, stream)  # noqa: ASYNC111 - it reads on when the stream has ended
            await wait_all_tasks_blocked()
            for _ in range(KEPT):
                await stream.send(b"x")
            nursery.start_soon(send, stream)  # noqa: ASYNC111 - it goes on when the stream has ended
            await wait_all_tasks_blocked()
            assert outcomes == []
            if how == "cancel":
                stream.cancel()
                await sleep_shielded(1)
            elif how == "last event":
                stream.send_nowait(b"last", last=True)
                await trio.sleep(1)
        await wait_all_tasks_blocked()
        assert outcomes == [KEPT + 1 if how == "cancel" else stream.id]
        nursery.cancel_scope.cancel()


# Coming back


async def leave_behind(stage: Stage, after: int, received: int) -> None:
    """Have a reader receive some events, and leave."""
    async with stage.read(after=after) as reader:
        for _ in range(received):
            await reader.receive()


async def test_the_place_of_a_reader_that_has_left_is_kept_for_a_while(autojump_clock):
    async with staging(SlowReaders(wait=30, return_within=10)) as stage:
        async with stage.read():
            await stage.send(KEPT)
        with takes(10):
            await stage.send(1)
        # It has not come back, and is not waited for again.
        with takes(0):
            await stage.send(10)
        assert stage.statistics.waited_sends == 1


async def test_a_reader_that_comes_back_in_time_has_lost_nothing(autojump_clock):
    async with staging(SlowReaders(wait=30, return_within=10)) as stage, trio.open_nursery() as nursery:
        async with stage.read():
            await stage.send(KEPT)
        nursery.start_soon(stage.send, 3 * KEPT)
        await trio.sleep(9)
        async with stage.read() as again:
            received = [(await again.receive()).seq for _ in range(4 * KEPT)]
        assert received == list(range(1, 4 * KEPT + 1))


async def test_what_was_on_its_way_to_a_reader_is_there_when_it_comes_back(autojump_clock):
    log = MemoryEventLog(max_events=200)
    async with staging(SlowReaders(wait=30, return_within=10), log=log) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.send, 1000)
        await leave_behind(stage, 0, 150)
        await wait_all_tasks_blocked()
        # Half of what is kept was received, as far as the server knows.
        assert stage.stream.log.first <= 150 < stage.stream.log.last < 300
        async with stage.read(after=stage.stream.log.first - 1) as again:
            rest = [(await again.receive()).seq for _ in range(stage.stream.log.first, 1001)]
        assert rest == list(range(rest[0], 1001))


async def test_a_reader_that_does_not_move_is_waited_for_once_also_where_it_has_lost_nothing_yet(autojump_clock):
    log = MemoryEventLog(max_events=200)
    async with staging(SlowReaders(wait=30, return_within=10), log=log) as stage:
        async with stage.read() as reader:
            with takes(0):
                await stage.send(100)
            assert numbers(await reader.receive_some(100)) == list(range(1, 101))
            with takes(0):
                await stage.send(100)
            with takes(30):
                await stage.send(20)
            # It has moved, and counts again.
            assert len(await reader.receive_some(10)) == 10
            with takes(0):
                await stage.send(44)
            with takes(30):
                await stage.send(20)
        # Nor is it, once it has left.
        with takes(0):
            await stage.send(50)


# Skipping


async def test_a_reader_goes_on_behind_the_gap_and_knows_how_much_it_has_missed(autojump_clock):
    async with staging(SlowReaders(skip=True)) as stage, stage.read() as reader:
        with takes(0):
            await stage.send(KEPT + 2)
        assert numbers(await reader.receive_some()) == [3, 4, 5, 6]
        assert (reader.skipped, reader.position.seq) == (2, 6)
        await stage.send(1)
        assert numbers(await reader.receive_some()) == [7]
        await stage.send(KEPT + 3)
        assert (await reader.receive()).seq == 11
        assert reader.skipped == 5
        assert stage.statistics.skipped_events == 5
        assert stage.statistics.slow_readers == 0
    assert stage.last_reason is CloseReason.DISCONNECTED


async def test_a_producer_waits_before_a_reader_has_to_skip(autojump_clock):
    async with staging(SlowReaders(wait=30, skip=True)) as stage, stage.read() as reader:
        await stage.send(KEPT)
        with takes(30):
            await stage.send(1)
        with takes(0):
            await stage.send(9)
        assert numbers(await reader.receive_some()) == [11, 12, 13, 14]
        # It keeps up again, and so it is waited for again.
        await stage.send(KEPT)
        with takes(30):
            await stage.send(1)


async def test_a_reader_skips_to_the_end_too(autojump_clock):
    async with staging(SlowReaders(skip=True)) as stage, stage.read() as reader:
        await stage.send(3 * KEPT)
        await stage.stream.send(b"13", last=True)
        assert numbers([event async for event in reader]) == [10, 11, 12, 13]
    assert stage.last_reason is CloseReason.COMPLETED


async def test_a_reader_that_is_to_stop_may_have_nothing_left(autojump_clock):
    async with staging(SlowReaders(skip=True)) as stage, stage.read() as reader:
        await stage.send(1)
        reader.stop()
        await stage.send(KEPT)
        with pytest.raises(trio.EndOfChannel):
            await reader.receive()
        assert reader.skipped == 1


async def test_who_comes_for_what_is_gone_is_told_though_others_skip(autojump_clock):
    async with staging(SlowReaders(skip=True)) as stage:
        await stage.send(KEPT + 1)
        with pytest.raises(EventsExpiredError):
            await stage.read().__aenter__()


async def test_a_reader_that_skips_can_still_be_superseded(autojump_clock):
    async with staging(SlowReaders(skip=True)) as stage, stage.read() as old:
        await stage.send(KEPT + 1)
        async with stage.read(after=KEPT, supersede=True):
            with pytest.raises(ReaderClosedError):
                await old.receive()


# Coalescing


async def test_what_says_nothing_new_is_not_sent_twice(autojump_clock):
    async with staging() as stage, stage.read() as reader:
        send = partial(stage.stream.send, coalesce=True)
        first = await send(b"changed")
        with assert_checkpoints():
            assert await send(b"changed") == first
        assert (await send(b"other")).seq == 2
        assert stage.stream.send_nowait(b"changed", coalesce=True) == first
        assert stage.stream.log.last == 2
        assert stage.stream.metadata.event_count == 2
        assert stage.statistics.sent_events == 2
        assert stage.statistics.coalesced_events == 2
        # Now it would be news.
        await reader.receive()
        assert (await send(b"changed")).seq == 3
        assert (await send(b"other")).seq == 4
        assert stage.stream.send_nowait(b"other", coalesce=True).seq == 4


async def test_only_what_is_sent_like_that_is_coalesced(autojump_clock):
    async with staging() as stage:
        await stage.stream.send(b"x")
        assert (await stage.stream.send(b"x", coalesce=True)).seq == 2
        assert (await stage.stream.send(b"x")).seq == 3
        assert (await stage.stream.send(b"x", coalesce=True)).seq == 2


async def test_what_one_of_several_readers_has_received_is_sent_again(autojump_clock):
    async with staging() as stage, stage.read() as reader, stage.read():
        assert (await stage.stream.send(b"x", coalesce=True)).seq == 1
        await reader.receive()
        assert (await stage.stream.send(b"x", coalesce=True)).seq == 2


async def test_a_reader_that_begins_behind_an_event_counts_as_having_it(autojump_clock):
    async with staging() as stage:
        await stage.stream.send(b"x", coalesce=True)
        async with stage.read(after=1) as reader:
            assert (await stage.stream.send(b"x", coalesce=True)).seq == 2
            assert (await reader.receive()).seq == 2


async def test_what_is_no_longer_kept_is_sent_again(autojump_clock):
    async with staging() as stage:
        await stage.stream.send(b"changed", coalesce=True)
        await stage.send(KEPT)
        assert (await stage.stream.send(b"changed", coalesce=True)).seq == KEPT + 2


async def test_the_last_event_is_always_sent_and_nothing_after_it(autojump_clock):
    async with staging() as stage:
        await stage.stream.send(b"x", coalesce=True)
        assert (await stage.stream.send(b"x", last=True, coalesce=True)).seq == 2
        for send in (stage.stream.send, stage.stream.send_nowait):
            with pytest.raises(StreamClosedError):
                sent = send(b"x", coalesce=True)
                assert not isinstance(sent, EventId)
                await sent


async def test_who_coalesces_and_is_cancelled_gets_no_answer(autojump_clock):
    async with staging() as stage:
        await stage.stream.send(b"x", coalesce=True)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stage.stream.send(b"x", coalesce=True)
        assert scope.cancelled_caught
        assert stage.statistics.coalesced_events == 0


# Any order of it all

pauses = st.lists(st.sampled_from([0, 0, 1, 5, 40]), max_size=8)


policies = st.builds(SlowReaders, wait=st.sampled_from([0, 3, 30, math.inf]), skip=st.booleans())
bounds = st.tuples(st.integers(1, 6), st.integers(9, 30))
productions = st.lists(st.lists(st.tuples(st.sampled_from([0, 0, 1, 5]), st.integers(0, 9)), max_size=8), max_size=3)
readings = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), pauses), max_size=3)


async def come_and_read(stage: Stage, policy: SlowReaders, start: float, limit: int, rests: list[float]) -> None:
    await trio.sleep(start)
    # What it comes for may be gone before it is there.
    with suppress(EventsExpiredError):
        await read(stage, policy, stage.stream.log.first - 1, limit, rests)


async def read(stage: Stage, policy: SlowReaders, after: int, limit: int, rests: list[float]) -> None:
    """Read at a pace of its own, and check that nothing is lost behind its back."""
    got: list[int] = []
    overtaken = False
    async with stage.read(after=after) as reader:
        for pause in rests:
            await trio.sleep(pause)
            try:
                got += [event.seq for event in await reader.receive_some(limit)]
            except trio.EndOfChannel:
                break
            except EventsExpiredError:
                overtaken = True
                break
        assert got == sorted(set(got))
        assert len(got) + reader.skipped == reader.position.seq - after
        assert not (reader.skipped and not policy.skip)
        assert not (overtaken and policy.skip)
        if policy.wait == math.inf:
            assert not overtaken
            assert not reader.skipped


async def produce(stage: Stage, policy: SlowReaders, events: list[tuple[float, int]]) -> None:
    for pause, size in events:
        await trio.sleep(pause)
        begin = trio.current_time()
        await stage.stream.send(bytes(size))
        if not policy.wait:
            assert trio.current_time() == begin


@given(policies, bounds, productions, readings)
def test_a_reader_gets_all_events_in_order_or_knows_what_it_has_missed(policy, bounds, productions, readings):
    log = MemoryEventLog(max_events=bounds[0], max_stream_bytes=bounds[1])

    async def main() -> None:
        async with staging(policy, log=log) as stage, trio.open_nursery() as nursery:
            for reading in readings:
                nursery.start_soon(come_and_read, stage, policy, *reading)
            async with trio.open_nursery() as producers:
                for events in productions:
                    producers.start_soon(produce, stage, policy, events)
            assert stage.stream.log.last == sum(map(len, productions))
            stage.stream.log.finish()

    simulate(main)
