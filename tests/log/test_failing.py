"""A disk that is full: whoever appends is told, and nothing that was stored is lost."""

from __future__ import annotations

import json
import sqlite3
import sys

import pytest
import trio

from streamscope import EventLogFailedError, SessionId, StreamClosedError, StreamId
from streamscope.abc import StreamLog
from streamscope.log import open_sqlite_log
from tests.log.helpers import contents, limit_pages, settle

SESSION = SessionId("session")
PAGE = bytes(4096)


@pytest.mark.parametrize("recent", [1, 2**20])
async def test_a_full_disk_fails_appends_until_there_is_room(tmp_path, caplog, recent):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    async with open_sqlite_log(path, max_recent_bytes=recent) as log:
        stream = log.open_stream(SESSION, stream_id)
        assert await stream.append(b"1") == 1
        limit_pages(log, 0)
        for _ in range(2):
            with pytest.raises(EventLogFailedError, match=r"^the event log has failed: database or disk is full$"):
                await stream.append(PAGE)
        assert caplog.messages == ["the event log cannot be written: database or disk is full"]
        # What is stored is there, and what fits can be stored; the numbers have no hole.
        assert await contents(stream) == [b"1"]
        assert await stream.append(b"2") == 2
        caplog.set_level("INFO")
        limit_pages(log, 1000)
        assert await stream.append(PAGE) == 3
        assert await contents(stream) == [b"1", b"2", PAGE]
    async with open_sqlite_log(path) as log:
        assert await contents(await log.find_stream(SESSION, stream_id)) == [b"1", b"2", PAGE]


async def test_each_of_many_that_wait_is_told(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending=10) as log:
        streams = [log.open_stream(SESSION, StreamId.new()) for _ in range(30)]
        await settle(log)
        limit_pages(log, 0)
        told: list[int] = []

        async def producer(number: int) -> None:
            with pytest.raises(EventLogFailedError):
                await streams[number].append(PAGE * 4)
            told.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(producer, number)
        assert sorted(told) == list(range(30))
        limit_pages(log, 10_000)
        for stream in streams:
            assert await stream.append(b"x") == 1


async def test_what_nobody_waits_for_is_lost_and_said_to_be(tmp_path, caplog):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        limit_pages(log, 0)
        assert [stream.append_nowait(PAGE) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(EventLogFailedError):
            await stream.append(PAGE)
        assert "events that nobody waited for could not be stored, and are lost: 3" in caplog.messages
        limit_pages(log, 1000)
        assert await stream.append(b"x") == 1
        assert await contents(stream) == [b"x"]


async def test_the_last_event_may_be_tried_again(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        limit_pages(log, 0)
        with pytest.raises(EventLogFailedError):
            await stream.append(PAGE, last=True)
        assert not stream.finished
        limit_pages(log, 1000)
        assert await stream.append(b"x", last=True) == 1
        assert (await stream.read(0, 1)).finished


@pytest.mark.parametrize("way", ["append_nowait", "cancelled append", "finish after append"])
async def test_an_end_that_nobody_tries_again_is_not_lost(tmp_path, way):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        limit_pages(log, 0)

        async def append_last() -> None:
            with pytest.raises(EventLogFailedError):
                await stream.append(PAGE, last=True)

        if way == "append_nowait":
            stream.append_nowait(PAGE, last=True)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(append_last)
                while not stream.finished:
                    await trio.lowlevel.checkpoint()
                if way == "cancelled append":
                    nursery.cancel_scope.cancel()
                else:
                    stream.finish()
        # The end fits, though the event did not.
        await wait_for_end(stream)
        assert (stream.last, stream.finished) == (0, True)
        with pytest.raises(StreamClosedError):
            await stream.append(b"x")


async def wait_for_end(stream: StreamLog) -> None:
    woken = trio.Event()
    stream.attach(woken.set)
    with trio.fail_after(10):
        while not (await stream.read(stream.last, 1)).finished:
            await woken.wait()


async def test_a_writer_that_fails_tries_again_by_itself(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        # Another program that has the database in its hands fails writes as well, after some time.
        log._database._writer.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EventLogFailedError, match="database is locked"):
            await stream.append(b"x")
        stream.finish()
        other.execute("ROLLBACK")
        other.close()
        await wait_for_end(stream)


# Runs into the size that files of the process may have at most, which is a real write error.
FILLS = """
import json
import resource
import signal
import sys
import trio
from streamscope import EventLogFailedError, SessionId, StreamId
from streamscope.log import open_sqlite_log

async def main():
    async with open_sqlite_log(sys.argv[1]) as log:
        stream = log.open_stream(SessionId("session"), StreamId.parse(sys.argv[2]))
        await stream.append(b"first")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        stored, error = 1, None
        try:
            while stored < 1000:
                stored = await stream.append(bytes(1000))
        except EventLogFailedError as exc:
            error = str(exc)
        read = [event.seq for event in (await stream.read(stored - 10, 100)).events]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        again = await stream.append(b"last", last=True)
    print(json.dumps([stored, error, read, again]))

trio.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
async def test_a_file_that_cannot_grow(tmp_path):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    done = await trio.run_process([sys.executable, "-c", FILLS, path, str(stream_id)], capture_stdout=True)
    stored, error, read, again = json.loads(done.stdout)
    assert 10 < stored < 200
    assert error.startswith("the event log has failed: ")
    assert read == list(range(stored - 9, stored + 1))
    assert again == stored + 1
    async with open_sqlite_log(path) as log:
        stream = await log.find_stream(SESSION, stream_id)
        assert await contents(stream) == [b"first", *[bytes(1000)] * (stored - 1), b"last"]
