"""Connections, byte by byte: framing, and clients that leave in every way there is."""

from __future__ import annotations

import json

import pytest
import trio

from streamscope import CloseReason, EventId, ReaderDetached
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, notification, request, talking, until
from tests.mcp.raw import Connection
from tests.mcp.sse import Parser


def chunks(body):
    """Decode the chunks of a body that has come whole."""
    decoded = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        decoded, rest = decoded + body[:length], body[length:]
        assert rest.startswith(b"\r\n")
        body = rest[2:]
        if not length:
            break
    assert not body
    return decoded


async def test_a_stream_of_events_on_the_wire():
    async with talking(Demo().server) as (_, peer), Connection.to(peer) as connection:
        await connection.post(call("count", {"n": 2}, 7))
        response = await connection.events()
        assert response.status == 200
        primed, first, second, last, nothing = response.body.split(b"\r\n\r\n")
        assert nothing == b""
        retry, event_id, data = primed.split(b"\r\n")
        assert (retry, data) == (b"retry: 1000", b"data: ")
        position = EventId.parse(event_id.removeprefix(b"id: ").decode())
        for number, block in enumerate([first, second, last], 1):
            event, event_id, data = block.split(b"\r\n")
            assert event == b"event: message"
            assert event_id == b"id: %s" % str(EventId(position.stream_id, number)).encode()
            assert json.loads(data.removeprefix(b"data: "))["jsonrpc"] == "2.0"


async def test_events_come_in_chunks_if_there_may_be_more():
    demo = Demo()
    async with talking(demo.server, sse_delay=0) as (_, peer), Connection.to(peer) as connection:
        await connection.post(call("wait", {"name": "x"}))
        head = await connection.response_head()
        assert (head.headers["content-type"], head.headers["transfer-encoding"]) == ("text/event-stream", "chunked")
        assert "content-length" not in head.headers
        demo.gates["x"].set()
        assert b'"result"' in await connection.read_until(b"\r\n0\r\n\r\n")
        await connection.post(request("ping"))
        whole = await connection.events()
        assert (whole.headers["content-type"], b'"result":{}' in whole.body) == ("text/event-stream", True)


async def test_line_ends_of_all_kinds_within_a_message():
    text = "a\rb\nc\r\nd\u2028e\u2029f\x85g\0h"
    async with talking(Demo().server) as (_, peer), Connection.to(peer) as connection:
        await connection.post(call("log", {"text": text}))
        parser = Parser()
        frames = parser.feed((await connection.events()).body)
        assert json.loads(frames[1].data)["params"]["data"] == text
        assert not parser.unknown


async def test_a_connection_is_used_again_after_every_kind_of_response():
    async with talking(Demo().server, sse_delay=20) as (_, peer), Connection.to(peer) as connection:
        for _ in range(2):
            await connection.post(request("ping"))
            assert (await connection.response()).json()["result"] == {}
            await connection.post(notification("n"))
            assert (await connection.response()).status == 202
            await connection.post({})
            assert (await connection.response()).status == 400
            await connection.post(call("count", {"n": 1}))
            assert (await connection.events()).status == 200
            await connection.send_head("GET", {"last-event-id": "nonsense"})
            assert (await connection.response()).status == 400


async def test_requests_may_be_sent_ahead():
    async with talking(Demo().server, sse_delay=20) as (_, peer), Connection.to(peer) as connection:
        for number in range(5):
            await connection.post(request("ping", request_id=number))
        assert [(await connection.response()).json()["id"] for _ in range(5)] == list(range(5))


async def test_a_client_that_wants_the_connection_closed():
    async with talking(Demo().server) as (_, peer), Connection.to(peer) as connection:
        await connection.post(request("ping"), {"connection": "close"})
        assert (await connection.response()).status == 200
        assert await connection.rest() == b""


async def test_a_body_in_pieces():
    async with talking(Demo().server, sse_delay=20) as (_, peer), Connection.to(peer) as connection:
        body = json.dumps(request("ping")).encode()
        await connection.send_head("POST", {"transfer-encoding": "chunked"})
        for byte in body:
            await connection.send(b"1\r\n%c\r\n" % byte)
        await connection.send(b"0\r\n\r\n")
        assert (await connection.response()).json()["result"] == {}


async def test_header_values_in_white_space():
    async with talking(Demo().server) as (_, peer), Connection.to(peer) as connection:
        padded = {name: f" \t{value} \t" for name, value in peer.headers.items()}
        await connection.post(request("ping"), {**padded, "content-type": "application/json \t"})
        assert (await connection.response()).status == 200


LEAVE = {
    "close": lambda connection: connection.stream.aclose(),
    "reset": lambda connection: connection.reset(),
    "half": lambda connection: connection.stream.send_eof(),
}


async def leave(connection, how):
    left = LEAVE[how](connection)
    if left is not None:
        await left


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_leaves_its_stream_loses_nothing(how):
    demo = Demo()
    async with talking(demo.server) as (served, peer), served.sessions.watch() as changes:
        demo.lines.send_nowait(1)
        async with Connection.to(peer) as connection:
            await connection.post(call("speak"))
            await connection.read_until(b'"progress":1')
            await leave(connection, how)
            detached = await until(changes, ReaderDetached)
            assert detached.reason is CloseReason.DISCONNECTED
            demo.lines.send_nowait(2)
            demo.lines.close()
        async with peer.listen(EventId(detached.position.stream_id, 1)) as again:
            step, body = await again.rest()
            assert step["params"]["progress"] == 2
            assert "result" in body


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_leaves_while_its_call_is_young(how):
    # Nothing has been answered yet, so the server learns of it only with its first try to answer.
    demo = Demo()
    async with talking(demo.server, sse_delay=20) as (served, peer), served.sessions.watch() as changes:
        async with Connection.to(peer) as connection:
            await connection.post(call("wait", {"name": "x"}))
            await demo.started["x"].wait()
            await leave(connection, how)
            demo.gates["x"].set()
            await demo.over["x"].wait()
        assert demo.ended["x"] == "returned"
        await until(changes, ReaderDetached)
        assert "result" in await peer.ask(request("ping"))
        assert served.sessions.streams.list_streams() == []


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("sent", [b"", b'{"jsonrpc"'])
async def test_a_client_that_leaves_before_its_request_is_complete(how, sent):
    async with talking(Demo().server) as (served, peer):
        async with Connection.to(peer) as connection:
            await connection.send_head("POST", {"content-length": "100"})
            await connection.send(sent)
            await leave(connection, how)
        assert "result" in await peer.ask(request("ping"))
        assert served.sessions.streams.list_streams() == []


async def test_a_reader_that_does_not_read_holds_nobody_up():
    line = "x" * 10_000
    total = 1500
    async with talking(Demo().server) as (_, peer), Connection.to(peer) as stuck:
        await stuck.send_head("GET", {})
        await stuck.response_head()
        await stuck.read_until(b"data: ")
        # More than the sockets hold, and more events than are kept.
        for _ in range(total // 50):
            with trio.fail_after(5):
                await peer.ask(call("whisper", {"texts": [line] * 50}))
        async with peer.stream("POST", call("count", {"n": 100})) as events:
            assert len(await events.rest()) == 101
        # When it reads on, it gets what is on its way, in order; then its response ends: it has fallen too far behind.
        parser = Parser()
        frames = parser.feed(b"data: " + chunks(b"4\r\n" + await stuck.read_until(b"\r\n0\r\n\r\n")))
        last = [EventId.parse(frame.id) for frame in frames if frame.id is not None]
        assert [position.seq for position in last] == list(range(1, len(last) + 1))
        assert 0 < len(last) < total
        # And when it comes back, it is told what it has missed.
        error = (await peer.send("GET", last_event_id=str(last[-1]))).json()["error"]
        assert error["data"] == {"outcome": "gap", "first": f"{last[-1].stream_id}.{total - 1024 + 1}"}
