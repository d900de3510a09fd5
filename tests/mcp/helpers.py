"""What the tests of the endpoint share: servers on real sockets, and a client that shows the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import attrs
import httpx2
import hypercorn.config
import hypercorn.trio
import trio

from streamscope import Change, EventId, SessionId, SessionManager, StreamId, http, open_session_manager
from streamscope._limits import LimitOptions
from streamscope.abc import EventLog
from streamscope.mcp import serve
from tests.mcp.sse import Frame, Parser

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds after which a test has failed. None waits that long when all is well."""

http_server = "streamscope"
"""What speaks HTTP in tests; ``--http-server`` says it."""

HANDSHAKE = "2025-11-25"
MODERN = "2026-07-28"
BOTH = "application/json, text/event-stream"


@attrs.frozen
class Served:
    """A server that is up."""

    url: str
    sessions: SessionManager
    stop: trio.Event


@contextmanager
def bare_exceptions() -> Iterator[None]:
    """Take a failed assertion out of the groups that nurseries have put around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        exc: BaseException = group
        while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            exc = exc.exceptions[0]
        raise exc from None


@asynccontextmanager
async def serving(server: Any, *, log: EventLog | None = None, **options: Any) -> AsyncIterator[Served]:
    """Serve an MCP server on a free port for the length of a block; then stop it cleanly."""
    options.setdefault("http_server", http_server)
    limits = {name: options.pop(name) for name in LimitOptions.__annotations__ if name in options}
    with trio.fail_after(PATIENCE), bare_exceptions():
        async with open_session_manager(log=log, **limits) as sessions, trio.open_nursery() as nursery:
            stop = trio.Event()
            start = partial(serve, server, sessions=sessions, port=0, stop=stop, handle_signals=False, **options)
            url = await nursery.start(start)
            try:
                yield Served(url, sessions, stop)
            finally:
                stop.set()


@asynccontextmanager
async def hosting(app: Any, *, on: str | None = None, root_path: str = "") -> AsyncIterator[str]:
    """Host any ASGI application on a free port for the length of a block; ``on`` is for what servers do differently."""
    stop = trio.Event()
    with trio.fail_after(PATIENCE), bare_exceptions():
        async with trio.open_nursery() as nursery:
            if (on or http_server) == "hypercorn":
                config = hypercorn.config.Config()
                config.root_path = root_path
                config.bind = ["127.0.0.1:0"]
                config.graceful_timeout = 0.5
                urls = await nursery.start(
                    partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait, mode="asgi")
                )
            else:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                await nursery.start(partial(http.serve, app, listeners, stop=stop, grace=0.5))
                urls = [f"http://127.0.0.1:{listener.socket.getsockname()[1]}" for listener in listeners]
            try:
                yield urls[0]
            finally:
                stop.set()


def no_lifespan(app: Any) -> Any:
    """Wrap an ASGI application that is run by the test, and not by its server."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    return wrapped


def request(method: str, params: Mapping[str, Any] | None = None, request_id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return message if params is None else {**message, "params": dict(params)}


def notification(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": dict(params)}


def answer(request_id: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "result": dict(result)}


def call(tool: str, arguments: Mapping[str, Any] | None = None, request_id: Any = 1) -> dict[str, Any]:
    # The token lets the tool report progress.
    params = {"name": tool, "arguments": dict(arguments or {}), "_meta": {"progressToken": request_id}}
    return request("tools/call", params, request_id)


def initialize(version: str = HANDSHAKE, **capabilities: Any) -> dict[str, Any]:
    info = {"name": "test", "version": "1"}
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
    return request("initialize", params, "init")


class Events:
    """A response that is streamed, frame by frame."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.parser = Parser()
        self._chunks = response.aiter_bytes()
        self._frames: list[Frame] = []
        self.last_id: str | None = None

    async def chunk(self) -> None:
        """Read what comes next, be it a frame, some of one, or a comment."""
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise trio.EndOfChannel from None
        self._frames += self.parser.feed(chunk)

    async def frame(self) -> Frame:
        """Return the next frame; raise `trio.EndOfChannel` where the response has ended."""
        while not self._frames:
            await self.chunk()
        frame = self._frames.pop(0)
        self.last_id = frame.id or self.last_id
        return frame

    async def message(self) -> dict[str, Any]:
        """Return the next JSON-RPC message, past what only primes."""
        while not (frame := await self.frame()).data:
            pass
        message: dict[str, Any] = json.loads(frame.data)
        return message

    async def rest(self) -> list[dict[str, Any]]:
        """Return all messages up to the end of the response."""
        messages = []
        try:
            while True:
                messages.append(await self.message())
        except trio.EndOfChannel:
            return messages

    async def answer(self) -> dict[str, Any]:
        """Return the answer, however it comes, past everything else."""
        if self.response.headers["content-type"] == "application/json":
            body: dict[str, Any] = json.loads(await self.response.aread())
            return body
        while "method" in (message := await self.message()):
            pass
        return message

    @property
    def position(self) -> EventId:
        """The last event that came."""
        assert self.last_id is not None
        return EventId.parse(self.last_id)

    @property
    def stream_id(self) -> StreamId:
        return self.position.stream_id


class Peer:
    """A client that leaves everything to the test."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.headers = {"accept": BOTH}

    @property
    def session_id(self) -> SessionId:
        return SessionId.parse(self.headers["mcp-session-id"])

    def twin(self) -> Peer:
        """Return a client of the same session."""
        twin = Peer(self.http, self.url)
        twin.headers = dict(self.headers)
        return twin

    def build(self, method: str, message: Any = None, **headers: str | None) -> httpx2.Request:
        fields = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        present = {name: value for name, value in fields.items() if value is not None}
        return self.http.build_request(method, self.url, json=message, headers=present)

    async def send(self, method: str, message: Any = None, **headers: str | None) -> httpx2.Response:
        return await self.http.send(self.build(method, message, **headers))

    async def post(self, message: Any, **headers: str | None) -> httpx2.Response:
        return await self.send("POST", message, **headers)

    async def ask(self, message: Mapping[str, Any], **headers: str | None) -> dict[str, Any]:
        """Post a request and return its answer, however it comes, past everything else."""
        async with self.stream("POST", message, **headers) as events:
            return await events.answer()

    @asynccontextmanager
    async def stream(self, method: str, message: Any = None, **headers: str | None) -> AsyncIterator[Events]:
        """Make a request and read its response as it comes; leaving early cuts the connection."""
        response = await self.http.send(self.build(method, message, **headers), stream=True)
        try:
            yield Events(response)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=1):
                await response.aclose()

    @asynccontextmanager
    async def listen(self, last_event_id: object = None) -> AsyncIterator[Events]:
        """Open a GET stream, or resume one; it is there when this returns."""
        resume = {} if last_event_id is None else {"last_event_id": str(last_event_id)}
        async with self.stream("GET", **resume) as events:
            assert events.response.status_code == 200, await events.response.aread()
            assert not (await events.frame()).data
            yield events

    async def initialize(self, version: str = HANDSHAKE, **capabilities: Any) -> dict[str, Any]:
        """Open a session."""
        async with self.stream("POST", initialize(version, **capabilities)) as events:
            self.headers["mcp-session-id"] = events.response.headers["mcp-session-id"]
            body = await events.answer()
        self.headers["mcp-protocol-version"] = version
        assert (await self.post(notification("notifications/initialized"))).status_code == 202
        result: dict[str, Any] = body["result"]
        return result

    async def modern(self, method: str, params: Mapping[str, Any] | None = None, request_id: Any = 1) -> Any:
        """Post a 2026-07-28 request and return the response."""
        message, headers = envelope(method, params, request_id)
        return await self.post(message, **headers)


def envelope(
    method: str, params: Mapping[str, Any] | None = None, request_id: Any = 1, version: str = MODERN
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a 2026-07-28 request and its headers."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": request_id,
    }
    filled = {**(params or {}), "_meta": {**meta, **(params or {}).get("_meta", {})}}
    headers = {"mcp_protocol_version": version, "mcp_method": method}
    if (name := filled.get("name") or filled.get("uri")) is not None:
        headers["mcp_name"] = name
    return request(method, filled, request_id), headers


async def until(changes: trio.abc.ReceiveChannel[Change], kind: type[T], stream_id: StreamId | None = None) -> T:
    """Wait for the next change of a kind; of that stream, where one is given."""
    async for change in changes:
        if isinstance(change, kind) and stream_id in {
            None,
            getattr(getattr(change, "position", None), "stream_id", None),
        }:
            return change
    raise trio.EndOfChannel


@asynccontextmanager
async def peering(url: str) -> AsyncIterator[Peer]:
    """Give a client that has no session yet."""
    async with httpx2.AsyncClient(timeout=None, verify=False) as http:
        yield Peer(http, url)


@asynccontextmanager
async def talking(server: Any, **options: Any) -> AsyncIterator[tuple[Served, Peer]]:
    """Serve, with one client that has its session."""
    async with serving(server, **options) as served, peering(served.url) as peer:
        await peer.initialize()
        yield served, peer
