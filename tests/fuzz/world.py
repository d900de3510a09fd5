"""The endpoint that is fuzzed, in virtual time, with sessions in it that were there before."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from trio.testing import MockClock

from streamscope import SessionId, SessionManager, StreamId, open_session_manager
from streamscope.mcp import LOOPBACK_ONLY, EndpointOptions, StreamableHTTPEndpoint
from streamscope.mcp._seam import AnyServer
from streamscope.mcp._serve import _at
from streamscope.testing import assert_no_leftovers
from tests.fuzz.checks import check, check_answers
from tests.fuzz.client import PATIENCE, Client
from tests.fuzz.server import low_level, server
from tests.fuzz.shots import Shot, plain
from tests.fuzz.sound import BASE, OTHER, SESSIONS, STREAMS, fields, in_session, post
from tests.mcp.helpers import HANDSHAKE, call, envelope, initialize, notification

LONG = 1_000.0
"""Seconds that nothing takes; those of virtual time cost nothing."""
GRACE = 30.0
"""Seconds that a listening stream waits for its client."""


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class World:
    """An endpoint that is running, and what its clients know."""

    def __init__(self, endpoint: StreamableHTTPEndpoint, sessions: SessionManager, nursery: trio.Nursery) -> None:
        self.sessions = sessions
        self.names = {name.encode(): str(StreamId.new()).encode() for name in (*SESSIONS, *STREAMS)}
        self._app = partial(_at, "/mcp", endpoint)
        self._nursery = nursery
        self._settled: list[str] = []
        self._listener: Client | None = None

    def client(self, shot: Shot) -> Client:
        mine = self.names[b"$mine"].decode()
        if streams := self.sessions.streams.get_session_streams(SessionId(mine)):
            self.names[b"$latest"] = str(streams[-1]).encode()
        return Client(self._app, shot, dict(self.names))

    async def get(self, shot: Shot) -> Client:
        """Make a request that is sound, and see it answered."""
        client = self.client(shot)
        await client.run()
        check(client)
        assert client.status in {200, 202}, bytes(client.body)
        return client

    # Before

    async def settle(self, shots: Sequence[Shot]) -> None:
        """Have the sessions that are there before: the one that is to survive, and those that are named."""
        named = [plain(value) for shot in shots for _, value in shot.headers]
        self._settled = ["$old", *(name for name in SESSIONS if any(name.encode() in value for value in named))]
        for name in self._settled:
            version, user = SESSIONS[name]
            opened = await self.get(post(initialize(version, roots={}), user=user))
            self.names[name.encode()] = opened.headers["mcp-session-id"].encode()
            await self.get(post(notification("notifications/initialized"), *in_session(name), user=user))
        if "$ended" in self._settled:
            await self.get(Shot(method="DELETE", headers=BASE + in_session("$ended")))
        for stream, session in (("$finished", "$mine"), ("$theirs", "$foreign")):
            if session in self._settled:
                asked = post(call("count", {"n": 2}), *in_session(session), user=SESSIONS[session][1])
                counted = await self.get(asked)
                if counted.can_resume:
                    self.names[stream.encode()] = counted.stream_id
        self._listener = await self._listen("$old")
        if "$mine" in self._settled:
            self.names[b"$listener"] = (await self._listen("$mine")).stream_id

    async def _listen(self, session: str) -> Client:
        listener = self.client(Shot(method="GET", headers=BASE + in_session(session), patience=LONG))
        self._nursery.start_soon(listener.run)
        await listener.until(b"\r\n\r\n")
        return listener

    # Then

    async def fire(self, shots: Sequence[Shot]) -> list[Client]:
        """Make the requests, each at its time, and check what came of each, and of all."""
        clients: list[Client] = []

        async def one(shot: Shot) -> None:
            await trio.sleep(shot.at)
            client = self.client(shot)
            clients.append(client)
            await client.run()
            check(client)
            self._check_secrets(client)

        async with trio.open_nursery() as nursery:
            for shot in shots:
                nursery.start_soon(one, shot)
        for client in clients:
            if client.shot.complete:
                await self._check_answers(client, shots)
        return clients

    def _check_secrets(self, client: Client) -> None:
        """Check that for nobody else there is another principal's session."""
        shot = client.shot
        if shot.user == OTHER:
            return
        for name in (b"$foreign", b"$theirs"):
            assert self.names[name] not in client.body
            assert self.names[name].decode() not in client.headers.values()
        handshake = shot.method == "DELETE" or (b"mcp-protocol-version", HANDSHAKE.encode()) in shot.headers
        if self._settled and handshake:
            # Where there are no sessions, as in 2026-07-28, nobody looks for any.
            named = [value for name, value in shot.headers if name.lower() == b"mcp-session-id"]
            assert named != [b"$foreign"] or client.status not in {200, 202, 204}

    async def _check_answers(self, client: Client, shots: Sequence[Shot]) -> None:
        """Check that each request was answered once; if need be by coming back for the answer."""
        if client.can_resume and not client.answers:
            # Another reader has taken over, or the tool had the connection closed.
            rest = self.client(client.resume())
            await rest.run()
            if rest.status == 404:
                assert any(shot.method == "DELETE" for shot in shots), bytes(rest.body)
                return
            assert rest.status == 200, bytes(rest.body)
            client.body += rest.body
        check_answers(client)

    # After

    async def check_survivors(self, shots: Sequence[Shot]) -> None:
        """Check that sessions that were there before go on as if nothing had been."""
        assert self._listener is not None
        text = f"whispered at {trio.current_time()}"
        await self.get(post(call("whisper", {"text": text}), *in_session("$old")))
        await self._listener.until(text.encode())
        deleted = any(shot.method == "DELETE" for shot in shots)
        for name in ["$old"] if deleted else self._settled:
            if name != "$ended":
                echoed = post(call("echo", {"value": name}), *in_session(name), user=SESSIONS[name][1])
                assert (await self.get(echoed)).says(name)

    async def check_modern(self) -> None:
        message, headers = envelope("tools/call", {"name": "echo", "arguments": {"value": "still"}})
        assert (await self.get(post(message, *fields(headers)))).says("still")

    def check_quiet(self) -> None:
        """Check that nothing is left but what was there, and one session for each who uses the modern era."""
        listeners = {self.names[b"$listener"].decode()}
        if self._listener is not None:
            listeners.add(self._listener.stream_id.decode())
        assert {str(stream.stream_id) for stream in self.sessions.streams.list_streams()} <= listeners
        known = {self.names[name.encode()].decode() for name in self._settled}
        others = [session for session in self.sessions.list_sessions() if str(session.session_id) not in known]
        assert len({session.principal for session in others}) == len(others)


@asynccontextmanager
async def open_world(served: AnyServer, options: EndpointOptions) -> AsyncIterator[World]:
    async with open_session_manager() as sessions, trio.open_nursery() as nursery:
        every: EndpointOptions = {"hosts": LOOPBACK_ONLY, "listen_grace": GRACE, **options}
        async with StreamableHTTPEndpoint(served, sessions, **every) as endpoint:
            yield World(endpoint, sessions, nursery)
    check_nothing_left(sessions)


def check_nothing_left(sessions: SessionManager) -> None:
    assert_no_leftovers(sessions)
    counted = sessions.statistics()
    assert counted.opened_sessions == sum(counted.closed_sessions.values())
    assert counted.streams.opened_streams == sum(counted.streams.closed_streams.values())
    kept = sessions.streams.log.statistics()
    assert (kept.streams, kept.events, kept.bytes) == (0, 0, 0)


def play(*shots: Shot, options: EndpointOptions | None = None, low: bool = False) -> list[Client]:
    """Make some requests in a world of their own, and check all that must hold whatever they are.

    Args:
        shots: The requests.
        options: The endpoint's options.
        low: Whether the server is a low-level one.
    """

    given: EndpointOptions = options or {}
    stateful = not low and "stateless" not in given

    async def main() -> list[Client]:
        with trio.fail_after(LONG):
            async with open_world(low_level if low else server, given) as world:
                if stateful:
                    await world.settle(shots)
                clients = await world.fire(shots)
                # Work goes on for clients that have left, and what they might come back to is kept for a while.
                await trio.sleep(PATIENCE + GRACE)
                world.check_quiet()
                if stateful:
                    await world.check_survivors(shots)
                await world.check_modern()
                world.check_quiet()
                return clients

    records = _Records()
    logger = logging.getLogger("streamscope")
    logger.addHandler(records)
    # Whoever is not told of it may have switched it off.
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        clients = trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logger.removeHandler(records)
        logger.setLevel(level)
    assert records.lines == []
    return clients
