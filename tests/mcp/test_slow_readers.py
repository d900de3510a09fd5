"""A client that does not read: its own handler waits for it, for a while, and nobody else does."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import attrs
import httpx2
import pytest
import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from streamscope import (
    CloseReason,
    EventId,
    MemoryEventLog,
    ReaderDetached,
    SessionManager,
    StreamId,
    http,
    open_session_manager,
)
from streamscope.abc import EventLog
from streamscope.log import open_sqlite_log
from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.demo import Demo
from tests.mcp.helpers import Peer, Served, call, envelope, no_lifespan, peering, serving, until
from tests.mcp.sse import Parser
from tests.mcp.test_modern_listen import change, listening

SIZE = 40_000
"""Bytes of an event. Kernels keep some megabytes for a client that does not read."""

KEPT = 40


class Flood:
    """A server with a tool that has much to say."""

    def __init__(self) -> None:
        self.server = MCPServer("flood", log_level="WARNING")
        self.size = SIZE
        self.said = 0
        self.enough = trio.Event()
        self.server.add_tool(self.flood)
        self.server.add_tool(self.add)
        self.server.add_tool(self.change)

    async def flood(self, ctx: Context[Any, Any]) -> str:
        """Report progress until it is enough, and answer."""
        for number in count(1):
            if self.enough.is_set():
                break
            await ctx.report_progress(number, message="x" * self.size)
            self.said = number
        return "flooded"

    @staticmethod
    def add(a: int, b: int) -> int:
        return a + b

    @staticmethod
    async def change(n: int, ctx: Context[Any, Any]) -> str:
        """Say to the session's listener, and to subscribers, that there are other tools now."""
        for _ in range(n):
            await ctx.session.send_tool_list_changed()
            await ctx.notify_tools_changed()
        return "changed"


async def eventually(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the server, which tells nobody
            await trio.sleep(0.005)


@asynccontextmanager
async def open_log(kind: str, tmp_path) -> AsyncIterator[EventLog]:
    bounds = {"max_events": KEPT, "max_stream_bytes": 2 * KEPT * SIZE}
    if kind == "memory":
        yield MemoryEventLog(**bounds)
    else:
        async with open_sqlite_log(tmp_path / "log.db", **bounds) as log:
            yield log


@attrs.frozen
class Stage:
    flood: Flood
    served: Served
    peer: Peer
    log: EventLog

    @property
    def waited(self) -> int:
        return self.served.sessions.streams.statistics().waited_sends

    async def stall(self) -> None:
        """Wait until the tool has waited for some time."""
        said, since = -1, trio.current_time()

        def stands_still() -> bool:
            nonlocal said, since
            if self.flood.said != said:
                said, since = self.flood.said, trio.current_time()
            return self.waited > 0 and trio.current_time() > since + 0.1

        await eventually(stands_still)

    async def overtake(self) -> None:
        """Wait until the reader of the tool's stream has lost events."""
        streams = self.served.sessions.streams
        (stream_id,) = (stream.stream_id for stream in streams.list_streams() if stream.kind == "post")
        stream = streams.get_stream(stream_id)
        assert stream is not None
        session = self.served.sessions.get_session(stream.session_id)
        await eventually(lambda: session.get_readers(stream_id))
        (reader,) = session.get_readers(stream_id)
        await eventually(lambda: stream.log.first > reader.position.seq + KEPT)

    @property
    def streams(self) -> list[str]:
        return [stream.kind for stream in self.served.sessions.streams.list_streams()]


@pytest.fixture(params=["memory", "sqlite"])
def staging(request, tmp_path):
    @asynccontextmanager
    async def stage(**options: Any) -> AsyncIterator[Stage]:
        flood = Flood()
        async with (
            open_log(request.param, tmp_path) as log,
            serving(flood.server, log=log, **options) as served,
            peering(served.url) as peer,
        ):
            await peer.initialize()
            yield Stage(flood, served, peer, log)

    return stage


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["params"]["progress"] for message in messages if "method" in message]


async def test_its_handler_waits_and_goes_on_when_it_reads_again(staging):
    async with staging() as stage, stage.peer.stream("POST", call("flood")) as events:
        await stage.stall()
        said = stage.flood.said
        # Nobody else waits: not in this session, and not in another.
        for peer in (stage.peer.twin(), Peer(stage.peer.http, stage.peer.url)):
            if peer.headers.get("mcp-session-id") is None:
                await peer.initialize()
            body = await peer.ask(call("add", {"a": 1, "b": 2}, 2))
            assert body["result"]["structuredContent"] == {"result": 3}
        assert stage.flood.said == said
        assert stage.log.statistics().bytes <= 2 * KEPT * SIZE
        stage.flood.enough.set()
        messages = await events.rest()
    assert numbers(messages) == list(range(1, stage.flood.said + 1))
    assert messages[-1]["result"]["content"][0]["text"] == "flooded"


async def test_after_the_deadline_it_goes_on_and_the_client_is_told_of_the_gap(staging):
    async with staging(slow_reader_timeout=0.2) as stage, stage.served.sessions.watch() as changes:
        async with stage.peer.stream("POST", call("flood")) as events:
            await stage.overtake()
            # All that was on its way, and then the end.
            messages = await events.rest()
        assert numbers(messages) == list(range(1, len(messages) + 1))
        detached = await until(changes, ReaderDetached, events.stream_id)
        assert detached.reason is CloseReason.SLOW_READER
        stage.flood.enough.set()
        await eventually(lambda: "post" not in stage.streams)
        assert stage.waited
        assert stage.served.sessions.streams.statistics().slow_readers == 1

        response = await stage.peer.send("GET", last_event_id=str(events.position))
        data = response.json()["error"]["data"]
        assert (response.status_code, data["outcome"]) == (400, "gap")
        first = EventId.parse(data["first"])
        assert first.seq > len(messages) + 1
        async with stage.peer.listen(EventId(first.stream_id, first.seq - 1)) as again:
            rest = await again.rest()
        assert numbers(rest) == list(range(first.seq, stage.flood.said + 1))
        assert rest[-1]["result"]["content"][0]["text"] == "flooded"


async def test_with_no_time_to_wait_a_handler_never_does(staging):
    async with staging(slow_reader_timeout=0) as stage, stage.peer.stream("POST", call("flood")) as events:
        await stage.overtake()
        messages = await events.rest()
        assert numbers(messages) == list(range(1, len(messages) + 1))
        assert stage.waited == 0
        stage.flood.enough.set()


async def test_a_client_of_the_second_era_gets_its_answer_and_is_told_how_much_it_has_missed(staging):
    async with staging(slow_reader_timeout=0.2) as stage:
        message, headers = envelope("tools/call", {"name": "flood", "arguments": {}})
        async with stage.peer.stream("POST", message, mcp_session_id=None, **headers) as events:
            await stage.overtake()
            stage.flood.enough.set()
            messages = await events.rest()
        assert messages[-1]["result"]["content"][0]["text"] == "flooded"
        got = numbers(messages)
        missed = set(range(1, stage.flood.said + 1)) - set(got)
        # In one piece, or in several: it may be slow again.
        assert got == sorted(set(got))
        told = [int(comment.split()[0]) for comment in events.parser.comments if "dropped" in comment]
        assert sum(told) == len(missed) > 0
        statistics = stage.served.sessions.streams.statistics()
        assert (statistics.skipped_events, statistics.slow_readers) == (len(missed), 0)


async def test_a_client_that_goes_away_is_waited_for_no_longer(staging):
    async with staging(slow_reader_timeout=math.inf, reconnect_timeout=0.2) as stage:
        async with stage.peer.stream("POST", call("flood")):
            await stage.stall()
            said = stage.flood.said
        await eventually(lambda: stage.flood.said > said + 2 * KEPT)
        stage.flood.enough.set()
        await eventually(lambda: "post" not in stage.streams)


async def test_a_session_whose_handler_waits_can_be_ended(staging):
    async with staging(slow_reader_timeout=math.inf) as stage, stage.peer.stream("POST", call("flood")) as events:
        await stage.stall()
        with trio.fail_after(3):
            assert (await stage.peer.send("DELETE")).status_code == 200
        messages = await events.rest()
        assert messages[-1].get("error", {"data": {"reason": "terminated"}})["data"] == {"reason": "terminated"}


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_answer_waits_too_unless_its_request_is_cancelled(cancelled):
    server = MCPServer("brief", log_level="WARNING")
    begins, returns = trio.Event(), trio.Event()

    @server.tool()
    async def talk(ctx: Context[Any, Any]) -> str:
        await begins.wait()
        for number in (1, 2):
            await ctx.report_progress(number)
        returns.set()
        return "said"

    # The first is on its way, and the second is kept; so there is no room for the answer.
    log = MemoryEventLog(max_events=1)
    async with (
        open_session_manager(log=log) as sessions,
        StreamableHTTPEndpoint(server, sessions, sse_delay=0) as endpoint,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(endpoint)) as client,
        trio.open_nursery() as nursery,
    ):
        peer = Peer(client, "http://test/mcp")
        await peer.initialize()
        sent, gate = b"", trio.Event()

        async def send(message: Any) -> None:
            nonlocal sent
            sent += message.get("body", b"")
            if b'"progress":1' in sent:
                await gate.wait()

        bodies = [peer.build("POST", call("talk", request_id=7)).content]

        async def receive() -> dict[str, Any]:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            await trio.sleep_forever()
            raise AssertionError

        fields = {**peer.headers, "content-type": "application/json"}
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
        nursery.start_soon(endpoint, scope, receive, send)
        await eventually(lambda: sent)
        begins.set()
        await returns.wait()
        await trio.testing.wait_all_tasks_blocked()
        (stream_id,) = peer_streams(sessions)
        stream = sessions.streams.get_stream(stream_id)
        assert stream is not None
        assert stream.log.last == 2
        if cancelled:
            stream.cancel()
            await eventually(lambda: not peer_streams(sessions))
            assert stream.log.last == 3
        gate.set()
        await eventually(lambda: not peer_streams(sessions))
        if not cancelled:
            await eventually(lambda: b'"said"' in sent)
        nursery.cancel_scope.cancel()
    frames = [frame for frame in Parser().feed(sent) if frame.data]
    assert [json.loads(frame.data).get("params", {}).get("progress") for frame in frames] == (
        [1] if cancelled else [1, 2, None]
    )


def peer_streams(sessions: SessionManager) -> list[StreamId]:
    return [stream.stream_id for stream in sessions.streams.list_streams() if stream.kind == "post"]


async def test_the_http_server_cuts_who_reads_nothing_and_the_handler_goes_on():
    flood = Flood()
    endpoint = StreamableHTTPEndpoint(flood.server, slow_reader_timeout=math.inf, reconnect_timeout=0)
    limits = http.HTTPLimits(write_timeout=0.3)
    stop = trio.Event()
    async with endpoint, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        app = no_lifespan(endpoint)
        await nursery.start(partial(http.serve, app, listeners, limits=limits, stop=stop, grace=0.5))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        async with peering(url) as peer, endpoint.sessions.watch() as changes:
            await peer.initialize()
            async with peer.stream("POST", call("flood")):
                while (await until(changes, ReaderDetached)).reason is not CloseReason.DISCONNECTED:
                    pass
                said = flood.said
                await eventually(lambda: flood.said > said + 2000)
                flood.enough.set()
        stop.set()


# Listeners


async def test_a_client_that_is_cut_off_loses_nothing_if_it_is_quick():
    flood = Flood()
    # More than sockets hold, twice.
    flood.size, kept = 50_000, 500
    log = MemoryEventLog(max_events=kept, max_stream_bytes=2 * kept * flood.size)
    async with (
        serving(flood.server, log=log, slow_reader_timeout=math.inf, reconnect_timeout=math.inf) as served,
        peering(served.url) as peer,
    ):
        await peer.initialize()
        stage = Stage(flood, served, peer, log)
        async with peer.stream("POST", call("flood")) as events:
            await stage.stall()
            first = [await events.message() for _ in range(3)]
        # It goes on without a reader, but not for long.
        await stage.stall()
        async with peer.stream("GET", last_event_id=events.last_id) as again:
            assert again.response.status_code == 200
            flood.enough.set()
            messages = await again.rest()
    assert numbers(first + messages) == list(range(1, flood.said + 1))
    assert messages[-1]["result"]["content"][0]["text"] == "flooded"


async def test_nobody_waits_for_a_listener_and_it_hears_once_that_something_has_changed():
    flood = Flood()
    async with serving(flood.server, slow_reader_timeout=math.inf) as served, peering(served.url) as peer:
        await peer.initialize()
        # Nobody listens yet, so what is said waits.
        assert "result" in await peer.ask(call("change", {"n": 2000}))
        statistics = served.sessions.streams.statistics()
        assert (statistics.coalesced_events, statistics.waited_sends) == (1999, 0)
        async with peer.listen() as events:
            assert (await events.message())["method"] == "notifications/tools/list_changed"
            assert "result" in await peer.ask(call("change", {"n": 1}))
            # It has received that one, so this is news.
            assert (await events.message())["method"] == "notifications/tools/list_changed"
            assert events.position.seq == 2


async def test_a_subscriber_hears_once_that_something_has_changed():
    flood = Flood()
    async with serving(flood.server) as served, peering(served.url) as peer:
        async with listening(peer, toolsListChanged=True) as events:
            response = await peer.modern("tools/call", {"name": "change", "arguments": {"n": 500}})
            assert "result" in response.json()
            assert (await events.message())["method"] == "notifications/tools/list_changed"
            statistics = served.sessions.streams.statistics()
            assert statistics.sent_events < 500


async def test_a_subscriber_that_was_overtaken_is_cut_off_and_subscribes_again():
    uris = [f"test://{'x' * SIZE}/{number}" for number in range(5)]
    async with (
        serving(Demo().server, log=MemoryEventLog(max_events=3)) as served,
        served.sessions.watch() as changes,
        peering(served.url) as peer,
    ):
        async with listening(peer, resourceSubscriptions=uris) as events:
            (metadata,) = served.sessions.streams.list_streams()
            stream = served.sessions.streams.get_stream(metadata.stream_id)
            assert stream is not None
            (reader,) = served.sessions.get_session(stream.session_id).get_readers(stream.id)
            number = 0
            while stream.reason is None and stream.log.first <= reader.position.seq + 1:
                number += 1
                await change(peer, uris[number % 5])
            messages = await events.rest()
            # It ends without its result, as if it had been cut.
            assert {message["method"] for message in messages} == {"notifications/resources/updated"}
        detached = await until(changes, ReaderDetached, stream.id)
        assert detached.reason is CloseReason.SLOW_READER
        async with listening(peer, resourceSubscriptions=uris):
            pass
