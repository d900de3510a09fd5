from __future__ import annotations

import inspect
import math
from functools import partial

import pytest
import trio

from streamscope import EventLogStatistics, MemoryEventLog, Session, Stream, open_session_manager
from streamscope.log import open_sqlite_log
from streamscope.testing import check_event_log
from tests.helpers import check_nothing_left


@pytest.mark.parametrize(
    ("options", "overflow", "too_large"),
    [
        ({"max_events": 40}, [b"x"] * 41, None),
        ({"max_stream_bytes": 2048}, [bytes(1000)] * 3, bytes(2049)),
        ({"max_bytes": 65536, "max_stream_bytes": 65536}, [bytes(30_000)] * 3, bytes(65537)),
        ({"max_events": math.inf, "max_stream_bytes": math.inf, "max_bytes": math.inf}, [], None),
        ({"max_recent_bytes": 1, "max_pending": 8, "max_events": 40}, [b"x"] * 41, None),
    ],
    ids=["count", "stream bytes", "bytes", "unbounded", "nothing in memory"],
)
async def test_is_an_event_log(tmp_path, options, overflow, too_large):
    async with open_sqlite_log(tmp_path / "log.db", **options) as log:
        await check_event_log(lambda: log, overflow=overflow, too_large=too_large)
        assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)


def test_the_bounds_are_those_of_the_log_in_memory():
    ours = inspect.signature(open_sqlite_log).parameters
    theirs = inspect.signature(MemoryEventLog).parameters
    assert {name: ours[name].default for name in theirs} == {name: each.default for name, each in theirs.items()}


async def test_sessions_and_readers_work_with_it(tmp_path):
    events = [b"%d" % number for number in range(200)]
    stories: list[list[bytes]] = []

    async def read(session: Session, stream: Stream, after: int) -> None:
        async with session.open_reader(stream.id, after=after) as reader:
            stories.append(events[:after] + [event.data async for event in reader])

    async def body(session: Session, nursery: trio.Nursery, stream: Stream) -> None:
        nursery.start_soon(read, session, stream, 0)
        for number, data in enumerate(events, 1):
            if number % 50:
                stream.send_nowait(data, last=number == len(events))
            else:
                await stream.send(data, last=number == len(events))
                nursery.start_soon(read, session, stream, number // 2)

    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=500) as log:
        async with open_session_manager(log=log) as sessions:
            async with sessions.open_session() as session, trio.open_nursery() as nursery:
                for _ in range(5):
                    await session.start_stream(partial(body, session, nursery))
        check_nothing_left(sessions)
        assert stories == [events] * 25
        assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)
