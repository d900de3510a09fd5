"""notifications/cancelled, and requests that share an identifier."""

from __future__ import annotations

import pytest
import trio

from streamscope import CloseReason
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, notification, request, talking


async def cancel(peer, request_id, **rest):
    response = await peer.post(notification("notifications/cancelled", {"requestId": request_id, **rest}))
    assert (response.status_code, response.content) == (202, b"")


def wait(name, request_id=1):
    return call("wait", {"name": name}, request_id)


def text(message):
    return message["result"]["content"][0]["text"]


@pytest.mark.parametrize("delay", [0.001, 20])
async def test_a_cancelled_request_is_answered_once(delay):
    demo = Demo()
    async with talking(demo.server, sse_delay=delay) as (served, peer):

        async def caller() -> None:
            async with peer.stream("POST", wait("x", "caller")) as events:
                body = await events.answer()
                assert body["id"] == "caller"
                assert body["error"] == {"code": -32800, "message": "Request cancelled"}
                if events.response.headers["content-type"] == "text/event-stream":
                    assert await events.rest() == []

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await demo.started["x"].wait()
            await cancel(peer, "caller", reason="changed my mind")
            await demo.over["x"].wait()
            assert demo.ended["x"] != "returned"
            await cancel(peer, "caller")
        assert served.sessions.streams.list_streams() == []
        assert served.sessions.streams.statistics().closed_streams[CloseReason.CANCELLED] == 1


async def test_cancelling_once_more_while_it_unwinds():
    demo = Demo()

    async def slow() -> str:
        demo.started["slow"].set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await demo.gates["slow"].wait()
        return "never"

    demo.server.add_tool(slow)
    async with talking(demo.server) as (_, peer), peer.stream("POST", call("slow")) as events:
        await demo.started["slow"].wait()
        for _ in range(3):
            await cancel(peer, 1)
        demo.gates["slow"].set()
        (body,) = await events.rest()
        assert body["error"]["code"] == -32800


async def test_a_request_that_has_been_answered_cannot_be_cancelled():
    async with talking(Demo().server) as (_, peer):
        body = await peer.ask(call("add", {"a": 1, "b": 1}, "caller"))
        await cancel(peer, "caller")
        assert "result" in body
        assert "result" in await peer.ask(request("ping", request_id="caller"))


@pytest.mark.parametrize("request_id", [2, "1", 1.0, True, None, [1], {"id": 1}, ""], ids=repr)
async def test_who_is_not_named_goes_on(request_id):
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.stream("POST", wait("x", 1)) as events:
        await cancel(peer, request_id)
        demo.gates["x"].set()
        assert text(await events.message()) == "x waited"


async def test_cancelling_without_a_name():
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.stream("POST", wait("x", 1)) as events:
        for message in (notification("notifications/cancelled"), notification("notifications/cancelled", {})):
            assert (await peer.post(message)).status_code == 202
        demo.gates["x"].set()
        assert text(await events.message()) == "x waited"


async def test_nobody_cancels_across_sessions():
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.stream("POST", wait("x", 1)) as events:
        other = peer.twin()
        del other.headers["mcp-session-id"]
        await other.initialize()
        await cancel(other, 1)
        demo.gates["x"].set()
        assert text(await events.message()) == "x waited"


async def test_one_of_many_is_cancelled():
    demo = Demo()
    async with (
        talking(demo.server) as (_, peer),
        peer.stream("POST", wait("one", 1)) as one,
        peer.stream("POST", wait("two", 2)) as two,
    ):
        await cancel(peer, 1)
        assert (await one.message())["error"]["code"] == -32800
        demo.gates["two"].set()
        assert text(await two.message()) == "two waited"


async def test_a_cancelled_request_that_was_dropped_is_answered_to_who_resumes_it():
    demo = Demo()
    async with talking(demo.server, sse_delay=0) as (_, peer):
        async with peer.stream("POST", wait("x", 1)) as events:
            position = (await events.frame()).id
        await cancel(peer, 1)
        async with peer.listen(position) as again:
            (body,) = await again.rest()
            assert (body["id"], body["error"]["code"]) == (1, -32800)


# The same identifier more than once: known clients do so


async def test_each_call_has_its_own_answer():
    demo = Demo()
    async with (
        talking(demo.server) as (_, peer),
        peer.stream("POST", wait("one", 1)) as one,
        peer.stream("POST", wait("two", 1)) as two,
    ):
        demo.gates["two"].set()
        assert text(await two.message()) == "two waited"
        demo.gates["one"].set()
        assert text(await one.message()) == "one waited"
        assert await one.rest() == await two.rest() == []
        assert one.stream_id != two.stream_id


async def test_a_number_and_its_text_are_two_identifiers():
    demo = Demo()
    async with (
        talking(demo.server) as (_, peer),
        peer.stream("POST", wait("one", 1)) as number,
        peer.stream("POST", wait("two", "1")) as string,
    ):
        await cancel(peer, "1")
        assert (await string.message())["error"]["code"] == -32800
        demo.gates["one"].set()
        body = await number.message()
        assert (body["id"], text(body)) == (1, "one waited")


async def test_an_identifier_in_use_twice_cancels_the_oldest_first():
    demo = Demo()
    async with (
        talking(demo.server) as (_, peer),
        peer.stream("POST", wait("old", 1)) as old,
        peer.stream("POST", wait("new", 1)) as new,
    ):
        await cancel(peer, 1)
        assert (await old.message())["error"]["code"] == -32800
        assert "new" not in demo.ended
        await cancel(peer, 1)
        assert (await new.message())["error"]["code"] == -32800


async def test_progress_of_equal_tokens_stays_on_its_own_stream():
    demo = Demo()
    async with talking(demo.server) as (_, peer):
        demo.lines.send_nowait(-1)
        async with peer.stream("POST", call("speak", request_id=1)) as speaking:
            assert (await speaking.message())["params"]["progress"] == -1
            async with peer.stream("POST", call("count", {"n": 3}, 1)) as counting:
                *steps, body = await counting.rest()
                assert [step["params"]["progress"] for step in steps] == [1, 2, 3]
                assert text(body) == "counted"
            demo.lines.close()
            assert text((await speaking.rest())[0]) == "spoken"


async def test_many_with_one_identifier():
    demo = Demo()
    async with talking(demo.server) as (served, peer), trio.open_nursery() as nursery:

        async def caller(name: str) -> None:
            assert text(await peer.ask(wait(name, 1))) == f"{name} waited"

        names = [f"call {i}" for i in range(20)]
        for name in names:
            nursery.start_soon(caller, name)
        for name in names:
            await demo.started[name].wait()
        assert len(served.sessions.streams.list_streams()) == 20
        for name in reversed(names):
            demo.gates[name].set()
