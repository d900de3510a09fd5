"""What cannot be opened, says why, and stays as it was."""

from __future__ import annotations

import inspect
import os
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from streamscope import EventLogError, SessionId, StreamId
from streamscope.log import (
    EventLogBusyError,
    EventLogCorruptError,
    EventLogForeignError,
    EventLogMissingError,
    EventLogOpenError,
    EventLogVersionError,
    open_sqlite_log,
)
from tests.log.helpers import contents, files, start

SESSION = SessionId("session")


async def check_refused(path: Path, error: type[EventLogOpenError], message: str) -> None:
    """Assert that a database cannot be opened, for the reason given, and that the attempt changes nothing."""
    before = files(path.parent) if path.parent.is_dir() else {}
    with pytest.raises(error, match=message) as caught:
        async with open_sqlite_log(path):
            raise AssertionError("it was opened")
    assert isinstance(caught.value, EventLogError)
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(f"the event log {str(path)!r} cannot be opened: ")
    if path.parent.is_dir():
        after = files(path.parent)
        after.pop(f"{path.name}-lock", None)
        before.pop(f"{path.name}-lock", None)
        assert after == before


async def make_log(path: Path, count: int = 100) -> StreamId:
    stream_id = StreamId.new()
    async with open_sqlite_log(path) as log:
        stream = log.open_stream(SESSION, stream_id)
        for number in range(count):
            stream.append_nowait(b"%d" % number * 50)
    return stream_id


async def test_there_is_no_directory(tmp_path):
    await check_refused(
        tmp_path / "missing" / "log.db", EventLogMissingError, "there is no directory .*; make it first"
    )


async def test_it_is_a_directory(tmp_path):
    directory = tmp_path / "inner" / "log.db"
    directory.mkdir(parents=True)
    with pytest.raises(EventLogMissingError, match="it is no file"):
        async with open_sqlite_log(directory):
            pass
    assert [path.name for path in directory.parent.iterdir()] == ["log.db"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="has no directory in which nobody may write")
async def test_nobody_may_write_there():
    with pytest.raises(EventLogMissingError, match="unable to open database file; its directory must be writable"):
        async with open_sqlite_log("/proc/log.db"):
            pass


async def test_it_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Something that somebody has written down.\n" * 100)
    await check_refused(path, EventLogForeignError, "it is no SQLite database; choose another path")


async def test_it_is_a_database_of_something_else(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE streams (name TEXT)")
    await check_refused(path, EventLogForeignError, "it is a database of something else; choose another path")


async def test_it_was_written_by_a_later_version(tmp_path):
    path = tmp_path / "log.db"
    await make_log(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    await check_refused(path, EventLogVersionError, "it has format 2, and this streamscope knows only 1; update")


@pytest.mark.parametrize("page", [0, 1, 3, 5])
async def test_it_is_damaged(tmp_path, page):
    path = tmp_path / "log.db"
    await make_log(path)
    with path.open("r+b") as file:
        # The header of the first page says what the file is; behind it begin the tables.
        file.seek(page * 4096 + (100 if page == 0 else 0))
        file.write(bytes(byte ^ 0xFF for byte in path.read_bytes()[file.tell() : file.tell() + 64]))
    await check_refused(path, EventLogCorruptError, r"it is damaged \(.*\); move it away, with its -wal and -shm files")


async def test_its_end_is_missing(tmp_path):
    path = tmp_path / "log.db"
    await make_log(path)
    os.truncate(path, path.stat().st_size - 4096)
    await check_refused(path, EventLogCorruptError, "it is damaged")


async def test_it_is_open_in_this_process(tmp_path):
    path = tmp_path / "log.db"
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with open_sqlite_log(path) as log:
        for name in (path, link):
            with pytest.raises(EventLogBusyError, match="another process, or another log of this one, has it open"):
                async with open_sqlite_log(name):
                    pass
        # The attempt has not cost it the lock, or anything else.
        with pytest.raises(EventLogBusyError):
            async with open_sqlite_log(path):
                pass
        assert await log.open_stream(SESSION, StreamId.new()).append(b"x") == 1
    async with open_sqlite_log(link):
        pass


OPENS = """
import sys
import trio
from streamscope.log import open_sqlite_log

async def main():
    async with open_sqlite_log(sys.argv[1]):
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_it_is_open_in_another_process_until_that_is_killed(tmp_path):
    path = tmp_path / "log.db"
    stream_id = await make_log(path)
    with start(OPENS, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(EventLogBusyError):
            async with open_sqlite_log(path):
                pass
        process.kill()
    async with open_sqlite_log(path) as log:
        assert len(await contents(await log.find_stream(SESSION, stream_id))) == 100


async def test_an_empty_file_becomes_a_log(tmp_path):
    path = tmp_path / "log.db"
    path.touch()
    stream_id = await make_log(path)
    async with open_sqlite_log(path) as log:
        await log.find_stream(SESSION, stream_id)


async def test_it_can_be_entered_only_once(tmp_path):
    opening = open_sqlite_log(tmp_path / "log.db")
    async with opening:
        with pytest.raises(RuntimeError, match="only once"):
            await opening.__aenter__()


@pytest.mark.parametrize(
    "option",
    [name for name in inspect.signature(open_sqlite_log).parameters if name != "path"],
)
def test_options_are_checked(tmp_path, option):
    with pytest.raises(ValueError, match=rf"^{option} must be "):
        open_sqlite_log(tmp_path / "log.db", **{option: 0})
    assert files(tmp_path) == {}


async def test_what_the_block_raises_comes_out_bare(tmp_path):
    with pytest.raises(ZeroDivisionError):
        async with open_sqlite_log(tmp_path / "log.db"):
            raise ZeroDivisionError


async def test_what_was_appended_is_stored_also_where_the_block_is_cancelled(tmp_path):
    path = tmp_path / "log.db"
    stream_id = StreamId.new()
    with trio.CancelScope() as scope:
        async with open_sqlite_log(path) as log:
            stream = log.open_stream(SESSION, stream_id)
            scope.cancel()
            for number in range(1000):
                stream.append_nowait(b"%d" % number)
            with trio.CancelScope(shield=True):
                # Whoever says goodbye can still do so.
                assert await stream.append(b"goodbye", last=True) == 1001
            await trio.lowlevel.checkpoint()
            raise AssertionError("it was cancelled")
    assert scope.cancelled_caught
    async with open_sqlite_log(path) as log:
        assert (await log.find_stream(SESSION, stream_id)).last == 1001


async def test_a_log_that_is_closed_takes_nothing_and_gives_nothing(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=1) as log:
        stream = log.open_stream(SESSION, StreamId.new())
        await stream.append(b"x" * 10)
    with pytest.raises(trio.ClosedResourceError, match="the event log is closed"):
        stream.append_nowait(b"x")
    with pytest.raises(trio.ClosedResourceError), trio.testing.assert_checkpoints():
        await stream.append(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await stream.read(0, 1)
    with pytest.raises(trio.ClosedResourceError):
        log.open_stream(SESSION, StreamId.new())
    with pytest.raises(trio.ClosedResourceError):
        await log.find_session(SESSION)
    # What cleans up must not fail.
    stream.finish()
    stream.discard()
    log.discard_session(SESSION)


@pytest.mark.parametrize("error", EventLogOpenError.__subclasses__())
def test_an_error_survives_a_trip_to_another_process(error):
    again = pickle.loads(pickle.dumps(error(path="log.db", cause="it is no file")))
    assert type(again) is error
    assert (again.path, again.cause) == ("log.db", "it is no file")
    assert str(again) == "the event log 'log.db' cannot be opened: it is no file"
