"""What one stream's log promises to its readers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
import trio.testing

from .._errors import EventsExpiredError, StreamClosedError
from ..abc import Batch
from ._bench import Bell, Bench, append_all, follow, read, read_nowait
from ._require import Refusal, require, require_equal


async def check_new_stream(bench: Bench) -> None:
    """A new stream has no event, and is not finished."""
    _, stream = bench.open()
    require_equal("first of a new stream", stream.first, 1)
    require_equal("last of a new stream", stream.last, 0)
    require(not stream.finished, "a new stream says that it is finished")
    batch = await read(stream, 0, 10)
    require(batch == Batch([], finished=False), f"the batch of a new stream is {batch}")


async def check_read_limits(bench: Bench) -> None:
    """A reader gets at most as many events as it asks for, from any position, and at least one that is there."""
    _, stream = bench.open()
    events = [b"%d" % number for number in range(10)]
    await append_all(stream, events)
    for after in range(11):
        for limit in (1, 3, 10, 1000):
            batch = await read(stream, after, limit)
            got = [event.data for event in batch.events]
            require_equal(f"read({after}, {limit})", got, events[after : after + len(got)])
            require(got or after == 10, f"read({after}, {limit}) returned nothing, though there is more")


async def check_read_nowait(bench: Bench) -> None:
    """What can be read without waiting is what can be read, and at least one event that is there."""
    _, stream = bench.open()
    events = [b"%d" % number for number in range(10)]
    await append_all(stream, events)
    for finished in (False, True):
        if finished:
            stream.finish()
            await follow(stream)
        for after in range(11):
            for limit in (1, 3, 1000):
                if (batch := read_nowait(stream, after, limit)) is not None:
                    asked = f"read_nowait({after}, {limit})"
                    got = [event.data for event in batch.events]
                    require_equal(asked, got, events[after : after + len(got)])
                    require(got or after == 10, f"{asked} returned nothing, though there is more")
                    over = finished and after + len(got) == 10
                    require_equal(f"finished of {asked} of 10 events", batch.finished, over)


async def check_finish(bench: Bench) -> None:
    """Finishing is idempotent; nothing can be appended any more; what was there stays."""
    stream_id, stream = bench.open()
    await append_all(stream, [b"1", b"2", b"3"])
    for _ in range(2):
        stream.finish()
        require(stream.finished, "after finish(), a stream says that it is not finished")
    with Refusal("append_nowait() after finish()", StreamClosedError) as refusal:
        stream.append_nowait(b"4")
    require_equal("StreamClosedError.stream_id", refusal.error.stream_id, stream_id)
    with Refusal("append() after finish()", StreamClosedError) as refusal:
        await stream.append(b"4")
    require_equal("StreamClosedError.stream_id", refusal.error.stream_id, stream_id)
    require_equal("first_after() of a finished stream", stream.first_after(1), 1)
    story = await follow(stream)
    require_equal("a finished stream", story.data, [b"1", b"2", b"3"])
    require_equal("last of a finished stream", stream.last, 3)


async def check_finished_comes_with_the_last_batch(bench: Bench) -> None:
    """A batch is finished exactly if its last event is the stream's last."""
    for count in (0, 1, 5):
        _, stream = bench.open()
        await append_all(stream, [b"x"] * count)
        stream.finish()
        # A log that stores the end later may say so only to the second reader; then it must be exact.
        story = await follow(stream)
        require_equal("events before the end", len(story.data), count)
        for after in range(count + 1):
            for limit in range(1, count + 3):
                batch = await read(stream, after, limit)
                over = after + len(batch.events) == count
                require_equal(f"finished of read({after}, {limit}) of {count} events", batch.finished, over)


async def check_wake_ups(bench: Bench) -> None:
    """Who is attached is woken for each event and for the end, and not once detached."""
    _, stream = bench.open()
    attached, detached = Bell(), Bell()
    stream.attach(attached.ring)
    stream.attach(detached.ring)
    stream.detach(detached.ring)
    detached.mute()

    await stream.append(b"1")
    require(await attached.has_rung(), "append() did not wake who is attached")
    # What is stored later may ring later, so mute the bell only when all is read.
    attached.mute()
    stream.append_nowait(b"2")
    require(await attached.has_rung(), "append_nowait() did not wake who is attached")
    await follow(stream, until=2)
    attached.mute()
    stream.finish()
    require(await attached.has_rung(), "finish() did not wake who is attached")
    require(not detached.rung, "who was detached was woken")


async def check_readers(bench: Bench) -> None:
    """Readers at different paces each get everything in order, whenever they come."""
    _, stream = bench.open()
    events = [b"%d" % number for number in range(20)]
    stories: dict[str, list[bytes]] = {}

    async def reader(name: str, after: int, limit: int) -> None:
        story = await follow(stream, after=after, limit=limit)
        stories[name] = events[:after] + story.data

    async with trio.open_nursery() as nursery:
        for limit in (1, 2, 100):
            nursery.start_soon(reader, f"there from the beginning, {limit} at once", 0, limit)
        for number, data in enumerate(events):
            if number % 3:
                await stream.append(data)
            else:
                stream.append_nowait(data)
            if number == 10:
                nursery.start_soon(reader, "comes later", 0, 3)
                nursery.start_soon(reader, "comes back", 5, 3)
        stream.finish()
    for name, story in stories.items():
        require_equal(f"what a reader got ({name})", story, events)


async def check_checkpoints(bench: Bench) -> None:
    """append(), read(), find_stream() and find_session() are checkpoints, whatever comes out."""
    stream_id, stream = bench.open()
    await _require_checkpoint("append()", stream.append, b"1")
    await _require_checkpoint("read() with something there", stream.read, 0, 1)
    await _require_checkpoint("read() with nothing there", stream.read, 1, 1)
    await _require_checkpoint("find_stream()", bench.log.find_stream, bench.session_id, stream_id)
    await _require_checkpoint("find_session()", bench.log.find_session, bench.session_id)
    stream.finish()
    await _require_checkpoint("append() that is refused", stream.append, b"2")
    await _require_checkpoint("read() at the end", stream.read, 1, 1)
    stream.discard()
    await _require_checkpoint("find_stream() that is refused", bench.log.find_stream, bench.session_id, stream_id)


async def _require_checkpoint(what: str, call: Callable[..., Awaitable[object]], *args: object) -> None:
    try:
        # Whoever tries again and again what is refused must not keep all others from running.
        with trio.testing.assert_checkpoints(), suppress(LookupError, StreamClosedError):
            await call(*args)
    except AssertionError:
        raise AssertionError(f"{what} is not a checkpoint") from None


async def check_overflow(bench: Bench, events: Sequence[bytes]) -> None:
    """A log that is full drops the oldest events, and says so to those who ask for them."""
    stream_id, stream = bench.open()
    firsts: list[tuple[int, int]] = []
    for data in events:
        announced = stream.first_after(len(data))
        await append_all(stream, [data])
        firsts.append((announced, stream.first))
    first, last = stream.first, stream.last
    require_equal("last of an overflowing stream", last, len(events))
    require(first > 1, f"{len(events)} events were to be more than the log keeps, but it keeps them all")
    require(first <= last, f"the log keeps none of {len(events)} events, not even the newest")
    for seq, (announced, came) in enumerate(firsts, start=1):
        require_equal(f"first_after() before event {seq}", announced, came)
    for after in {0, first - 2}:
        with Refusal(f"read({after}, 1) of a stream whose first event is {first}", EventsExpiredError) as refusal:
            await stream.read(after, 1)
        error = refusal.error
        told = (error.stream_id, error.after, error.first)
        require_equal("what EventsExpiredError tells", told, (stream_id, after, first))
        with suppress(EventsExpiredError):
            missing = stream.read_nowait(after, 1)
            require(missing is None, f"read_nowait({after}, 1) of a stream whose first event is {first} has {missing}")
    story = await follow(stream, after=first - 1, until=last)
    require_equal("what the log keeps", story.data, list(events[first - 1 :]))
    batch = await read(stream, last, 1)
    require(batch == Batch([], finished=False), f"the batch after the last event is {batch}")
    require_equal("the next event's number", await stream.append(b"next"), last + 1)
    stream.finish()
    story = await follow(stream, after=last)
    require_equal("the end of an overflowing stream", story.data, [b"next"])


READ_CHECKS: Final[Sequence[Callable[[Bench], Awaitable[None]]]] = (
    check_new_stream,
    check_read_limits,
    check_finish,
    check_finished_comes_with_the_last_batch,
    check_wake_ups,
    check_readers,
    check_checkpoints,
    check_read_nowait,
)
