"""How an answer is sent: as JSON where it comes first, alone and soon; else as a stream of events."""

from __future__ import annotations

import pytest
import trio

from streamscope import EventId
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, notification, request, talking


async def test_json_when_nothing_was_streamed():
    async with talking(Demo().server, sse_delay=20) as (served, peer):
        response = await peer.post(call("add", {"a": 1, "b": 2}))
        assert response.headers["content-type"] == "application/json"
        assert int(response.headers["content-length"]) == len(response.content)
        # Nobody can resume it, so nothing of it is kept.
        assert served.sessions.streams.log.statistics().streams == 0


async def test_a_late_answer_is_json_too_if_it_comes_within_the_delay():
    demo = Demo()
    async with talking(demo.server, sse_delay=20) as (_, peer), trio.open_nursery() as nursery:

        async def open_the_gate() -> None:
            await demo.started["x"].wait()
            demo.gates["x"].set()

        nursery.start_soon(open_the_gate)
        response = await peer.post(call("wait", {"name": "x"}))
        assert response.headers["content-type"] == "application/json"


async def test_the_first_event_decides_not_the_delay():
    demo = Demo()
    async with talking(demo.server, sse_delay=20) as (_, peer):
        with trio.fail_after(5):
            demo.lines.send_nowait(1)
            async with peer.stream("POST", call("speak")) as events:
                # The response has begun, and the answer is nowhere near.
                assert events.response.headers["content-type"] == "text/event-stream"
                assert (await events.message())["params"]["progress"] == 1
                demo.lines.close()
                assert "result" in (await events.rest())[0]


@pytest.mark.parametrize("delay", [0, 0.01])
async def test_a_stream_when_the_answer_does_not_come_within_the_delay(delay):
    demo = Demo()
    async with (
        talking(demo.server, sse_delay=delay) as (_, peer),
        peer.stream("POST", call("wait", {"name": "x"}, 9)) as events,
    ):
        response = events.response
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert "no-cache" in response.headers["cache-control"]
        assert response.headers["x-accel-buffering"] == "no"
        primed = await events.frame()
        demo.gates["x"].set()
        answered = await events.frame()
        assert '"id":9' in answered.data
        assert (primed.data, primed.event, answered.event) == ("", "message", "message")
        first, second = (EventId.parse(frame.id) for frame in (primed, answered))
        assert first.stream_id == second.stream_id
        assert (first.seq, second.seq) == (0, 1)
        assert await events.rest() == []
        assert not events.parser.unknown


async def test_with_no_delay_everything_is_streamed():
    async with talking(Demo().server, sse_delay=0) as (_, peer), peer.stream("POST", request("ping")) as events:
        assert (await events.frame()).data == ""
        assert (await events.rest()) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


@pytest.mark.parametrize(("retry", "milliseconds"), [(None, None), (0, 0), (0.25, 250), (3, 3000)])
async def test_the_client_is_told_when_to_come_back(retry, milliseconds):
    async with talking(Demo().server, retry=retry) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 1})) as events:
            assert [(await events.frame()).retry for _ in range(3)] == [milliseconds, None, None]
        async with peer.stream("GET") as events:
            assert (await events.frame()).retry == milliseconds


async def test_the_events_of_a_stream_are_numbered_without_a_hole():
    async with talking(Demo().server) as (_, peer), peer.stream("POST", call("count", {"n": 5})) as events:
        positions = [EventId.parse((await events.frame()).id) for _ in range(7)]
        assert [position.seq for position in positions] == list(range(7))
        assert len({position.stream_id for position in positions}) == 1


async def test_streams_have_identifiers_of_their_own():
    async with talking(Demo().server) as (_, peer):
        seen = set()
        for _ in range(3):
            async with peer.stream("POST", call("count", {"n": 1}, 1)) as events:
                await events.rest()
                seen.add(events.stream_id)
        assert len(seen) == 3


async def test_a_quiet_stream_is_kept_open_by_comments():
    demo = Demo()
    async with (
        talking(demo.server, sse_delay=0.01, ping_interval=0.02) as (_, peer),
        peer.stream("POST", call("wait", {"name": "x"})) as events,
    ):
        while len(events.parser.comments) < 3:
            await events.chunk()
        demo.gates["x"].set()
        (body,) = await events.rest()
        assert "result" in body
        assert set(events.parser.comments) == {"ping"}


async def test_json_only():
    demo = Demo()
    async with talking(demo.server, json_response=True) as (_, peer):
        peer.headers["accept"] = "application/json"
        response = await peer.post(call("count", {"n": 3}))
        assert response.headers["content-type"] == "application/json"
        assert response.json()["result"]["content"][0]["text"] == "counted"
        # There is no stream on which the client could be asked.
        body = await peer.ask(call("ask"))
        ((code, message, _),) = body["result"]["structuredContent"]["result"]
        assert code == -32600
        assert "back-channel" in message


async def test_json_only_serves_listeners_still():
    async with talking(Demo().server, json_response=True) as (_, peer):
        async with peer.listen() as events:
            await peer.ask(call("whisper", {"texts": ["now"]}))
            assert (await events.message())["params"]["data"] == "now"
        assert (await peer.post(notification("notifications/initialized"))).status_code == 202
