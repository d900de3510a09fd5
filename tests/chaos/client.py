"""A client that loses its connections, comes back, and misses nothing."""

from __future__ import annotations

import itertools
import random
from typing import Any, final

import attrs
import httpx2
import trio

from streamscope import EventId
from tests.mcp.helpers import Events, Peer, call

PATIENCE = 30.0
"""Seconds without anything, while the server is there, after which something is lost."""


@attrs.define
class Tally:
    """What all clients have seen."""

    events: int = 0
    calls: int = 0
    resumes: int = 0
    races: int = 0
    cut: int = 0
    """Calls that the server's death has ended, and whose client was told."""
    gaps: int = 0
    sessions: int = 0


class WrongError(Exception):
    """An event was lost, doubled, reordered, or somebody else's."""


@attrs.define
class Progress:
    """How far a client has followed one stream."""

    label: str
    n: int
    seen: int = 0
    position: EventId | None = None
    over: bool = False

    def take(self, message: dict[str, Any]) -> bool:
        """Take an event, and tell whether it was a number."""
        if message.get("method") == "notifications/progress":
            params = message["params"]
            expected = (self.label, self.seen + 1)
            if (params["message"], params["progress"]) != expected:
                raise WrongError(f"expected {expected}, not {(params['message'], params['progress'])}")
            self.seen += 1
            return True
        if message.get("id") != self.label:
            raise WrongError(f"{self.label} got {message}")
        self.over = True
        if "error" in message:
            if message["error"]["data"] != {"reason": "restarted"}:
                raise WrongError(f"{self.label} failed: {message['error']}")
        elif self.seen != self.n:
            raise WrongError(f"{self.label} is said to be over after {self.seen} of {self.n}")
        return False


@final
class Client:
    """One client with one session, and several streams at once.

    Args:
        number: Which one it is.
        url: Where the server is.
        seed: Decides what it does.
        tally: What all have seen.
        up: Set while the server is there.
    """

    def __init__(self, number: int, url: str, seed: int, tally: Tally) -> None:
        self._number = number
        self._url = url
        self._random = random.Random(f"{seed}/{number}")
        self._tally = tally
        self._calls = itertools.count()
        self._known = False
        self.stopping = False

    async def run(self, streams: int) -> None:
        """Make calls until it is told to stop, and follow each of them to its end."""
        async with httpx2.AsyncClient(timeout=PATIENCE) as http:
            self._peer = Peer(http, self._url)
            await self._open()
            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(self._work, random.Random(self._random.random()))

    async def _open(self) -> None:
        while True:
            try:
                await self._peer.initialize()
            except (httpx2.TransportError, trio.EndOfChannel):
                await trio.sleep(0.05)
            else:
                self._tally.sessions += 1
                return

    async def _work(self, decide: random.Random) -> None:
        while not self.stopping:
            label = f"{self._number}.{next(self._calls)}"
            await self._follow(Progress(label, decide.choice([10, 300, 1000, 3000])), decide)
            self._tally.calls += 1

    async def _follow(self, progress: Progress, decide: random.Random) -> None:
        """Make one call, and come back for the rest of it as often as it takes."""
        while not progress.over:
            try:
                if progress.position is None:
                    # It is not known whether the server has heard of the call, so it gets another name.
                    progress.label += "'"
                    progress.seen = 0
                    await self._read(progress, decide, "POST")
                elif decide.random() < 0.1:
                    await self._race(progress, decide)
                else:
                    self._tally.resumes += 1
                    await self._read(progress, decide, "GET")
            except (httpx2.TransportError, trio.EndOfChannel):
                # Cut, by this side, by the other, or by its death.
                await trio.sleep(decide.uniform(0, 0.05))

    async def _race(self, progress: Progress, decide: random.Random) -> None:
        """Come back twice at once. The one that is later wins; what both get is the same."""
        self._tally.races += 1
        both = [attrs.evolve(progress), attrs.evolve(progress)]

        async def one(copy: Progress, choices: random.Random) -> None:
            try:
                await self._read(copy, choices, "GET")
            except (httpx2.TransportError, trio.EndOfChannel):
                pass

        async with trio.open_nursery() as nursery:
            for copy in both:
                nursery.start_soon(one, copy, random.Random(decide.random()))
        further = max(both, key=lambda copy: (copy.over, copy.seen))
        progress.seen, progress.position, progress.over = further.seen, further.position, further.over

    async def _read(self, progress: Progress, decide: random.Random, method: str) -> None:
        last = None if progress.position is None else str(progress.position)
        body = call("count", {"label": progress.label, "n": progress.n}, progress.label) if method == "POST" else None
        async with self._peer.stream(method, body, last_event_id=last) as events:
            status = events.response.status_code
            if status == 200:
                await self._receive(events, progress, decide)
            elif status == 204:
                raise WrongError(f"{progress.label} has no more events, but had no answer")
            else:
                await self._refused(status, await events.response.aread(), progress)

    async def _receive(self, events: Events, progress: Progress, decide: random.Random) -> None:
        left = decide.choice([1, 30, 500, 10_000])
        slow = decide.random() < 0.1
        while not progress.over and left:
            message = await events.message()
            if progress.take(message):
                self._tally.events += 1
            else:
                self._tally.cut += "error" in message
            progress.position = events.position
            left -= 1
            if slow and progress.seen % 50 == 0:
                await trio.sleep(0.02)

    async def _refused(self, status: int, body: bytes, progress: Progress) -> None:
        if status == 400 and b'"outcome":"gap"' in body.replace(b" ", b""):
            self._tally.gaps += 1
            progress.over = True
        elif status == 503:
            await trio.sleep(0.1)
        else:
            raise WrongError(f"{progress.label} was refused: {status} {body.decode()}")
