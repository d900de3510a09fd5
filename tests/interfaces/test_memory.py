from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from streamscope import (
    EventLogStatistics,
    EventsExpiredError,
    EventTooLargeError,
    MemoryEventLog,
    SessionId,
    StreamId,
    UnknownStreamError,
)
from streamscope.abc import StreamLog
from streamscope.testing import check_event_log
from tests import event_logs
from tests.event_logs import S1, S2, Agreement
from tests.helpers import simulate


def open_stream(log: MemoryEventLog, session_id: SessionId = S1) -> tuple[StreamId, StreamLog]:
    stream_id = StreamId.new()
    return stream_id, log.open_stream(session_id, stream_id)


async def contents(stream: StreamLog) -> list[bytes]:
    batch = await stream.read(stream.first - 1, 10_000)
    return [event.data for event in batch.events]


async def is_kept(log: MemoryEventLog, stream_id: StreamId, session_id: SessionId = S1) -> bool:
    try:
        await log.find_stream(session_id, stream_id)
    except UnknownStreamError:
        return False
    return True


# The promises of every log


@pytest.mark.parametrize(
    ("options", "overflow", "too_large"),
    [
        ({}, [b"x"] * 1025, bytes(16 * 2**20 + 1)),
        ({"max_events": 40}, [b"x"] * 41, None),
        ({"max_stream_bytes": 2048}, [bytes(1000)] * 3, bytes(2049)),
        ({"max_bytes": 65536, "max_stream_bytes": 65536}, [bytes(30_000)] * 3, bytes(65537)),
        ({"max_events": math.inf, "max_stream_bytes": math.inf, "max_bytes": math.inf}, [], None),
    ],
    ids=["default", "count", "stream bytes", "bytes", "unbounded"],
)
async def test_is_an_event_log(options, overflow, too_large, autojump_clock):
    await check_event_log(lambda: MemoryEventLog(**options), overflow=overflow, too_large=too_large)


async def test_is_an_event_log_also_when_it_is_the_same_for_all_checks(autojump_clock):
    log = MemoryEventLog()
    await check_event_log(lambda: log, overflow=[b"x"] * 1025)
    assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)


# Options


@pytest.mark.parametrize("name", ["max_events", "max_stream_bytes", "max_bytes", "max_finished"])
def test_counts_are_checked(name):
    for value in (0, 0.5, -1, math.nan):
        with pytest.raises(ValueError, match=rf"^{name} must be a whole number of at least 1"):
            MemoryEventLog(**{name: value})


def test_the_resume_window_is_checked():
    for value in (0, -1, math.nan):
        with pytest.raises(ValueError, match=r"^resume_window must be more than 0 seconds"):
            MemoryEventLog(resume_window=value)


def test_the_whole_must_have_room_for_one_stream():
    with pytest.raises(ValueError, match=r"^max_bytes=16777215 has no room for max_stream_bytes=16777216$"):
        MemoryEventLog(max_bytes=16 * 2**20 - 1)
    log = MemoryEventLog(max_bytes=7, max_stream_bytes=7)
    assert (log._kept.max_bytes, log._kept.max_stream_bytes) == (7, 7)


def test_the_defaults_are_part_of_the_interface():
    kept = MemoryEventLog()._kept
    assert (kept.max_events, kept.max_finished, kept.resume_window) == (1024, 10_000, 300)
    assert (kept.max_stream_bytes, kept.max_bytes) == (16 * 2**20, 256 * 2**20)


# Bounds of one stream


async def test_a_stream_keeps_its_newest_events():
    log = MemoryEventLog(max_events=3)
    stream_id, stream = open_stream(log)
    for data in (b"1", b"2", b"3", b"4", b"5"):
        stream.append_nowait(data)
    assert (stream.first, stream.last) == (3, 5)
    assert await contents(stream) == [b"3", b"4", b"5"]
    with pytest.raises(EventsExpiredError) as caught:
        await stream.read(1, 10)
    assert (caught.value.stream_id, caught.value.after, caught.value.first) == (stream_id, 1, 3)
    assert log.statistics().bytes == 3


async def test_a_stream_keeps_as_many_bytes_as_it_may():
    log = MemoryEventLog(max_stream_bytes=10)
    _, stream = open_stream(log)
    for size in (4, 4, 2, 3):
        stream.append_nowait(bytes(size))
    assert (stream.first, stream.last, log.statistics().bytes) == (2, 4, 9)
    stream.append_nowait(bytes(10))
    assert (stream.first, stream.last, log.statistics().bytes) == (5, 5, 10)


async def test_an_event_that_is_too_large_names_the_bound():
    log = MemoryEventLog(max_stream_bytes=10)
    _, stream = open_stream(log)
    with pytest.raises(EventTooLargeError, match=r"^max_stream_bytes=10 is reached$"):
        stream.append_nowait(bytes(11), last=True)
    # Nothing was appended, so this was not the last event either.
    assert (stream.last, stream.finished) == (0, False)


async def test_a_stream_that_was_discarded_is_bounded_too():
    log = MemoryEventLog(max_events=3, max_stream_bytes=10)
    _, stream = open_stream(log)
    stream.discard()
    for size in (1, 1, 1, 1, 9):
        stream.append_nowait(bytes(size))
    assert (stream.first, stream.last) == (4, 5)
    assert await contents(stream) == [bytes(1), bytes(9)]
    assert log.statistics().bytes == 0


# Bounds of the whole, in the order in which room is made


async def test_first_go_the_streams_that_ended_first():
    log = MemoryEventLog(max_bytes=10, max_stream_bytes=10)
    first_id, first = open_stream(log)
    second_id, second = open_stream(log)
    _, silent = open_stream(log)
    _, appending = open_stream(log)
    silent.append_nowait(bytes(2))
    for stream in (second, first):
        stream.append_nowait(bytes(3))
    appending.append_nowait(bytes(2))
    first.finish()
    second.finish()

    appending.append_nowait(bytes(1))
    assert (await is_kept(log, first_id), await is_kept(log, second_id)) == (False, True)
    appending.append_nowait(bytes(3))
    assert not await is_kept(log, second_id)
    assert (silent.first, appending.first) == (1, 1)
    # Who reads them already sees the end.
    assert await contents(first) == [bytes(3)]
    assert log.statistics() == EventLogStatistics(streams=2, finished_streams=0, events=4, bytes=8)


async def test_then_go_the_oldest_events_of_the_stream_that_is_appended_to():
    log = MemoryEventLog(max_bytes=10, max_stream_bytes=10)
    _, silent = open_stream(log)
    _, appending = open_stream(log)
    silent.append_nowait(bytes(4))
    for size in (2, 2, 1, 6):
        appending.append_nowait(bytes(size))
    assert (silent.first, appending.first, appending.last) == (1, 4, 4)
    assert log.statistics().bytes == 10


async def test_then_go_the_oldest_events_of_the_stream_that_was_silent_longest():
    log = MemoryEventLog(max_bytes=10, max_stream_bytes=10)
    _, early = open_stream(log)
    _, late = open_stream(log)
    _, never = open_stream(log)
    _, appending = open_stream(log)
    late.append_nowait(bytes(3))
    early.append_nowait(bytes(1))
    early.append_nowait(bytes(2))
    late.append_nowait(bytes(1))
    appending.append_nowait(bytes(4))
    assert (early.first, late.first, never.first, appending.first) == (2, 1, 1, 1)
    appending.append_nowait(bytes(8))
    assert (early.first, late.first, appending.first) == (3, 2, 2)
    assert log.statistics().bytes == 9
    # A stream of which nothing is left goes on.
    assert early.append_nowait(b"x") == 3
    assert await contents(early) == [b"x"]
    assert log.statistics().bytes == 10


async def test_what_ended_most_recently_is_kept():
    log = MemoryEventLog(max_finished=2)
    streams = [open_stream(log) for _ in range(4)]
    for _, stream in reversed(streams):
        stream.finish()
    assert [await is_kept(log, stream_id) for stream_id, _ in streams] == [True, True, False, False]
    assert log.statistics().finished_streams == 2


async def test_what_has_ended_is_kept_for_the_resume_window(autojump_clock):
    log = MemoryEventLog(resume_window=60)
    stream_id, stream = open_stream(log)
    stream.append_nowait(b"x")
    await trio.sleep(1000)
    assert await is_kept(log, stream_id), "a stream that is open does not expire"
    stream.finish()
    await trio.sleep(59.999)
    assert await is_kept(log, stream_id)
    await trio.sleep(0.001)
    assert not await is_kept(log, stream_id)
    assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)


@pytest.mark.parametrize("trigger", ["open", "finish"])
async def test_what_has_expired_is_dropped_although_nobody_looks_for_it(trigger, autojump_clock):
    log = MemoryEventLog(resume_window=60)
    _, ended = open_stream(log)
    _, running = open_stream(log, S2)
    ended.append_nowait(b"x")
    ended.finish()
    await trio.sleep(60)
    if trigger == "open":
        open_stream(log)
    else:
        running.finish()
    statistics = log.statistics()
    assert (statistics.streams, statistics.events, statistics.bytes) == (2 if trigger == "open" else 1, 0, 0)


async def test_a_session_goes_on_when_all_of_its_streams_have_expired(autojump_clock):
    log = MemoryEventLog(resume_window=60)
    _, ended = open_stream(log)
    ended.finish()
    await trio.sleep(60)
    # The old stream expires as this one is opened; the new one must be found nevertheless.
    stream_id, stream = open_stream(log)
    stream.append_nowait(b"x")
    assert await log.find_stream(S1, stream_id) is stream
    assert log.statistics() == EventLogStatistics(streams=1, finished_streams=0, events=1, bytes=1)
    log.discard_session(S1)
    assert log.statistics().bytes == 0


async def test_an_identifier_may_come_again_when_its_stream_was_dropped(autojump_clock):
    log = MemoryEventLog(resume_window=60)
    stream_id, old = open_stream(log)
    old.finish()
    await trio.sleep(60)
    new = log.open_stream(S1, stream_id)
    # The old handle knows that its stream is gone, and does not take the new one with it.
    old.discard()
    assert await log.find_stream(S1, stream_id) is new


async def test_what_has_ended_may_be_kept_for_ever(autojump_clock):
    log = MemoryEventLog(resume_window=math.inf)
    stream_id, stream = open_stream(log)
    stream.finish()
    await trio.sleep(80_000)
    assert await is_kept(log, stream_id)


async def test_finishing_what_was_discarded_does_not_bring_it_back():
    log = MemoryEventLog()
    stream_id, stream = open_stream(log)
    stream.append_nowait(b"x")
    stream.discard()
    stream.finish()
    assert stream.finished
    assert not await is_kept(log, stream_id)
    assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)


async def test_the_last_event_wakes_once():
    log = MemoryEventLog()
    _, stream = open_stream(log)
    seen: list[tuple[int, bool]] = []
    stream.attach(lambda: seen.append((stream.last, stream.finished)))
    stream.append_nowait(b"1")
    stream.append_nowait(b"2", last=True)
    assert seen == [(1, False), (2, True)]


# Against a model


class MemoryAgreement(Agreement):
    async def check(self) -> None:
        await super().check()
        # Nothing of what was forgotten stays in an index.
        (log,) = self.logs
        assert isinstance(log, MemoryEventLog)
        open_with_events = [
            stream.handles[0]
            for stream in self.model.by_append
            if stream.kept and stream.events and stream.finished_at is None
        ]
        assert list(log._kept.by_append) == open_with_events
        assert set(log._kept.sessions) == {stream.session_id for stream in self.model.kept}


def play(options: dict[str, Any], story: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        agreement = MemoryAgreement([MemoryEventLog(**options)], options, trio.sleep)
        for step in story:
            await agreement.take(step)
            await agreement.check()

    simulate(main)


SMALL = {"max_events": 2, "max_stream_bytes": 12, "max_bytes": 12, "max_finished": 2, "resume_window": 5.0}


@given(event_logs.options, st.lists(event_logs.steps, max_size=40))
@example(SMALL, [("open", S1), ("finish", 0), ("sleep", 4.0), ("sleep", 1.0), ("open", S1), ("append", 0, 9, False)])
@example(SMALL, [("open", S1), ("append", 0, 9, False), ("open", S1), ("append", 0, 9, False), ("append", 1, 3, True)])
def test_against_plain_lists(options, story):
    play(options, story)


# What it costs


class Counted(OrderedDict[Any, Any]):
    """Counts the entries that iterations pass."""

    looks = 0

    def __iter__(self):
        for key in super().__iter__():
            Counted.looks += 1
            yield key


async def cost(count: int, size: int) -> int:
    """How many streams are looked at to append ten events, in a full log with ``count`` open streams without events."""
    log = MemoryEventLog(max_bytes=10, max_stream_bytes=10)
    log._kept.by_append = Counted()
    for _ in range(count):
        open_stream(log)
    _, one = open_stream(log)
    _, other = open_stream(log)
    one.append_nowait(bytes(10))
    Counted.looks = 0
    for _ in range(5):
        other.append_nowait(bytes(size))
        one.append_nowait(bytes(size))
    return Counted.looks


@pytest.mark.parametrize("size", [1, 10])
async def test_making_room_costs_the_same_however_many_streams_are_open(size):
    assert await cost(10, size) == await cost(1000, size) > 0


@pytest.mark.parametrize("count", [10, 1000])
async def test_expiry_looks_at_what_has_expired_and_at_one_more(count, autojump_clock):
    log = MemoryEventLog(resume_window=60)
    for _ in range(3):
        open_stream(log)[1].finish()
    await trio.sleep(30)
    for _ in range(count):
        open_stream(log)[1].finish()
    await trio.sleep(30)

    class CountedItems(OrderedDict[Any, Any]):
        looks = 0

        def items(self):
            CountedItems.looks += 1
            return super().items()

    log._kept.finished = CountedItems(log._kept.finished)
    CountedItems.looks = 0
    open_stream(log)
    assert log.statistics().finished_streams == count
    assert CountedItems.looks == 4


async def test_which_events_go_is_known_before():
    log = MemoryEventLog(max_stream_bytes=20, max_bytes=40, max_events=10)
    ended, other, stream = (log.open_stream(SessionId("s"), StreamId.new()) for _ in range(3))
    await ended.append(bytes(10), last=True)
    await other.append(bytes(10))
    for _ in range(4):
        assert stream.first_after(5) == 1
        await stream.append(bytes(5))
    # There is room for a stream's bytes only where it makes some itself.
    assert [stream.first_after(size) for size in (0, 5, 6, 20, 21)] == [1, 2, 3, 5, 1]
    # First goes what has ended, then what is this stream's.
    assert [other.first_after(size) for size in (1, 10, 11, 20)] == [1, 1, 2, 2]
    await other.append(bytes(10))
    assert log.statistics().finished_streams == 0
    fourth = log.open_stream(SessionId("s"), StreamId.new())
    # Then what is others'.
    assert fourth.first_after(20) == 1
    await fourth.append(bytes(5))
    assert (fourth.first_after(0), fourth.first_after(1)) == (1, 2)
    # One that was discarded has the bounds of a stream alone.
    fourth.discard()
    assert (fourth.first_after(15), fourth.first_after(16)) == (1, 2)
    fourth.finish()
    assert fourth.first_after(16) == 1
