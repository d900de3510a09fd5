"""GET streams: what belongs to no request goes to exactly one of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from streamscope import CloseReason, EventId, ReaderDetached, StreamClosed, open_session_manager
from streamscope.mcp._listening import ListeningStreams
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, request, talking, until


def whisper(*texts):
    return call("whisper", {"texts": list(texts)})


def said(message):
    return message["params"]["data"]


async def test_a_listener_is_primed_and_then_hears():
    async with talking(Demo().server, retry=2) as (served, peer), peer.stream("GET") as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        primed = await events.frame()
        assert (primed.data, primed.retry, EventId.parse(primed.id).seq) == ("", 2000, 0)
        await peer.ask(whisper("one", "two"))
        assert [said(await events.message()) for _ in range(2)] == ["one", "two"]
        assert events.position == EventId(events.stream_id, 2)
        (stream,) = served.sessions.streams.list_streams()
        assert (stream.stream_id, stream.kind, stream.event_count) == (events.stream_id, "get", 2)
        assert stream.connection_info.startswith("127.0.0.1:")


async def test_what_was_said_before_the_first_listener_came_is_not_lost():
    async with talking(Demo().server) as (_, peer):
        await peer.ask(whisper("one"))
        await peer.ask(whisper("two"))
        async with peer.listen() as events:
            await peer.ask(whisper("three"))
            assert [said(await events.message()) for _ in range(3)] == ["one", "two", "three"]


async def test_what_was_said_at_once_before_the_first_listener_came_is_not_lost():
    async with talking(Demo().server) as (served, peer):
        async with trio.open_nursery() as nursery:
            for text in ("one", "two", "three"):
                nursery.start_soon(peer.ask, whisper(text))
        assert len(served.sessions.streams.list_streams()) == 1
        async with peer.listen() as events:
            assert {said(await events.message()) for _ in range(3)} == {"one", "two", "three"}


async def test_a_message_goes_to_the_newest_listener_only():
    async with talking(Demo().server) as (served, peer), AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(peer.listen()) for _ in range(3)]
        assert len({events.stream_id for events in listeners}) == 3
        await peer.ask(whisper("to the third"))
        assert said(await listeners[2].message()) == "to the third"
        counts = {stream.stream_id: stream.event_count for stream in served.sessions.streams.list_streams()}
        assert [counts[events.stream_id] for events in listeners] == [0, 0, 1]


async def test_when_the_newest_leaves_the_next_one_hears():
    async with talking(Demo().server) as (served, peer), served.sessions.watch() as changes, peer.listen() as first:
        async with peer.listen() as second:
            await peer.ask(whisper("second"))
            assert said(await second.message()) == "second"
        await until(changes, ReaderDetached, second.stream_id)
        await peer.ask(whisper("first"))
        assert said(await first.message()) == "first"


async def test_without_any_reader_messages_wait_for_the_newest_to_come_back():
    async with talking(Demo().server) as (served, peer), served.sessions.watch() as changes:
        async with peer.listen() as events:
            pass
        await until(changes, ReaderDetached, events.stream_id)
        await peer.ask(whisper("while away"))
        async with peer.listen(events.position) as again:
            assert said(await again.message()) == "while away"
            assert again.stream_id == events.stream_id


async def test_a_reader_that_does_not_come_back_is_not_waited_for_for_ever():
    async with talking(Demo().server, listen_grace=0.1) as (served, peer), served.sessions.watch() as changes:
        async with peer.listen() as events:
            # A reader holds it, however quiet it is.
            await trio.sleep(0.3)
            assert served.sessions.streams.is_stream_active(events.stream_id)
        change = await until(changes, StreamClosed)
        assert (change.stream.stream_id, change.reason) == (events.stream_id, CloseReason.IDLE)
        # Who comes back for it too late, or listens anew, gets a stream that lives.
        for position in (events.position, None):
            async with peer.listen(position) as anew:
                assert anew.stream_id != events.stream_id
                await peer.ask(whisper("anew"))
                assert said(await anew.message()) == "anew"


async def test_one_listener_too_many_ends_the_oldest():
    async with (
        talking(Demo().server, max_listeners=2) as (served, peer),
        served.sessions.watch() as changes,
        peer.listen() as first,
        peer.listen() as second,
        peer.listen() as third,
    ):
        assert await first.rest() == []
        change = await until(changes, StreamClosed)
        assert (change.stream.stream_id, change.reason) == (first.stream_id, CloseReason.SUPERSEDED)
        # Its client is told not to come back, or the three would take turns for ever.
        assert (await peer.send("GET", last_event_id=str(first.position))).status_code == 204
        await peer.ask(whisper("third"))
        assert said(await third.message()) == "third"
        open_streams = {stream.stream_id for stream in served.sessions.streams.list_streams()}
        assert open_streams == {second.stream_id, third.stream_id}


async def test_sessions_do_not_hear_each_other():
    async with talking(Demo().server) as (_, one):
        other = one.twin()
        del other.headers["mcp-session-id"]
        await other.initialize()
        async with one.listen() as ours, other.listen() as theirs:
            await one.ask(whisper("ours"))
            await other.ask(whisper("theirs"))
            assert said(await ours.message()) == "ours"
            assert said(await theirs.message()) == "theirs"


async def test_a_session_that_is_full_has_no_room_for_a_listener():
    async with talking(Demo().server, max_streams_per_session=1) as (_, peer), peer.listen():
        response = await peer.send("GET")
        assert response.status_code == 503
        assert response.headers["retry-after"].isdigit()
        assert "max_streams_per_session" in response.json()["error"]["message"]


async def test_a_message_that_finds_no_room_does_not_break_its_sender(caplog):
    # The only stream that the session may have is the call's own.
    async with talking(Demo().server, max_streams_per_session=1) as (_, peer):
        assert (await peer.ask(whisper("lost")))["result"]["content"][0]["text"] == "whispered"
        assert "dropped notifications/message: max_streams_per_session=1 is reached" in caplog.text
        caplog.clear()
        assert "no back-channel" in (await peer.ask(call("roots")))["error"]["message"]
        assert "result" in await peer.ask(request("ping"))


async def test_the_client_is_asked_for_events_only():
    async with talking(Demo().server) as (_, peer):
        response = await peer.send("GET", accept="application/json")
        assert response.status_code == 406
        assert (await peer.send("GET", accept="text/event-stream;q=0")).status_code == 406


# Where messages go


@pytest.fixture
async def listening():
    async with open_session_manager() as sessions:
        yield ListeningStreams(await sessions.start_session(), 300.0, 2)


async def test_two_messages_open_one_stream(listening):
    stream = listening.outlet()
    assert listening.outlet() is stream
    assert listening.claim(None) is stream


@pytest.mark.parametrize("first", ["claim", "outlet"])
async def test_a_message_and_its_listener_meet(listening, first):
    if first == "claim":
        claimed, outlet = listening.claim(None), listening.outlet()
    else:
        outlet, claimed = listening.outlet(), listening.claim(None)
    assert claimed is outlet


async def test_many_listeners_keep_the_limit(listening):
    streams = [listening.claim(None) for _ in range(5)]
    assert listening.streams == streams[-2:]
    # Those that were ended have not begun yet.
    await wait_all_tasks_blocked()
    assert listening.streams == streams[-2:]
    assert [stream.reason for stream in streams[:3]] == [CloseReason.SUPERSEDED] * 3
