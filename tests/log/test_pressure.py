"""Queues and caches are bounded, and cancellation leaves no hole."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio

from streamscope import EventLogFailedError, EventsExpiredError, SessionId, StreamId, open_session_manager
from streamscope.log import _schema, open_sqlite_log
from streamscope.log._sqlite import SqliteEventLog
from tests.log.helpers import contents, settle

SESSION = SessionId("session")


@contextmanager
def stalled(log: SqliteEventLog) -> Iterator[None]:
    """Let no write begin for the length of a block. Those that have begun come to their end."""
    log._write_limiter.acquire_on_behalf_of_nowait(log)
    try:
        yield
    finally:
        log._write_limiter.release_on_behalf_of(log)


async def test_a_full_queue_says_so(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending=4) as log:
        stream, other = (log.open_stream(SESSION, StreamId.new()) for _ in range(2))
        await settle(log)
        with stalled(log):
            assert [stream.append_nowait(b"x") for _ in range(4)] == [1, 2, 3, 4]
            for each in (stream, other):
                with pytest.raises(trio.WouldBlock):
                    each.append_nowait(b"x")
            async with trio.open_nursery() as nursery:
                for data in (b"5", b"6"):
                    nursery.start_soon(stream.append, data)
                    await trio.testing.wait_all_tasks_blocked()
                assert stream.last == 0
                log._write_limiter.total_tokens = 2
        log._write_limiter.total_tokens = 1
        # Whoever came first was first.
        assert await contents(stream) == [b"x"] * 4 + [b"5", b"6"]


async def test_bytes_fill_a_queue_too_but_one_event_always_fits(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending_bytes=10) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        with stalled(log):
            assert stream.append_nowait(bytes(100)) == 1
            with pytest.raises(trio.WouldBlock):
                stream.append_nowait(b"")
        assert await stream.append(bytes(100)) == 2


async def test_nobody_overtakes_who_waits(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending_bytes=10) as log:
        stream, other = (log.open_stream(SESSION, StreamId.new()) for _ in range(2))
        await settle(log)
        with stalled(log):
            stream.append_nowait(bytes(5))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.append, bytes(8))
                await trio.testing.wait_all_tasks_blocked()
                # It would fit, but then one large event might wait for ever.
                with pytest.raises(trio.WouldBlock):
                    other.append_nowait(bytes(2))
                log._write_limiter.total_tokens = 2
        log._write_limiter.total_tokens = 1


async def test_who_waits_is_refused_when_the_stream_ends(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending=1) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        refused: list[BaseException] = []

        async def append() -> None:
            try:
                await stream.append(b"2")
            except trio.ClosedResourceError as exc:
                refused.append(exc)

        with stalled(log):
            stream.append_nowait(b"1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(append)
                await trio.testing.wait_all_tasks_blocked()
                stream.finish()
                log._write_limiter.total_tokens = 2
        log._write_limiter.total_tokens = 1
        assert len(refused) == 1
        assert await contents(stream) == [b"1"]


async def test_who_waits_and_is_cancelled_has_appended_nothing(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_pending=1) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        with stalled(log):
            stream.append_nowait(b"1")
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(stream.append, b"cancelled")
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert await stream.append(b"2") == 2
        assert await contents(stream) == [b"1", b"2"]


async def test_who_is_cancelled_while_it_is_written_has_appended(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        with stalled(log):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.append, b"cancelled")
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert await stream.append(b"2") == 2
        assert await contents(stream) == [b"cancelled", b"2"]


async def test_a_reader_sees_an_event_only_when_it_is_stored(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await settle(log)
        woken: list[int] = []
        stream.attach(lambda: woken.append(stream.last))
        with stalled(log):
            stream.append_nowait(b"1", last=True)
            await trio.testing.wait_all_tasks_blocked()
            assert (stream.last, stream.finished, woken) == (0, True, [])
            batch = await stream.read(0, 1)
            assert (batch.events, batch.finished) == ([], False)
        await settle(log)
        assert woken == [1]
        assert (await stream.read(0, 1)).finished


async def test_a_reader_that_keeps_up_touches_no_disk(tmp_path, monkeypatch):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        streams = [log.open_stream(SESSION, StreamId.new()) for _ in range(50)]
        monkeypatch.setattr(log, "_read", None)
        for number in range(1, 6):
            for stream in streams:
                stream.append_nowait(b"%d" % number)
            await settle(log)
            for stream in streams:
                (event,) = (await stream.read(number - 1, 10)).events
                assert event.data == b"%d" % number


async def test_what_is_in_memory_is_bounded(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=5000) as log:
        streams = [log.open_stream(SESSION, StreamId.new()) for _ in range(20)]
        for _ in range(10):
            for stream in streams:
                stream.append_nowait(bytes(100))
            await settle(log)
            assert log.recent.size <= 5000
        for stream in streams:
            assert await contents(stream) == [bytes(100)] * 10
            assert log.recent.size <= 5000


async def test_readers_at_every_pace_read_from_the_disk(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=2000, max_events=5000) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        events = [b"%d" % number for number in range(1, 3001)]
        for data in events:
            stream.append_nowait(data)
        stream.finish()
        await settle(log)
        stories: dict[int, list[bytes]] = {}

        async def reader(after: int, limit: int) -> None:
            data: list[bytes] = []
            finished = False
            while not finished:
                batch = await stream.read(after + len(data), limit)
                data += [event.data for event in batch.events]
                finished = batch.finished
            stories[after] = data

        async with trio.open_nursery() as nursery:
            for after, limit in ((0, 64), (1, 1000), (511, 100), (512, 7000), (2999, 1)):
                nursery.start_soon(reader, after, limit)
        assert stories == {after: events[after:] for after in (0, 1, 511, 512, 2999)}


async def test_what_is_dropped_while_it_is_read_has_expired(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=1, max_events=150) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        for _ in range(150):
            stream.append_nowait(b"old")
        await settle(log)
        expired: list[EventsExpiredError] = []

        async def reader() -> None:
            with pytest.raises(EventsExpiredError) as caught:
                await stream.read(0, 10)
            expired.append(caught.value)

        async with trio.open_nursery() as nursery:
            async with log._read_limiter:
                nursery.start_soon(reader)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(300):
                    stream.append_nowait(b"new")
                # What is dropped is dropped in the next transaction.
                await settle(log)
                await stream.append(b"new")
        assert [(error.after, error.first) for error in expired] == [(0, 302)]


async def test_handles_that_nobody_has_are_cleaned_up_from_any_thread(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        handles = [log.open_stream(SESSION, StreamId.new()) for _ in range(100)]
        for stream in handles:
            stream.append_nowait(b"x")
        await settle(log)
        log.discard_session(SESSION)
        del stream
        await log.open_stream(SESSION, StreamId.new()).append(b"y")
        (count,) = log._database._reader.execute("SELECT count(*) FROM events").fetchone()
        assert count == 101
        thread = threading.Thread(target=handles.clear)
        thread.start()
        thread.join()
        await log.open_stream(SESSION, StreamId.new()).append(b"z")
        (count,) = log._database._reader.execute("SELECT count(*) FROM events").fetchone()
        assert count == 2


async def test_leaving_takes_only_so_long(tmp_path, caplog):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    failed: list[EventLogFailedError] = []

    async def append() -> None:
        with pytest.raises(EventLogFailedError, match="the event log has failed: it was closed") as caught:
            await stream.append(b"too late")
        failed.append(caught.value)

    async with trio.open_nursery() as nursery:
        async with open_sqlite_log(path, max_pending=3, drain_timeout=0.01) as log:
            stream = log.open_stream(SESSION, stream_id)
            assert await stream.append(b"1") == 1
            # Nothing can be written from here on.
            log._write_limiter.acquire_on_behalf_of_nowait("a disk that hangs")
            stream.append_nowait(b"lost")
            for _ in range(4):
                nursery.start_soon(append)
            await trio.testing.wait_all_tasks_blocked()
            # But the database can be closed.
            log._write_limiter = trio.CapacityLimiter(1)
    assert len(failed) == 4
    assert caplog.messages == ["events that nobody waited for could not be stored, and are lost: 1"]
    async with open_sqlite_log(path) as log:
        stream = await log.find_stream(SESSION, stream_id)
        assert await contents(stream) == [b"1"]


async def test_much_is_forgotten_in_steps(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        for _ in range(300):
            log.open_stream(SESSION, StreamId.new()).append_nowait(b"x")
        await settle(log)
        log.discard_session(SESSION)
        counts = []
        stream = log.open_stream(SESSION, StreamId.new())
        for _ in range(2):
            await stream.append(b"x")
            counts += log._database._reader.execute("SELECT count(*) FROM streams").fetchone()
        assert counts == [45, 1]


def size(path: Path) -> int:
    """The bytes of the database and of its write-ahead log."""
    return sum(each.stat().st_size for each in (path, path.with_name(f"{path.name}-wal")))


async def test_the_room_of_what_is_forgotten_is_used_again(tmp_path):
    path = tmp_path / "log.db"
    async with open_sqlite_log(path, max_events=10) as log:
        sizes = []
        for _ in range(30):
            kept, discarded = (log.open_stream(SESSION, StreamId.new()) for _ in range(2))
            for number in range(30):
                for stream in (kept, discarded):
                    stream.append_nowait(bytes(10_000), last=number == 29)
            kept.discard()
            discarded.discard()
            del kept, discarded, stream
            await settle(log)
            sizes.append(size(path))
        # 18 MB in all, of which the write-ahead log has 4 MiB and a transaction.
        assert max(sizes) < 9_000_000


async def test_somebody_else_who_reads_holds_up_the_files_and_not_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr(_schema, "_MAX_WRITE_AHEAD", 2**20)
    path = tmp_path / "log.db"
    async with open_sqlite_log(path, max_events=1) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await stream.append(b"first")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            assert other.execute("SELECT data FROM events").fetchall() == [(b"first",)]
            for _ in range(8):
                await stream.append(bytes(2**20))
            assert size(path) > 8 * 2**20
        for _ in range(8):
            await stream.append(b"small")
        assert path.with_name("log.db-wal").stat().st_size < 2 * 2**20


async def test_a_reader_gets_the_whole_of_a_long_stream_from_the_disk(tmp_path):
    async with (
        open_sqlite_log(tmp_path / "log.db", max_recent_bytes=1, max_events=2000) as log,
        open_session_manager(log=log) as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
    ):
        for number in range(1, 1200):
            stream.send_nowait(b"%d" % number)
        await stream.send(b"1200")
        # The database is read in blocks, at the ends of which there are less events than were asked for.
        async with session.open_reader(stream.id, after=10) as reader:
            with trio.fail_after(10):
                received = [await reader.receive() for _ in range(11, 1201)]
        assert [(event.seq, event.data) for event in received] == [(seq, b"%d" % seq) for seq in range(11, 1201)]
