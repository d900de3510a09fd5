from __future__ import annotations

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
