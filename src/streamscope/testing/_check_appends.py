"""What one stream's log promises to those who append to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from .._errors import EventTooLargeError, StreamClosedError
from ..abc import StreamLog
from ._bench import Bench, Story, append_all, follow, read
from ._require import Refusal, require, require_equal

_ODD: Final = (b"one", b"", b"\0\r\n\n", b"\xff\xfe", "vier …".encode(), bytes(range(256)))


async def check_order_and_numbers(bench: Bench) -> None:
    """Events are numbered 1, 2, 3, …, and each can be read once it is appended."""
    _, stream = bench.open()
    for seq, data in enumerate(_ODD, start=1):
        require_equal("first_after() while nothing was dropped", stream.first_after(len(data)), 1)
        require_equal("the number that append() returned", await stream.append(data), seq)
        require_equal(f"last after event {seq}", stream.last, seq)
        batch = await read(stream, seq - 1, 10)
        require_equal(f"what can be read after event {seq} was appended", [e.data for e in batch.events], [data])
        require(not batch.finished, "a batch of an open stream says that it is finished")
    require_equal("first while nothing was dropped", stream.first, 1)
    story = await follow(stream, until=len(_ODD))
    require_equal("the stream", story.data, list(_ODD))


async def check_append_nowait(bench: Bench) -> None:
    """What is appended without waiting is in the same order, and can be read soon."""
    _, stream = bench.open()
    require_equal("the number that append_nowait() returned", stream.append_nowait(b"1"), 1)
    require_equal("the number that append() returned then", await stream.append(b"2"), 2)
    require_equal("the number that append_nowait() returned then", stream.append_nowait(b"3"), 3)
    story = await follow(stream, until=3)
    require_equal("the stream", story.data, [b"1", b"2", b"3"])
    require_equal("last after all was read", stream.last, 3)


async def check_last_event(bench: Bench) -> None:
    """An event that is appended as the last one ends the stream in the same step, for readers as well."""
    # Several times, as it is for Trio to say who comes first.
    for way in ("append()", "append_nowait()") * 4:
        _, stream = bench.open()
        await append_all(stream, [b"1"])
        seen: list[bool] = []

        async def reader(stream: StreamLog = stream, seen: list[bool] = seen) -> None:
            # Looks all the time, so as to come between the two; but not for ever, as a log may need the time.
            for _ in range(20):
                batch = await read(stream, 1, 1)
                if batch.events:
                    seen.append(batch.finished)
                    return
            story = await follow(stream, after=1, until=2)
            seen.append(story.finished)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(reader)
                await trio.lowlevel.checkpoint()
            if way == "append()":
                require_equal("the last event's number", await stream.append(b"2", last=True), 2)
            else:
                require_equal("the last event's number", stream.append_nowait(b"2", last=True), 2)
            require(stream.finished, f"after {way} of the last event, a stream says that it is not finished")
        require(all(seen), f"a reader got the last event before the end that came with it by {way}")
        story = await follow(stream)
        require_equal("a stream whose last event was appended as such", story, Story([b"1", b"2"], finished=True))
        with Refusal(f"append() after {way} of the last event", StreamClosedError):
            await stream.append(b"3")


async def check_cancelled_append(bench: Bench) -> None:
    """An append that is cancelled has appended its event or not; the numbers have no hole either way."""
    for steps in range(6):
        _, stream = bench.open()
        await stream.append(b"before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.append, b"cancelled")
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        seq = await stream.append(b"after")
        story = await follow(stream, until=seq)
        require(
            story.data in ([b"before", b"after"], [b"before", b"cancelled", b"after"]),
            f"after an append() was cancelled, the stream is {story.data!r}",
        )


async def check_cancelled_last_append(bench: Bench) -> None:
    """An append of the last event that is cancelled has done both or neither."""
    for steps in range(6):
        _, stream = bench.open()
        await stream.append(b"before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(stream.append, b"cancelled", last=True))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        expected = [b"before", b"cancelled"]
        if not stream.finished:
            await stream.append(b"after", last=True)
            expected = [b"before", b"after"]
        story = await follow(stream)
        require_equal("after an append() of the last event was cancelled, the stream", story.data, expected)


async def check_concurrent_appends(bench: Bench) -> None:
    """Many tasks append to many streams: each stream has all of its events, numbered as they were told."""
    streams = [bench.open()[1] for _ in range(5)]
    told: list[dict[int, bytes]] = [{} for _ in streams]

    async def appender(number: int, name: int) -> None:
        before = 0
        for count in range(6):
            data = b"%d.%d" % (name, count)
            seq = await streams[number].append(data)
            require(seq not in told[number], f"two events got number {seq}")
            require(seq > before, f"of two events of one task, the second got number {seq}, the first {before}")
            told[number][seq] = data
            before = seq

    async with trio.open_nursery() as nursery:
        for number in range(len(streams)):
            for name in range(4):
                nursery.start_soon(appender, number, name)
    for stream, events in zip(streams, told, strict=True):
        require_equal("the numbers of the events", sorted(events), list(range(1, 25)))
        story = await follow(stream, until=24)
        require_equal("a stream that many have appended to", story.data, [events[seq] for seq in range(1, 25)])


async def check_finish_during_appends(bench: Bench) -> None:
    """An append that is under way when the stream ends is stored or refused, and the end comes after it."""
    # Which task is how far when the stream ends is drawn by lot, so more than once.
    for steps in [0, 1, 2, 3] * 8:
        _, stream = bench.open()
        stored: dict[int, bytes] = {}

        async def appender(data: bytes, stream: StreamLog = stream, stored: dict[int, bytes] = stored) -> None:
            with suppress(StreamClosedError):
                stored[await stream.append(data)] = data

        async with trio.open_nursery() as nursery:
            for data in (b"1", b"2", b"3"):
                nursery.start_soon(appender, data)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            stream.finish()
        story = await follow(stream)
        expected = [stored[seq] for seq in sorted(stored)]
        require_equal("a stream that was finished during appends", story.data, expected)


async def check_too_large(bench: Bench, event: bytes) -> None:
    """An event that is too large is refused, and changes nothing."""
    _, stream = bench.open()
    await stream.append(b"1")
    before = bench.log.statistics()
    with Refusal("append() of an event that is too large", EventTooLargeError) as refusal:
        await stream.append(event)
    with Refusal("append_nowait() of an event that is too large", EventTooLargeError):
        stream.append_nowait(event, last=True)
    require_equal("first_after() of an event that is too large", stream.first_after(len(event)), 1)
    require(not stream.finished, "an event that is too large has ended the stream although it was refused")
    require(
        0 < refusal.error.value < len(event),
        f"EventTooLargeError tells a bound of {refusal.error.value!r} for an event of {len(event)} bytes",
    )
    require_equal("the statistics after refusals", bench.log.statistics(), before)
    require_equal("last after refusals", stream.last, 1)
    require_equal("the next event's number", await stream.append(b"2"), 2)
    story = await follow(stream, until=2)
    require_equal("the stream", story.data, [b"1", b"2"])


APPEND_CHECKS: Final[Sequence[Callable[[Bench], Awaitable[None]]]] = (
    check_order_and_numbers,
    check_append_nowait,
    check_last_event,
    check_cancelled_append,
    check_cancelled_last_append,
    check_concurrent_appends,
    check_finish_during_appends,
)
