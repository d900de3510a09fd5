"""What is taken, and yet to be stored, counts where a reader might lose something."""

from __future__ import annotations

import math

import pytest
import trio

from streamscope import SessionId, SlowReaders, StreamId, open_session_manager
from streamscope.log import open_sqlite_log
from tests.log.helpers import settle
from tests.log.test_pressure import stalled

SESSION = SessionId("session")


async def test_events_that_are_yet_to_be_stored_push_out_others(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_events=4, max_stream_bytes=40) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        for _ in range(3):
            await stream.append(bytes(8))
        with stalled(log):
            assert stream.first_after(8) == 1
            stream.append_nowait(bytes(8))
            assert stream.first_after(8) == 2
            assert stream.first_after(40) == 5
            assert stream.first_after(41) == 1
            for _ in range(3):
                stream.append_nowait(b"")
            assert stream.first_after(8) == 5
            assert stream.first == 1
        await settle(log)
        assert (stream.first, stream.last) == (4, 7)
        assert stream.first_after(8) == 5


async def test_who_waits_for_room_counts_until_it_is_cancelled(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_events=2, max_pending=1) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        with stalled(log):
            stream.append_nowait(b"1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.append, b"cancelled")
                await trio.testing.wait_all_tasks_blocked()
                assert stream.first_after(1) == 2
                nursery.cancel_scope.cancel()
            assert stream.first_after(1) == 1
        await stream.append(b"2")
        assert stream.first_after(1) == 2


@pytest.mark.parametrize("pending", [1, 4096])
async def test_a_reader_loses_nothing_to_many_producers_that_wait(tmp_path, pending):
    policy = SlowReaders(wait=math.inf)
    async with (
        open_sqlite_log(tmp_path / "log.db", max_events=4, max_pending=pending) as log,
        open_session_manager(log=log) as sessions,
        sessions.open_session() as session,
        session.open_stream(slow_readers=policy) as stream,
        session.open_reader(stream.id) as reader,
        trio.open_nursery() as nursery,
    ):

        async def produce() -> None:
            for _ in range(10):
                await stream.send(b"x")

        for _ in range(5):
            nursery.start_soon(produce)
        received: list[int] = []
        while len(received) < 50:
            received += [event.seq for event in await reader.receive_some(3)]
        assert received == list(range(1, 51))
    assert sessions.streams.statistics().waited_sends
