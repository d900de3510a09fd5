from __future__ import annotations

import math

import trio
from trio.testing import MockClock

from streamscope import EventReader, open_session_manager
from streamscope.mcp._nudges import Nudges


async def test_readers_are_nudged_when_they_were_quiet_for_the_interval(autojump_clock: MockClock) -> None:
    nudges = Nudges(10)
    begin = trio.current_time()
    nudged: list[tuple[str, float]] = []

    async def read(name: str, reader: EventReader, count: int) -> None:
        nudges.note(reader)
        for _ in range(count):
            assert await reader.receive_some() == []
            nudged.append((name, trio.current_time() - begin))
        nudges.forget(reader)

    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as first,
        session.open_reader(stream.id) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(nudges.run)
        await trio.sleep(4)
        nursery.start_soon(read, "first", first, 3)
        await trio.sleep(3)
        nursery.start_soon(read, "second", second, 2)
        await trio.sleep(5)
        # Something was sent.
        nudges.note(first)
        await trio.sleep(100)
        nudges.stop()
    assert nudged == [("second", 17), ("first", 22), ("second", 27), ("first", 32), ("first", 42)]


async def test_those_that_will_soon_have_been_quiet_for_the_interval_are_nudged_at_once(
    autojump_clock: MockClock,
) -> None:
    nudges = Nudges(10)
    begin = trio.current_time()
    nudged: list[float] = []

    async def read(reader: EventReader) -> None:
        nudges.note(reader)
        assert await reader.receive_some() == []
        nudged.append(trio.current_time() - begin)
        nudges.forget(reader)

    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as first,
        session.open_reader(stream.id) as second,
        session.open_reader(stream.id) as third,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(nudges.run)
        for reader, pause in ((first, 0.25), (second, 0.25), (third, 20)):
            nursery.start_soon(read, reader)
            await trio.sleep(pause)
        nudges.stop()
    assert nudged == [10, 10, 10.5]


async def test_where_the_interval_is_endless_nobody_is_nudged(autojump_clock: MockClock) -> None:
    nudges = Nudges(math.inf)
    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as reader,
        trio.open_nursery() as nursery,
    ):
        nudges.note(reader)
        nursery.start_soon(nudges.run)
        with trio.move_on_after(1000):
            await reader.receive_some()
            raise AssertionError("it was nudged")
        nudges.stop()
