"""Processes that serve the stage, and clients that know nothing of who serves it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import httpx2
import trio

from tests.mcp.helpers import Events, Peer, bare_exceptions, call, envelope

ROOT: Final = Path(__file__).parents[2]


@attrs.define(eq=False)
class Process:
    """A server that runs, or is about to."""

    popen: subprocess.Popen[str]
    log: Path
    _url: str = ""

    @classmethod
    def start(cls, log: Path, *arguments: str) -> Process:
        command = [sys.executable, "-m", "tests.peers.server", *arguments]
        with log.open("w") as errors:
            return cls(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True), log)

    @property
    def url(self) -> str:
        """Where it serves, once it does."""
        if not self._url:
            assert self.popen.stdout is not None
            self._url = self.popen.stdout.readline().strip()
            assert self._url, self.log.read_text()
        return self._url

    def terminate(self) -> None:
        """Ask it to stop, as an operator does."""
        self.popen.terminate()

    def finish(self, patience: float) -> bool:
        """Wait until it has stopped, and tell whether it did so by itself."""
        try:
            self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return self.popen.wait() == 0


class Server:
    """A server as a test sees it, once it is up.

    Args:
        process: Its process.
        patience: Seconds after which the test has failed.
    """

    def __init__(self, process: Process, patience: float) -> None:
        self.process = process
        self.url = process.url
        self.patience = patience

    async def has_stopped(self) -> int:
        """Wait until it has, and return its exit status."""
        while (status := self.process.popen.poll()) is None:  # noqa: ASYNC110 - another process cannot set an event
            await trio.sleep(0.01)
        return status

    @asynccontextmanager
    async def clients(self, *users: str) -> AsyncIterator[list[Client]]:
        """Give clients that have no sessions yet, each with connections of its own.

        The time of a test is the time of this block. Where that is over, or a connection or a response ends
        before the test expects it, the test has failed.
        """
        limits = httpx2.Limits(max_connections=None)
        try:
            with bare_exceptions(), trio.fail_after(self.patience):
                async with httpx2.AsyncClient(timeout=None, trust_env=False, limits=limits) as http:
                    yield [Client(http, self.url, user) for user in users]
        except trio.TooSlowError as exc:
            raise AssertionError(f"not within {self.patience:g} s") from exc
        except trio.EndOfChannel as exc:
            raise AssertionError("a response ended too early") from exc
        except httpx2.TransportError as exc:
            raise AssertionError(f"a connection ended too early: {exc!r}") from exc

    @asynccontextmanager
    async def client(self, version: str = "2025-11-25") -> AsyncIterator[Client]:
        """Give a client that has its session."""
        async with self.clients("") as (client,):
            await client.initialize(version)
            yield client


class Client(Peer):
    """A client of whichever server it is."""

    def __init__(self, http: httpx2.AsyncClient, url: str, user: str = "") -> None:
        super().__init__(http, url)
        if user:
            self.headers["x-user"] = user

    def another(self) -> Client:
        """Return a client that has no session yet."""
        return Client(self.http, self.url)

    @property
    def session(self) -> str:
        return self.headers["mcp-session-id"]

    @asynccontextmanager
    async def calling(self, tool: str, request_id: Any = 1, **arguments: Any) -> AsyncIterator[Events]:
        """Call a tool and read what comes."""
        async with self.stream("POST", call(tool, arguments, request_id)) as events:
            assert events.response.status_code == 200
            yield events

    async def ask_tool(self, tool: str, **arguments: Any) -> str:
        """Call a tool and return what it returns."""
        return text(await self.ask(call(tool, arguments, "asked")))

    @asynccontextmanager
    async def listening(self, last_event_id: str | None = None) -> AsyncIterator[Events]:
        """Open a GET stream, or resume a stream."""
        async with self.stream("GET", last_event_id=last_event_id) as events:
            assert events.response.status_code == 200, events.response
            yield events

    async def remote(self, tool: str, **arguments: Any) -> Any:
        """Use the remote control: it needs no session, and holds none."""
        message, headers = envelope("tools/call", {"name": tool, "arguments": arguments})
        bare = {"mcp_session_id": None, "x_user": None}
        async with self.stream("POST", message, **headers, **bare) as events:
            body = await events.answer()
        return json.loads(text(body)) if tool.startswith(("has_", "count_")) else text(body)

    async def idles(self) -> None:
        """Wait for as long as an idle session lives."""
        idler = self.another()
        await idler.initialize()
        await idler.has_ended()

    async def has_ended(self) -> None:
        """Wait until the server has ended this client's session."""
        while await self.remote("has_session", session=self.session):  # noqa: ASYNC110 - another process cannot set an event
            await trio.sleep(0.05)


async def first_id(events: Events) -> str:
    """Return the first event id of a response."""
    while events.last_id is None:
        await events.frame()
    return events.last_id


def text(message: Any) -> str:
    """What a tool returned."""
    assert "result" in message, message
    result: str = message["result"]["content"][0]["text"]
    return result


def numbers(messages: list[Any]) -> list[int]:
    """The progress that was reported."""
    return [message["params"]["progress"] for message in messages if message.get("method") == "notifications/progress"]


def logged(messages: list[Any]) -> list[str]:
    """The messages that were logged."""
    return [message["params"]["data"] for message in messages if message.get("method") == "notifications/message"]


def refused(response: httpx2.Response, *statuses: int) -> Any:
    """Assert that a request was refused as it should be, and return the JSON-RPC error."""
    assert response.status_code in statuses, response
    error = response.json()["error"]
    assert isinstance(error["code"], int)
    assert error["message"]
    return error
