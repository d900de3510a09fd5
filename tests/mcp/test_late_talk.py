"""What handlers, and tasks that they leave behind, say when nobody can hear it any more."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import trio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

from streamscope import CloseReason
from tests.mcp.demo import Demo, log_entry
from tests.mcp.helpers import call, request, talking

PING = types.PingRequest()


class Talker(Demo):
    """A demo whose tools talk at the wrong moment."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.running = 0
        self.all_done = trio.Event()
        for tool in (self.chatter, self.last_words, self.wonder, self.doubt):
            self.server.add_tool(tool)

    async def ask_once(self, session: Any, metadata: Any = None, patience: float | None = None) -> None:
        try:
            await session.send_request(PING, types.EmptyResult, patience, metadata)
        except MCPError as exc:
            self.errors.append(exc.error.message)

    def leave_behind(self, talk: Any) -> None:
        """Leave a task behind."""
        self.running += 1

        async def run() -> None:
            await talk()
            self.running -= 1
            if not self.running:
                self.all_done.set()

        trio.lowlevel.spawn_system_task(run)

    async def chatter(self, ctx: Context[Any, Any]) -> str:
        """Leave tasks behind that talk on while the answer is sent."""
        session, request_id = ctx.session, ctx.request_id

        async def tell() -> None:
            for number in range(100):
                await session.send_notification(log_entry(number), related_request_id=request_id)

        def wait_and_ask(steps: int) -> Any:
            async def talk() -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await self.ask_once(session, ServerMessageMetadata(related_request_id=request_id))

            return talk

        self.leave_behind(tell)
        for steps in range(20):
            # Several, for which of two tasks is first is left to chance.
            for _ in range(5):
                self.leave_behind(wait_and_ask(steps))
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        return "chattered"

    async def last_words(self, ctx: Context[Any, Any]) -> str:
        self.started["last words"].set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, relative_deadline=5):
                await ctx.session.send_notification(log_entry("goodbye"), related_request_id=ctx.request_id)
                await ctx.session.send_notification(log_entry("to nobody"))
                await self.ask_once(ctx.session)
        return "never"

    async def wonder(self, ctx: Context[Any, Any]) -> str:
        """Leave a question behind that belongs to no request."""
        session = ctx.session
        self.leave_behind(lambda: self.ask_once(session))
        return "wondered"

    async def doubt(self, ctx: Context[Any, Any]) -> str:
        """Leave a question behind that loses its patience after the answer."""
        session, metadata = ctx.session, ServerMessageMetadata(related_request_id=ctx.request_id)
        self.leave_behind(lambda: self.ask_once(session, metadata, 0.05))
        await trio.sleep(0.01)
        return "doubted"


async def test_whoever_talks_while_the_answer_is_sent_does_not_come_after_it():
    talker = Talker()
    async with talking(talker.server) as (_, peer):
        async with peer.stream("POST", call("chatter")) as events:
            if events.response.headers["content-type"] == "text/event-stream":
                messages = await events.rest()
            else:
                messages = [await events.answer()]
        assert messages[-1]["result"]["content"][0]["text"] == "chattered"
        asked = sum(message.get("method") == "ping" for message in messages)
        await peer.send("DELETE")
        await talker.all_done.wait()
        # Those whose question came through were cut off by the end of the session; the others were told at once.
        assert len(talker.errors) == 100
        assert talker.errors.count("Connection closed") >= asked
        assert {error for error in talker.errors if "back-channel" not in error} == {"Connection closed"}


async def test_last_words_reach_who_waits_for_the_answer():
    talker = Talker()
    async with talking(talker.server) as (served, peer), peer.stream("POST", call("last_words")) as events:
        await talker.started["last words"].wait()
        served.sessions.get_session(peer.session_id).close(CloseReason.KILLED)
        entry, body = await events.rest()
        assert entry["params"]["data"] == "goodbye"
        assert body["error"]["data"] == {"reason": "killed"}
        assert talker.errors == ["Connection closed"]


async def test_a_question_that_is_given_up_after_the_answer_is_not_called_off():
    talker = Talker()
    async with talking(talker.server) as (_, peer):
        async with peer.stream("POST", call("doubt")) as events:
            question, body = await events.rest()
            assert question["method"] == "ping"
            assert body["result"]["content"][0]["text"] == "doubted"
        await talker.all_done.wait()
        assert ["timed out" in error for error in talker.errors] == [True]


async def test_a_question_that_belongs_to_no_request_ends_with_the_session():
    talker = Talker()
    async with talking(talker.server) as (_, peer):
        async with peer.listen() as listening:
            assert "result" in await peer.ask(call("wonder"))
            assert (await listening.message())["method"] == "ping"
            await peer.send("DELETE")
            assert await listening.rest() == []
        await talker.all_done.wait()
        assert talker.errors == ["Connection closed"]
        assert (await peer.post(request("ping"))).status_code == 404
