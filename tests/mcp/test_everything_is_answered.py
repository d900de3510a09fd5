"""Many clients at once that call, drop, come back, cancel and delete: every request is answered, exactly once."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
import trio

from streamscope import StreamClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import Peer, answer, call, notification, peering, serving

CLIENTS = 8
ROUNDS = 4
CALLS = 6


class Actor:
    """A client that does what its dice say, and keeps count."""

    def __init__(self, demo: Demo, peer: Peer, dice: random.Random, name: str, outcomes: Counter[str]) -> None:
        self.demo = demo
        self.peer = peer
        self.dice = dice
        self.name = name
        self.outcomes = outcomes
        self.asked = 0
        self.deletes = False

    async def run(self) -> None:
        for _ in range(ROUNDS):
            self.peer.headers.pop("mcp-session-id", None)
            await self.peer.initialize(roots={})
            async with trio.open_nursery() as nursery:
                for _ in range(CALLS):
                    nursery.start_soon(self.one_call)
                if self.dice.random() < 0.5:
                    nursery.start_soon(self.listen)
                self.deletes = self.dice.random() < 0.4
                if self.deletes:
                    nursery.start_soon(self.delete)

    async def pause(self) -> None:
        for _ in range(self.dice.randrange(30)):
            await trio.lowlevel.checkpoint()

    async def listen(self) -> None:
        """Listen for a while."""
        async with self.peer.stream("GET") as events:
            assert events.response.status_code in {200, 404}
            await self.pause()

    async def delete(self) -> None:
        await self.pause()
        response = await self.peer.twin().send("DELETE")
        assert response.status_code in {200, 404}

    async def one_call(self) -> None:
        """Make one call, and see to it that there is one answer."""
        self.asked += 1
        # Some give every call the same identifier.
        request_id = 1 if self.dice.random() < 0.2 else f"{self.name}.{self.asked}"
        what = self.dice.choice(["add", "count", "wait", "cancel", "ask"])
        name = f"{self.name} {self.asked}"
        match what:
            case "add":
                message = call("add", {"a": 1, "b": 2}, request_id)
            case "count":
                message = call("count", {"n": self.dice.randrange(30)}, request_id)
            case "wait" | "cancel":
                message = call("wait", {"name": name}, request_id)
            case _:
                message = call("ask", {"timeout": 0.05}, request_id)
        await self.pause()
        async with trio.open_nursery() as nursery:
            if what == "wait":
                nursery.start_soon(self.open_gate, name)
            elif what == "cancel":
                nursery.start_soon(self.cancel, name, request_id)
            answers = await self.exchange(message)
            self.demo.started[name].set()
        assert all(body["id"] == request_id for body in answers)
        # Only with its session can an answer be gone.
        assert len(answers) == 1 or (self.deletes and not answers)
        self.outcomes[self.outcome(answers)] += 1

    def outcome(self, answers: list[dict]) -> str:
        if not answers:
            return "gone"
        error = answers[0].get("error")
        if error is None:
            return "result"
        if error["code"] == -32800:
            return "cancelled"
        assert error["code"] == -32000, error
        return error["data"]["reason"]

    async def open_gate(self, name: str) -> None:
        await self.demo.started[name].wait()
        await self.pause()
        self.demo.gates[name].set()

    async def cancel(self, name: str, request_id: object) -> None:
        await self.demo.started[name].wait()
        await self.pause()
        await self.peer.post(notification("notifications/cancelled", {"requestId": request_id}))
        # With an identifier that others use too, another one may have been cancelled.
        self.demo.gates[name].set()

    async def exchange(self, message: dict) -> list[dict]:
        """Post a request and read its stream to the end, over as many connections as it takes."""
        seen: set[str] = set()
        answers: list[dict] = []
        async with self.peer.stream("POST", message) as events:
            if events.response.status_code == 404:
                # It came after the end of its session, and so was not accepted.
                return []
            assert events.response.status_code == 200
            if events.response.headers["content-type"] == "application/json":
                return [await events.answer()]
            position, over = await self.read(events, seen, answers)
        while not over:
            await self.pause()
            async with self.peer.stream("GET", last_event_id=position) as events:
                if events.response.status_code in {404, 204}:
                    # Nothing is left to come, or its session has gone, and its events with it.
                    break
                assert events.response.status_code == 200, await events.response.aread()
                newer, over = await self.read(events, seen, answers)
                position = newer or position
        return answers

    async def read(self, events, seen: set[str], answers: list[dict]) -> tuple[str | None, bool]:
        """Read some frames, or all; tell the position, and whether that was the end."""
        patience = self.dice.choice([1, 2, 5, 100, 100])
        try:
            for _ in range(patience):
                frame = await events.frame()
                if frame.data:
                    assert frame.id not in seen
                    seen.add(frame.id)
                    await self.take(frame, answers)
        except trio.EndOfChannel:
            return events.last_id, bool(answers)
        return events.last_id, False

    async def take(self, frame, answers: list[dict]) -> None:
        message = json.loads(frame.data)
        if "method" not in message:
            answers.append(message)
        elif message["method"] == "roots/list" and self.dice.random() < 0.7:
            await self.peer.post(answer(message["id"], {"roots": []}))


@pytest.mark.parametrize("seed", range(3))
async def test_a_lively_day(seed):
    dice = random.Random(seed)
    demo = Demo()
    outcomes: Counter[str] = Counter()
    delay = dice.choice([0, 0.001, 0.1])
    async with serving(demo.server, sse_delay=delay, initialize_timeout=20) as served, peering(served.url) as peer:
        sessions = served.sessions
        async with sessions.watch(buffer=100_000) as changes:
            actors = [
                Actor(demo, peer.twin(), random.Random(dice.random()), f"client {number}", outcomes)
                for number in range(CLIENTS)
            ]
            async with trio.open_nursery() as nursery:
                for actor in actors:
                    nursery.start_soon(actor.run)
            assert outcomes.total() == CLIENTS * ROUNDS * CALLS
            assert (
                {"result", "cancelled", "terminated"}
                <= set(outcomes)
                <= {
                    "result",
                    "cancelled",
                    "terminated",
                    "gone",
                }
            )

            # What is left are open sessions, and listeners that may come back. Work is done, wherever its client went.
            for name in list(demo.started):
                demo.gates[name].set()
            while any(stream.kind != "get" for stream in sessions.streams.list_streams()):
                await changes.receive()
            open_sessions = sessions.list_sessions()
            assert len(open_sessions) + len(sessions.recently_closed()) == CLIENTS * ROUNDS
            for session in open_sessions:
                assert (await peer.send("DELETE", mcp_session_id=str(session.session_id))).status_code == 200

            assert sessions.list_sessions() == []
            assert sessions.streams.list_streams() == []
            kept = sessions.streams.log.statistics()
            assert (kept.streams, kept.events, kept.bytes) == (0, 0, 0)
            counted = sessions.statistics()
            assert counted.streams.opened_streams == sum(counted.streams.closed_streams.values())
            assert counted.opened_sessions == sum(counted.closed_sessions.values()) == CLIENTS * ROUNDS
            # No stream of a request has ended in silence.
            changes.finish()
            closed = [change.stream async for change in changes if isinstance(change, StreamClosed)]
            assert all(stream.event_count >= 1 for stream in closed if stream.kind == "post")
