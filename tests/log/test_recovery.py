"""What is there after the process has ended, well or badly."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
import trio

from streamscope import EventsExpiredError, SessionId, StreamId, UnknownStreamError
from streamscope.abc import SavedSession
from streamscope.log import open_sqlite_log
from tests.log.helpers import contents, settle, start

SESSION = SessionId("session")

# Appends from several tasks until it is killed, and says what was acknowledged: stream, number.
APPENDS = """
import sys
import trio
from streamscope import SessionId, StreamId
from streamscope.log import open_sqlite_log

async def produce(log, name):
    stream_id = StreamId.new()
    stream = log.open_stream(SessionId("session"), stream_id)
    stream.set_will([b"will 1 of %d" % name, b"will 2 of %d" % name])
    for count in range(1, 1_000_000):
        seq = await stream.append(b"%d of %d" % (count, name))
        print(stream_id, name, seq, flush=True)

async def main():
    async with open_sqlite_log(sys.argv[1], max_events=float("inf")) as log, trio.open_nursery() as nursery:
        for name in range(8):
            nursery.start_soon(produce, log, name)

trio.run(main)
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path):
    path = tmp_path / "log.db"
    acknowledged: dict[tuple[StreamId, int], int] = {}
    with start(APPENDS, path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # The last line may be cut.
            if line.endswith("\n"):
                stream_id, name, seq = line.split()
                acknowledged[StreamId.parse(stream_id), int(name)] = int(seq)
            if len(acknowledged) == 8 and min(acknowledged.values()) >= 10:
                process.kill()
    async with open_sqlite_log(path) as log:
        for (stream_id, name), last in acknowledged.items():
            stream = await log.find_stream(SESSION, stream_id)
            *events, first_will, last_will = await contents(stream)
            assert events == [b"%d of %d" % (count, name) for count in range(1, len(events) + 1)]
            # What was under way is there or not.
            assert last <= len(events) <= last + 1
            assert (first_will, last_will) == (b"will 1 of %d" % name, b"will 2 of %d" % name)
            assert stream.finished
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_restart_finds_what_had_ended_and_what_was_open(tmp_path):
    path = tmp_path / "log.db"
    ended_id, open_id, empty_id = StreamId.new(), StreamId.new(), StreamId.new()
    async with open_sqlite_log(path) as log:
        ended, running = log.open_stream(SESSION, ended_id), log.open_stream(SESSION, open_id)
        log.open_stream(SESSION, empty_id)
        ended.set_will([b"never"])
        ended.append_nowait(b"1")
        ended.append_nowait(b"2", last=True)
        running.set_will([b"replaced"])
        running.append_nowait(b"1")
        running.set_will([b"goodbye"])
        await settle(log)
        before = log.statistics()
    async with open_sqlite_log(path) as log:
        found = {stream_id: await log.find_stream(SESSION, stream_id) for stream_id in (ended_id, open_id, empty_id)}
        assert [await contents(stream) for stream in found.values()] == [[b"1", b"2"], [b"1", b"goodbye"], []]
        assert all(stream.finished for stream in found.values())
        assert [stream.first for stream in found.values()] == [1, 1, 1]
        after = log.statistics()
        assert after == attrs.evolve(before, finished_streams=3, events=before.events + 1, bytes=before.bytes + 7)
        with pytest.raises(UnknownStreamError):
            await log.find_stream(SessionId("another"), ended_id)
        # A reader comes to the end, also in steps.
        batch = await found[open_id].read(1, 1)
        assert batch.finished
        # The identifier is taken.
        with pytest.raises(ValueError, match="already"):
            log.open_stream(SESSION, open_id)
    # The will is done once.
    async with open_sqlite_log(path) as log:
        assert await contents(await log.find_stream(SESSION, open_id)) == [b"1", b"goodbye"]


async def test_numbers_go_on_in_a_will_where_nothing_else_is_left(tmp_path):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    async with open_sqlite_log(path, max_bytes=200_000, max_stream_bytes=200_000) as log:
        stream = log.open_stream(SESSION, stream_id)
        for _ in range(3):
            await stream.append(bytes(100_000))
        # Takes all the room that there is.
        await log.open_stream(SESSION, StreamId.new()).append(bytes(200_000), last=True)
        assert (stream.first, stream.last) == (4, 3)
        stream.set_will([b"goodbye"])
    async with open_sqlite_log(path, max_bytes=math.inf) as log:
        stream = await log.find_stream(SESSION, stream_id)
        assert stream.last == 4
        assert [event.data for event in (await stream.read(3, 10)).events] == [b"goodbye"]


async def test_a_will_may_be_taken_back(tmp_path):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    async with open_sqlite_log(path) as log:
        stream = log.open_stream(SESSION, stream_id)
        stream.set_will([b"goodbye"])
        stream.set_will([])
    async with open_sqlite_log(path) as log:
        assert await contents(await log.find_stream(SESSION, stream_id)) == []


async def test_what_was_dropped_stays_dropped_but_for_a_few(tmp_path):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    async with open_sqlite_log(path, max_events=10) as log:
        stream = log.open_stream(SESSION, stream_id)
        for number in range(1, 501):
            stream.append_nowait(b"%d" % number)
        await settle(log)
        assert (stream.first, stream.last) == (491, 500)
    async with open_sqlite_log(path, max_events=10) as log:
        stream = await log.find_stream(SESSION, stream_id)
        assert stream.last == 500
        assert 391 <= stream.first <= 491
        with pytest.raises(EventsExpiredError):
            await stream.read(stream.first - 2, 1)
        assert await contents(stream) == [b"%d" % number for number in range(stream.first, 501)]


@pytest.mark.parametrize("held", [False, True])
async def test_what_was_discarded_is_gone(tmp_path, held):
    path = tmp_path / "log.db"
    one_id, other_id, kept_id = StreamId.new(), StreamId.new(), StreamId.new()
    async with open_sqlite_log(path) as log:
        handles = [log.open_stream(SESSION, one_id), log.open_stream(SESSION, other_id)]
        kept = log.open_stream(SessionId("other"), kept_id)
        for stream in (*handles, kept):
            await stream.append(b"x", last=True)
        handles[0].discard()
        log.discard_session(SESSION)
        del stream
        if not held:
            handles.clear()
    async with open_sqlite_log(path) as log:
        assert log.statistics().streams == 1
        assert await contents(await log.find_stream(SessionId("other"), kept_id)) == [b"x"]
    with closing(sqlite3.connect(path)) as database:
        for table in ("streams", "events"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchall() == [(1,)]


async def test_the_resume_window_goes_on_while_no_process_runs(tmp_path):
    path = tmp_path / "log.db"
    stream_ids = [StreamId.new() for _ in range(3)]
    async with open_sqlite_log(path) as log:
        for stream_id in stream_ids:
            await log.open_stream(SESSION, stream_id).append(b"x", last=True)
    make_older(path, 1, 299.0)
    make_older(path, 2, 301.0)
    async with open_sqlite_log(path) as log:
        with pytest.raises(UnknownStreamError):
            await log.find_stream(SESSION, stream_ids[1])
        for stream_id in (stream_ids[0], stream_ids[2]):
            assert await contents(await log.find_stream(SESSION, stream_id)) == [b"x"]


def make_older(path: Path, row: int, seconds: float) -> None:
    """Let a stream have ended so much earlier."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE streams SET ended = ended - ? WHERE id = ?", (seconds, row))


async def test_bounds_hold_for_what_was_there_before(tmp_path):
    path = tmp_path / "log.db"
    stream_ids = [StreamId.new() for _ in range(4)]
    async with open_sqlite_log(path) as log:
        for stream_id in stream_ids:
            await log.open_stream(SESSION, stream_id).append(bytes(10), last=True)
    async with open_sqlite_log(path, max_finished=3) as log:
        assert log.statistics().streams == 3
    async with open_sqlite_log(path, max_bytes=25, max_stream_bytes=25) as log:
        assert log.statistics().streams == 2
        await log.find_stream(SESSION, stream_ids[3])


# Sessions


def session(name: str, state: bytes = b"state") -> SavedSession:
    return SavedSession(
        session_id=SessionId(name),
        principal="alice",
        connection_info=None,
        created_at=datetime(2025, 11, 25, 12, 30, 15, 123456, tzinfo=UTC),
        state=state,
    )


async def test_a_session_is_found_at_once_and_by_the_next_process(tmp_path):
    path = tmp_path / "log.db"
    async with open_sqlite_log(path) as log:
        log.save_session(session("one", b"first"))
        log.save_session(session("one", bytes(range(256))))
        log.save_session(session("two"))
        with trio.testing.assert_checkpoints():
            assert await log.find_session(SessionId("one")) == session("one", bytes(range(256)))
        log.discard_session(SessionId("two"))
        with trio.testing.assert_checkpoints():
            assert await log.find_session(SessionId("two")) is None
    async with open_sqlite_log(path) as log:
        assert await log.find_session(SessionId("one")) == session("one", bytes(range(256)))
        assert await log.find_session(SessionId("two")) is None
        log.discard_session(SessionId("one"))
    async with open_sqlite_log(path) as log:
        assert await log.find_session(SessionId("one")) is None


async def test_the_session_that_was_saved_least_recently_is_forgotten(tmp_path):
    path = tmp_path / "log.db"
    async with open_sqlite_log(path, max_saved_sessions=2) as log:
        for name in ("one", "two", "one", "three"):
            log.save_session(session(name))
        assert await log.find_session(SessionId("two")) is None
        assert await log.find_session(SessionId("one")) == session("one")
    async with open_sqlite_log(path, max_saved_sessions=1) as log:
        assert await log.find_session(SessionId("one")) is None
        assert await log.find_session(SessionId("three")) == session("three")
