"""Whatever ends at whatever moment: each HTTP request has one whole response, and nothing is left over."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio

from streamscope import CloseReason, SessionClosedError, UnknownSessionError, open_session_manager
from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.demo import Demo
from tests.mcp.helpers import BOTH, PATIENCE, answer, bare_exceptions, call, envelope, initialize, notification, request

STEPS = 25
SERVER = Demo().server


@attrs.define
class Exchange:
    """One HTTP request, as an ASGI server would bring it: no sockets, so that each step is the scheduler's."""

    method: str
    message: Any = None
    headers: dict[str, str] = attrs.Factory(dict)
    gone: trio.Event = attrs.Factory(trio.Event)
    sent: list[dict[str, Any]] = attrs.Factory(list)
    received: bool = False

    async def run(self, app: Any) -> None:
        fields = {"accept": BOTH, "content-type": "application/json", **self.headers}
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        await app({"type": "http", "method": self.method, "headers": raw, "path": "/"}, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self.received:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self.received = True
        return {"type": "http.request", "body": b"" if self.message is None else json.dumps(self.message).encode()}

    async def send(self, message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    def check(self) -> int:
        """Check that the response is one, and whole; return its status."""
        kinds = [message["type"] for message in self.sent]
        assert kinds == ["http.response.start"] + ["http.response.body"] * (len(kinds) - 1)
        assert [message["more_body"] for message in self.sent[1:]] == [True] * (len(kinds) - 2) + [False]
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def session_id(self) -> str:
        return dict(self.sent[0]["headers"])[b"mcp-session-id"].decode()


@asynccontextmanager
async def running(**options):
    """Run an endpoint without a server, with one session open."""
    with trio.fail_after(PATIENCE), bare_exceptions():
        async with open_session_manager() as sessions, StreamableHTTPEndpoint(SERVER, sessions, **options) as app:
            opening = Exchange("POST", initialize())
            await opening.run(app)
            yield app, sessions, {"mcp_session_id": opening.session_id}


async def steps(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


def make(what: str, session: dict[str, str]) -> Exchange:
    # No tool that runs in a thread, which would take as long as it likes.
    message, headers = envelope("tools/call", {"name": "log", "arguments": {"text": "x"}})
    listening, listen_headers = envelope("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    return {
        "initialize": Exchange("POST", initialize()),
        "call": Exchange("POST", call("whisper", {"texts": []}), session),
        "count": Exchange("POST", call("count", {"n": 5}), session),
        "notification": Exchange("POST", notification("notifications/roots/list_changed"), session),
        "answer": Exchange("POST", answer(1, {}), session),
        "get": Exchange("GET", None, session),
        "delete": Exchange("DELETE", None, session),
        "modern": Exchange("POST", message, headers),
        "listen": Exchange("POST", listening, listen_headers),
    }[what]


async def test_the_answer_comes_with_the_end():
    async with running(sse_delay=0) as (app, _, session):
        exchange = make("count", session)
        await exchange.run(app)
        assert len(exchange.sent) > 2
        assert b"counted" in exchange.sent[-1]["body"]
        assert exchange.check() == 200


@attrs.define
class Sudden(Exchange):
    """A server that delivers the disconnect within the last send, as Hypercorn does."""

    async def send(self, message: dict[str, Any]) -> None:
        if not message.get("more_body", True):
            self.gone.set()
            await steps(5)
        await super().send(message)


async def test_the_last_send_is_not_cancelled():
    async with running(sse_delay=0) as (app, _, session):
        exchange = Sudden("POST", call("count", {"n": 5}), session)
        await exchange.run(app)
        assert exchange.check() == 200


KINDS = ["initialize", "call", "count", "notification", "answer", "get", "delete", "modern", "listen"]


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("delay", [0, 20])
async def test_the_server_stops_at_any_step(what, delay):
    for step in range(STEPS):
        async with running(sse_delay=delay) as (app, sessions, session), trio.open_nursery() as nursery:
            exchange = make(what, session)
            nursery.start_soon(exchange.run, app)
            await steps(step)
            sessions.close(CloseReason.SHUTDOWN)
            await sessions.wait_closed()
        assert exchange.check() in {200, 202, 204, 404, 503}, step
        assert sessions.streams.list_streams() == []


@pytest.mark.parametrize("what", [kind for kind in KINDS if kind != "initialize"])
@pytest.mark.parametrize("delay", [0, 20])
async def test_all_sessions_end_at_any_step(what, delay):
    for step in range(STEPS):
        async with running(sse_delay=delay) as (app, sessions, session), trio.open_nursery() as nursery:
            exchange = make(what, session)
            nursery.start_soon(exchange.run, app)
            await steps(step)
            for listed in sessions.list_sessions():
                with suppress(UnknownSessionError, SessionClosedError):
                    sessions.get_session(listed.session_id).close(CloseReason.KILLED)
            await steps(STEPS)
            if what in {"modern", "listen"}:
                # Who does not know of the session is not told of its end; a subscription may go on in a new one.
                assert exchange.sent[0]["status"] == 200
            if what != "listen" or not sessions.streams.list_streams():
                assert exchange.check() in {200, 202, 404}, step
            exchange.gone.set()


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("delay", [0, 20])
async def test_the_client_goes_away_at_any_step(what, delay):
    for step in range(STEPS):
        async with running(sse_delay=delay) as (app, sessions, session), trio.open_nursery() as nursery:
            exchange = make(what, session)
            nursery.start_soon(exchange.run, app)
            await steps(step)
            exchange.gone.set()
            await steps(STEPS)
            # What belongs to a session is still there to be resumed; nothing of the others runs on.
            assert {stream.kind for stream in sessions.streams.list_streams()} <= {"get"}
            pinging = Exchange("POST", request("ping"), session)
            await pinging.run(app)
            assert pinging.check() == (404 if what == "delete" else 200)


@pytest.mark.parametrize("what", KINDS)
async def test_the_request_is_cancelled_at_any_step(what):
    for step in range(STEPS):
        async with running(sse_delay=0) as (app, sessions, session), trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:
                inner.start_soon(make(what, session).run, app)
                await steps(step)
                # As a server does that closes its connections.
                inner.cancel_scope.cancel()
            await steps(STEPS)
            assert {stream.kind for stream in sessions.streams.list_streams()} <= {"get"}
            nursery.cancel_scope.cancel()


# Two at once


async def both(app, first: Exchange, second: Exchange, step: int) -> None:
    """Run two requests, the second so many steps after the first."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, app)
        await steps(step)
        nursery.start_soon(second.run, app)


async def test_two_that_come_back_for_the_end_of_a_stream():
    # At step 0, either may be the older one. Within a step, which task runs first is left to chance.
    for step in [*range(1, 6)] * 10:
        async with running(sse_delay=0) as (app, _, session):
            asked = Exchange("POST", call("count", {"n": 3}), session)
            await asked.run(app)
            stream_id = asked.body.partition(b"id: ")[2].partition(b".")[0].decode()
            one, other = (Exchange("GET", None, {**session, "last_event_id": f"{stream_id}.1"}) for _ in range(2))
            await both(app, one, other, step)
            assert one.check() == other.check() == 200
            # The older one may have been taken over from before it had anything.
            assert [b"counted" in exchange.body for exchange in (one, other)] in ([True, True], [False, True])


async def test_the_first_two_requests_of_a_principal():
    for step in range(STEPS):
        async with running() as (app, sessions, session):
            one, other = make("modern", session), make("modern", session)
            await both(app, one, other, step)
            assert one.check() == other.check() == 200
            assert b'"result"' in one.body
            assert b'"result"' in other.body
            # That of the first session, and one that both share.
            await steps(STEPS)
            assert len(sessions.list_sessions()) == 2


@pytest.mark.parametrize("reason", [CloseReason.SHUTDOWN, CloseReason.KILLED])
async def test_a_session_that_ends_as_soon_as_it_was_opened(reason):
    statuses = set()
    # In which order tasks run within a step is left to chance.
    for step in [*range(10)] * 10:
        async with running() as (app, sessions, _), trio.open_nursery() as nursery:
            before = {session.session_id for session in sessions.list_sessions()}
            exchange = make("initialize", {})
            nursery.start_soon(exchange.run, app)
            await steps(step)
            if reason is CloseReason.SHUTDOWN:
                sessions.close()
            else:
                for listed in sessions.list_sessions():
                    if listed.session_id not in before:
                        sessions.get_session(listed.session_id).close(reason)
            await steps(STEPS)
        statuses.add(exchange.check())
    assert 200 in statuses
    assert statuses <= {200, 503 if reason is CloseReason.SHUTDOWN else 404}
