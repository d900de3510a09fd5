"""Coming back with Last-Event-ID: resumed, finished, gap or unknown, and never an empty answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from mcp.server.mcpserver import Context

from streamscope import CloseReason, EventId, MemoryEventLog, ReaderDetached, StreamId
from tests.mcp.demo import Demo, log_entry
from tests.mcp.helpers import call, peering, request, serving, talking, until


def numbers(messages):
    return [message["params"]["progress"] for message in messages if "method" in message]


def text(message):
    return message["result"]["content"][0]["text"]


async def test_in_the_middle():
    demo = Demo()
    async with talking(demo.server) as (served, peer), served.sessions.watch() as changes:
        demo.lines.send_nowait(1)
        demo.lines.send_nowait(2)
        async with peer.stream("POST", call("speak", request_id=5)) as events:
            assert numbers([await events.message(), await events.message()]) == [1, 2]
        assert (await until(changes, ReaderDetached)).reason is CloseReason.DISCONNECTED
        # The call goes on without anybody who listens.
        demo.lines.send_nowait(3)
        async with peer.listen(events.position) as again:
            assert numbers([await again.message()]) == [3]
            demo.lines.send_nowait(4)
            assert numbers([await again.message()]) == [4]
            demo.lines.close()
            (body,) = await again.rest()
            assert (body["id"], text(body)) == (5, "spoken")
            assert again.position == EventId(events.stream_id, 5)


async def test_from_the_priming_event():
    demo = Demo()
    async with talking(demo.server, sse_delay=0) as (_, peer):
        async with peer.stream("POST", call("speak")) as events:
            primed = await events.frame()
        demo.lines.send_nowait(1)
        demo.lines.close()
        async with peer.listen(primed.id) as again:
            messages = await again.rest()
            assert numbers(messages) == [1]
            assert text(messages[-1]) == "spoken"


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18"])
async def test_older_revisions_are_not_primed_and_resume_all_the_same(version):
    demo = Demo()
    async with serving(demo.server, sse_delay=0) as served, peering(served.url) as peer:
        await peer.initialize(version)
        # There is a response though there is nothing to be read yet.
        async with peer.stream("GET") as listening, peer.stream("POST", call("wait", {"name": "x"})) as waiting:
            async with peer.stream("POST", call("whisper", {"texts": ["a", "b"]})) as events:
                answered = await events.frame()
                assert (answered.event, bool(answered.data), answered.retry) == ("message", True, None)
            heard = await listening.frame()
            assert heard.data
            demo.gates["x"].set()
            assert (await waiting.frame()).data
        async with peer.stream("GET", last_event_id=heard.id) as again:
            assert (await again.message())["params"]["data"] == "b"


async def test_a_resumed_stream_is_primed_with_where_it_was_resumed():
    async with talking(Demo().server, retry=7) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 5})) as events:
            await events.rest()
        position = EventId(events.stream_id, 3)
        async with peer.stream("GET", last_event_id=str(position)) as again:
            primed = await again.frame()
            assert (primed.data, EventId.parse(primed.id), primed.retry) == ("", position, 7000)
            assert numbers(await again.rest()) == [4, 5]


async def test_a_stream_that_has_finished_gives_the_rest_and_ends():
    async with talking(Demo().server) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 5})) as events:
            await events.rest()
        for after in range(6):
            async with peer.listen(EventId(events.stream_id, after)) as again:
                messages = await again.rest()
                assert numbers(messages) == list(range(after + 1, 6))
                assert len(messages) == 6 - after


async def test_who_has_it_all_is_told_not_to_come_back():
    async with talking(Demo().server) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 5})) as events:
            await events.rest()
        for _ in range(2):
            response = await peer.send("GET", last_event_id=str(events.position))
            assert (response.status_code, response.content) == (204, b"")
            # RFC 9110, section 8.6.
            assert "content-length" not in response.headers
            assert "content-type" not in response.headers
        # The connection can be used again.
        assert "result" in await peer.ask(request("ping"))


async def test_the_same_rest_can_be_had_as_often_as_one_likes():
    async with talking(Demo().server) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 3})) as events:
            whole = await events.rest()
        for _ in range(3):
            async with peer.listen(EventId(events.stream_id, 0)) as again:
                assert await again.rest() == whole


async def refused(peer, last_event_id):
    response = await peer.send("GET", last_event_id=str(last_event_id))
    assert response.status_code == 400
    body = response.json()
    assert (body["id"], body["error"]["code"]) == (None, -32600)
    return body["error"]


@pytest.mark.parametrize(
    "last_event_id",
    [
        "",
        "1",
        "nonsense",
        "_GET_stream",
        str(StreamId.new()),
        f"{StreamId.new()}.",
        f"{StreamId.new()}.0",
        f"{StreamId.new()}.1",
        f"{StreamId.new()}.-1",
        f"{StreamId.new()}.1.1",
        f"{StreamId.new()}.{10**30}",
        "x" * 5000,
    ],
    ids=lambda value: value[36:50] or value[:10],
)
async def test_an_identifier_of_nothing(last_event_id):
    async with talking(Demo().server) as (_, peer):
        error = await refused(peer, last_event_id)
        assert error["data"] == {"outcome": "unknown"}
        assert "without Last-Event-ID" in error["message"]


async def test_an_event_that_has_not_happened_yet():
    demo = Demo()
    async with talking(demo.server) as (_, peer):
        demo.lines.send_nowait(1)
        async with peer.stream("POST", call("speak")) as events:
            await events.message()
            assert (await refused(peer, EventId(events.stream_id, 2)))["data"] == {"outcome": "unknown"}
            assert (await refused(peer, EventId(events.stream_id, 10**17)))["data"] == {"outcome": "unknown"}
            # Who asked in vain has not taken the stream over.
            demo.lines.close()
            assert text((await events.rest())[0]) == "spoken"


async def test_another_sessions_event_is_an_identifier_of_nothing():
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.listen() as listening:
        async with peer.stream("POST", call("count", {"n": 3})) as events:
            await events.rest()
        thief = peer.twin()
        del thief.headers["mcp-session-id"]
        await thief.initialize()
        unknown = await thief.send("GET", last_event_id=f"{StreamId.new()}.1")
        for position in (events.position, listening.position, EventId(events.stream_id, 0)):
            response = await thief.send("GET", last_event_id=str(position))
            assert (response.status_code, response.content) == (unknown.status_code, unknown.content)
            assert dict(response.headers).keys() == dict(unknown.headers).keys()


async def test_the_events_of_a_session_go_with_it():
    async with talking(Demo().server) as (served, peer):
        async with peer.stream("POST", call("count", {"n": 3})) as events:
            await events.rest()
        log = served.sessions.streams.log
        assert log.statistics().events == 4
        await peer.send("DELETE")
        assert (log.statistics().streams, log.statistics().bytes) == (0, 0)
        assert (await peer.send("GET", last_event_id=str(events.position))).status_code == 404


async def test_a_gap_is_named():
    demo = Demo()
    async with (
        talking(demo.server, log=MemoryEventLog(max_events=4)) as (_, peer),
        peer.stream("POST", call("speak")) as events,
    ):
        for number in range(1, 11):
            demo.lines.send_nowait(number)
            assert numbers([await events.message()]) == [number]
        error = await refused(peer, EventId(events.stream_id, 3))
        first = EventId(events.stream_id, 7)
        assert error["data"] == {"outcome": "gap", "first": str(first)}
        assert "events 4 to 6" in error["message"]
        # The oldest position from which nothing is missing.
        async with peer.listen(EventId(events.stream_id, 6)) as again:
            assert numbers([await again.message() for _ in range(4)]) == [7, 8, 9, 10]
        demo.lines.close()


@pytest.mark.parametrize("kept", [1, 2, 5])
async def test_more_is_said_at_once_than_is_kept(kept):
    async with talking(Demo().server, log=MemoryEventLog(max_events=kept)) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 50}, "caller")) as events:
            messages = await events.rest()
        position = events.last_id
        # A reader that fell behind can come back for what is left, and that ends with the answer.
        while not messages or "result" not in messages[-1]:
            async with peer.stream("GET", last_event_id=position) as events:
                if events.response.status_code == 200:
                    messages = await events.rest()
                    position = events.last_id
                else:
                    error = json.loads(await events.response.aread())["error"]
                    assert error["data"]["outcome"] == "gap"
                    first = EventId.parse(error["data"]["first"])
                    position = str(EventId(first.stream_id, first.seq - 1))
        assert text(messages[-1]) == "counted"


async def test_large_things_said_at_once():
    demo = Demo()

    async def shout(ctx: Context[Any, Any]) -> str:
        await ctx.session.send_notification(log_entry("x" * 60_000), related_request_id=ctx.request_id)
        return "y" * 20_000

    demo.server.add_tool(shout)
    # Room for each of them, and not for both.
    async with talking(demo.server, log=MemoryEventLog(max_stream_bytes=70_000)) as (_, peer):
        for _ in range(5):
            body = await peer.ask(call("shout", request_id="caller"))
            assert text(body) == "y" * 20_000


async def test_a_finished_stream_is_kept_for_the_resume_window():
    async with talking(Demo().server, log=MemoryEventLog(resume_window=0.3)) as (_, peer):
        async with peer.stream("POST", call("count", {"n": 1})) as events:
            await events.rest()
        assert (await peer.send("GET", last_event_id=str(events.position))).status_code == 204
        await trio.sleep(0.4)
        assert (await refused(peer, events.position))["data"] == {"outcome": "unknown"}


async def test_a_resume_is_answered_where_its_session_has_just_ended():
    async with talking(Demo().server) as (_, peer):
        async with peer.listen() as events:
            pass
        await peer.send("DELETE")
        response = await peer.send("GET", last_event_id=str(events.position))
        assert response.status_code == 404
        assert "new initialize" in response.json()["error"]["message"]


async def test_an_answer_that_was_sent_as_json_cannot_be_resumed():
    async with talking(Demo().server, sse_delay=20) as (served, peer), peer.listen() as events:
        assert "result" in (await peer.post(request("ping"))).json()
        (stream,) = served.sessions.streams.list_streams()
        assert stream.stream_id == events.stream_id
        assert served.sessions.streams.log.statistics().streams == 1
