"""What a log of many streams promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import trio
import trio.testing

from .._errors import UnknownStreamError
from .._ids import SessionId, StreamId
from .._statistics import EventLogStatistics
from ..abc import SavedSession, StreamLog
from ._bench import Bench, Story, append_all, follow
from ._require import Refusal, require, require_equal


async def check_finding(bench: Bench) -> None:
    """A stream is found under its session and its identifier, also when it has ended."""
    stream_id, stream = bench.open()
    await append_all(stream, [b"1", b"2"])
    found = await bench.log.find_stream(bench.session_id, stream_id)
    seen = (found.first, found.last, found.finished)
    require_equal("first, last and finished of a stream that was found", seen, (1, 2, False))
    await append_all(stream, [b"3"])
    story = await follow(found, until=3)
    require_equal("what is read from a stream that was found", story.data, [b"1", b"2", b"3"])

    stories: list[Story] = []

    async def reader() -> None:
        stories.append(await follow(found, after=3))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        await append_all(stream, [b"4"])
        stream.finish()
    require_equal("what a reader got that found the stream", [story.data for story in stories], [[b"4"]])
    again = await bench.log.find_stream(bench.session_id, stream_id)
    require(again.finished, "a stream that was found after its end says that it is not finished")
    story = await follow(again)
    require_equal("what is read from a stream after its end", story.data, [b"1", b"2", b"3", b"4"])


async def check_not_finding(bench: Bench) -> None:
    """What is in another session, or nowhere, is not found."""
    stream_id, stream = bench.open()
    await stream.append(b"secret")
    other_id, _ = bench.open(bench.other_session_id)
    await _require_unknown(bench, "another session's stream", bench.other_session_id, stream_id)
    await _require_unknown(bench, "another session's stream", bench.session_id, other_id)
    await _require_unknown(bench, "a stream of a session that never was", SessionId.new(), stream_id)
    await _require_unknown(bench, "a stream that never was", bench.session_id, StreamId.new())


async def _require_unknown(bench: Bench, what: str, session_id: SessionId, stream_id: StreamId) -> None:
    with Refusal(f"find_stream() of {what}", UnknownStreamError) as refusal:
        await bench.log.find_stream(session_id, stream_id)
    require_equal("UnknownStreamError.stream_id", refusal.error.stream_id, stream_id)


async def check_same_stream_twice(bench: Bench) -> None:
    """A stream that is there, open or ended, cannot be opened again, and the attempt does not hurt it."""
    stream_id, stream = bench.open()
    await stream.append(b"1")
    with Refusal("open_stream() of an open stream", ValueError):
        bench.log.open_stream(bench.session_id, stream_id)
    await stream.append(b"2")
    stream.finish()
    with Refusal("open_stream() of a stream that has ended", ValueError):
        bench.log.open_stream(bench.session_id, stream_id)
    story = await follow(await bench.log.find_stream(bench.session_id, stream_id))
    require_equal("a stream that was to be opened again", story.data, [b"1", b"2"])


async def check_discard(bench: Bench) -> None:
    """A stream that is discarded is not found any more; who has it already can read it to its end."""
    for ended in (False, True):
        stream_id, stream = bench.open()
        sibling_id, _ = bench.open()
        await append_all(stream, [b"1", b"2", b"3"])
        found = await bench.log.find_stream(bench.session_id, stream_id)
        if ended:
            stream.finish()
        found.discard()
        stream.discard()
        await _require_unknown(bench, "a stream that was discarded", bench.session_id, stream_id)
        await bench.log.find_stream(bench.session_id, sibling_id)
        await _require_readable(stream, found)


async def check_discard_session(bench: Bench) -> None:
    """All streams of a session are discarded, and none of another one's."""
    bench.log.discard_session(SessionId.new())  # that never was: this is no error
    streams = [bench.open() for _ in range(3)]
    other_id, other = bench.open(bench.other_session_id)
    for _, stream in streams:
        await append_all(stream, [b"1", b"2", b"3"])
    await append_all(other, [b"other"])
    streams[0][1].finish()
    for _ in range(2):
        bench.log.discard_session(bench.session_id)
    for stream_id, stream in streams:
        await _require_unknown(bench, "a stream of a session that was discarded", bench.session_id, stream_id)
        await _require_readable(stream)
    found = await bench.log.find_stream(bench.other_session_id, other_id)
    story = await follow(found, until=1)
    require_equal("a stream of another session than the one discarded", story.data, [b"other"])


async def _require_readable(stream: StreamLog, *others: StreamLog) -> None:
    """Require that a stream that was discarded with three events can be read to its end."""
    stories: list[Story] = []

    async def reader(handle: StreamLog) -> None:
        stories.append(await follow(handle, limit=2))

    async with trio.open_nursery() as nursery:
        for handle in (stream, *others):
            nursery.start_soon(reader, handle)
        await trio.testing.wait_all_tasks_blocked()
        stream.finish()
    for story in stories:
        require_equal("a stream that was discarded under its reader", story.data, [b"1", b"2", b"3"])


async def check_statistics(bench: Bench) -> None:
    """The statistics count streams, those that have ended, events and bytes."""
    before = bench.log.statistics()

    def require_more(when: str, streams: int, finished_streams: int, events: int, size: int) -> None:
        expected = EventLogStatistics(
            streams=before.streams + streams,
            finished_streams=before.finished_streams + finished_streams,
            events=before.events + events,
            bytes=before.bytes + size,
        )
        require_equal(f"statistics() {when}", bench.log.statistics(), expected)

    _, long = bench.open()
    _, short = bench.open()
    _, empty = bench.open(bench.other_session_id)
    require_more("of three new streams", 3, 0, 0, 0)
    await append_all(long, [b"1", b"", b"333"])
    await append_all(short, [b"22"])
    require_more("of four events in two streams", 3, 0, 4, 6)
    for stream in (long, empty):
        stream.finish()
        stream.finish()
        await follow(stream)
    require_more("after two of three streams have ended", 3, 2, 4, 6)
    long.discard()
    long.discard()
    require_more("after one of the ended streams was discarded", 2, 1, 1, 2)
    bench.log.discard_session(bench.session_id)
    require_more("after the session of the open stream was discarded", 1, 1, 0, 0)
    bench.log.discard_session(bench.other_session_id)
    require_more("after all was discarded", 0, 0, 0, 0)


async def check_many_streams(bench: Bench) -> None:
    """Streams of the same session do not mix."""
    streams = [bench.open() for _ in range(16)]
    for number in range(3):
        for name, (_, stream) in enumerate(streams):
            await append_all(stream, [b"%d.%d" % (name, number)])
    for name, (stream_id, stream) in enumerate(streams):
        stream.finish()
        story = await follow(await bench.log.find_stream(bench.session_id, stream_id))
        require_equal(f"stream {name} of 16", story.data, [b"%d.%d" % (name, number) for number in range(3)])


async def check_wills(bench: Bench) -> None:
    """A last will changes nothing as long as the process lives."""
    _, stream = bench.open()
    stream.set_will([b"will"])
    await append_all(stream, [b"1"])
    before = bench.log.statistics()
    stream.set_will([b"another", b"will"])
    await append_all(stream, [b"2"])
    stream.set_will([])
    stream.set_will([b"the last"])
    stream.finish()
    story = await follow(stream)
    require_equal("a stream with a will that has ended", story.data, [b"1", b"2"])
    stream.set_will([b"too late"])
    story = await follow(stream)
    require_equal("a stream that got a will after its end", story.data, [b"1", b"2"])
    require_equal(
        "the number of events in statistics() of a stream with a will", bench.log.statistics().events, before.events + 1
    )
    stream.discard()
    stream.set_will([b"much too late"])


async def check_saved_sessions(bench: Bench) -> None:
    """A session that was saved is found as it was saved last, or never is; one that was discarded is not."""
    find = bench.log.find_session
    session_id = bench.session_id
    require(await find(SessionId.new()) is None, "find_session() found a session that never was")
    bench.open()
    require(await find(session_id) is None, "find_session() found a session that was not saved")
    kept: list[bool] = []
    for state in (b"first", bytes(range(256))):
        created_at = datetime(2025, 11, 25, 23, 59, 59, 999999, tzinfo=UTC)
        session = SavedSession(
            session_id=session_id, principal="vier …", connection_info=None, created_at=created_at, state=state
        )
        bench.log.save_session(session)
        found = await find(session_id)
        # A log that ends with the process need not keep it.
        if found is not None:
            require_equal("the session that find_session() found", found, session)
        kept.append(found is not None)
    require(len(set(kept)) == 1, "find_session() found a session only once of two times that it was saved")
    require(await find(bench.other_session_id) is None, "find_session() found another session than the one saved")
    bench.log.discard_session(session_id)
    require(await find(session_id) is None, "find_session() found a session that was discarded")


LOG_CHECKS: Final[Sequence[Callable[[Bench], Awaitable[None]]]] = (
    check_finding,
    check_not_finding,
    check_same_stream_twice,
    check_discard,
    check_discard_session,
    check_statistics,
    check_many_streams,
    check_wills,
    check_saved_sessions,
)
