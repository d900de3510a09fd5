from __future__ import annotations

import math

import trio
from trio.testing import MockClock

from streamscope import EventReader, open_session_manager
from streamscope.mcp._pings import Pings


async def test_readers_are_nudged_when_they_were_quiet_for_the_interval(autojump_clock: MockClock) -> None:
    pings = Pings(10)
    begin = trio.current_time()
    nudged: list[tuple[str, float]] = []

    async def read(name: str, reader: EventReader, count: int) -> None:
        pings.note(reader)
        for _ in range(count):
            assert await reader.receive_some() == []
            nudged.append((name, trio.current_time() - begin))
        pings.forget(reader)

    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as first,
        session.open_reader(stream.id) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pings.run)
        await trio.sleep(4)
        nursery.start_soon(read, "first", first, 3)
        await trio.sleep(3)
        nursery.start_soon(read, "second", second, 2)
        await trio.sleep(5)
        # Something was sent.
        pings.note(first)
        await trio.sleep(100)
        pings.stop()
    assert nudged == [("second", 17), ("first", 22), ("second", 27), ("first", 32), ("first", 42)]


async def test_those_that_will_soon_have_been_quiet_for_the_interval_are_nudged_at_once(
    autojump_clock: MockClock,
) -> None:
    pings = Pings(10)
    begin = trio.current_time()
    nudged: list[float] = []

    async def read(reader: EventReader) -> None:
        pings.note(reader)
        assert await reader.receive_some() == []
        nudged.append(trio.current_time() - begin)
        pings.forget(reader)

    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as first,
        session.open_reader(stream.id) as second,
        session.open_reader(stream.id) as third,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pings.run)
        for reader, pause in ((first, 0.25), (second, 0.25), (third, 20)):
            nursery.start_soon(read, reader)
            await trio.sleep(pause)
        pings.stop()
    assert nudged == [10, 10, 10.5]


async def test_where_the_interval_is_endless_nobody_is_nudged(autojump_clock: MockClock) -> None:
    pings = Pings(math.inf)
    async with (
        open_session_manager() as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as reader,
        trio.open_nursery() as nursery,
    ):
        pings.note(reader)
        nursery.start_soon(pings.run)
        with trio.move_on_after(1000):
            await reader.receive_some()
            raise AssertionError("it was nudged")
        pings.stop()
