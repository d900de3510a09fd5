"""The newest reader of a stream wins; the older one ends, and nothing is lost between the two."""

from __future__ import annotations

import pytest
import trio

from streamscope import CloseReason, EventId, ReaderDetached
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, talking, until
from tests.mcp.test_resume import numbers, text


async def test_a_resume_takes_over_from_a_connection_that_still_stands():
    demo = Demo()
    async with talking(demo.server) as (served, peer), served.sessions.watch() as changes:
        demo.lines.send_nowait(1)
        async with peer.stream("POST", call("speak")) as old:
            assert numbers([await old.message()]) == [1]
            async with peer.listen(old.position) as new:
                # The older one ends without an answer: who took over gets that.
                assert await old.rest() == []
                change = await until(changes, ReaderDetached)
                assert (change.position, change.reason) == (EventId(old.stream_id, 1), CloseReason.SUPERSEDED)
                demo.lines.send_nowait(2)
                demo.lines.close()
                messages = await new.rest()
                assert numbers(messages) == [2]
                assert text(messages[-1]) == "spoken"


async def test_over_and_over():
    demo = Demo()
    async with talking(demo.server) as (_, peer):
        demo.lines.send_nowait(0)
        async with peer.stream("POST", call("speak")) as events:
            await events.message()
            for number in range(1, 6):
                demo.lines.send_nowait(number)
                async with peer.listen(EventId(events.stream_id, 0)) as newer:
                    assert numbers([await newer.message() for _ in range(number + 1)]) == list(range(number + 1))
            demo.lines.close()


async def test_a_listener_is_taken_over_too():
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.listen() as old, peer.listen(old.position) as new:
        assert await old.rest() == []
        await peer.ask(call("whisper", {"texts": ["hello"]}))
        assert (await new.message())["params"]["data"] == "hello"
        assert new.stream_id == old.stream_id


@pytest.mark.parametrize("steps", [1, 3, 10])
async def test_a_connection_that_drops_again_and_again_loses_nothing(steps):
    demo = Demo()
    total = 100
    async with talking(demo.server, sse_delay=0) as (_, peer):
        heard: list[int] = []
        async with peer.stream("POST", call("speak", request_id="call")) as events:
            position = (await events.frame()).id
        for number in range(1, total + 1):
            demo.lines.send_nowait(number)
        demo.lines.close()
        while True:
            async with peer.listen(position) as events:
                for _ in range(steps):
                    message = await events.message()
                    position = events.last_id
                    if "result" in message:
                        break
                    heard += numbers([message])
                else:
                    continue
                assert (message["id"], text(message)) == ("call", "spoken")
                break
        assert heard == list(range(1, total + 1))


async def test_drops_while_events_are_being_sent():
    demo = Demo()
    total = 300
    async with talking(demo.server, sse_delay=0) as (_, peer):
        heard: list[int] = []

        async def say() -> None:
            for number in range(1, total + 1):
                demo.lines.send_nowait(number)
                await trio.sleep(0.0002)
            demo.lines.close()

        async with trio.open_nursery() as nursery:
            async with peer.stream("POST", call("speak")) as events:
                position = (await events.frame()).id
            nursery.start_soon(say)
            resumes = 0
            message = {}
            while "result" not in message:
                resumes += 1
                async with peer.listen(position) as events:
                    for _ in range(resumes % 7):
                        message = await events.message()
                        position = events.last_id
                        if "result" in message:
                            break
                        heard += numbers([message])
        assert heard == list(range(1, total + 1))
        assert resumes > 10


async def test_two_that_resume_at_once_one_gets_it_all():
    demo = Demo()
    async with talking(demo.server, sse_delay=0) as (_, peer):
        async with peer.stream("POST", call("speak")) as events:
            position = (await events.frame()).id
        results, received = trio.open_memory_channel[list[int]](9)

        async def resume() -> None:
            async with peer.listen(position) as again:
                results.send_nowait(numbers(await again.rest()))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(resume)
            assert [await received.receive() for _ in range(4)] == [[]] * 4
            for number in (1, 2, 3):
                demo.lines.send_nowait(number)
            demo.lines.close()
        assert await received.receive() == [1, 2, 3]
