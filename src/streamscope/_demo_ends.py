"""The acts of the demo in which something is ended, each time by somebody else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import trio
from mcp import MCPError

from ._demo_acts import IMPLICIT
from ._demo_checks import Claim
from ._demo_courier import Courier
from ._demo_stage import PATIENCE, Progress, Stage
from ._ids import EventId
from ._reasons import CloseReason

_CONNECTION_CLOSED = -32000


class _Failing:
    """Calls a tool that is going to be ended, and keeps the error that the caller gets."""

    def __init__(self, client: Any) -> None:
        self.told = Progress()
        self.error: tuple[int, Any] | None = None
        self._client = client

    async def __call__(self) -> None:
        try:
            await self._client.call_tool("work", progress_callback=self.told)
        except MCPError as exc:
            self.error = (exc.error.code, exc.error.data)


def _goodbye(reason: CloseReason) -> tuple[int, dict[str, str]]:
    return _CONNECTION_CLOSED, {"reason": str(reason)}


async def delete(stage: Stage) -> None:
    """Delete a session from outside while its tool runs."""
    stage.board.begin("A visitor's session is deleted while its tool runs")
    async with AsyncExitStack() as stack:
        async with stage.named("visitor") as opened:
            visitor = await stack.enter_async_context(stage.client("legacy"))
        call = _Failing(visitor)
        async with trio.open_nursery() as nursery, Courier(stage.url) as outsider:
            nursery.start_soon(call)
            await stage.until(call.told.reached(3))
            await stage.linger(0.4)
            before = stage.demo.cleaned_up
            status = await outsider.delete(opened[0])
            left = len(stage.sessions.streams.get_session_streams(opened[0]))
            after = {"status": status, "cleaned up": stage.demo.cleaned_up - before, "streams left": left}
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        stage.board.expect(Claim.DELETED, call.error, _goodbye(CloseReason.TERMINATED))
        stage.board.expect(Claim.CLEANED_UP, after, {"status": 200, "cleaned up": 1, "streams left": 0})
        await stage.linger(0.4)


async def close_response(stage: Stage) -> None:
    """Let a client of 2026-07-28 lose interest, which ends the call."""
    stage.board.begin("The dashboard loses interest in a call")
    told = Progress()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.dashboard.call_tool, "work", None, None, told)
        await stage.until(told.reached(3))
        stream_ids = [stream.stream_id for stream in stage.posts(stage.session_of(IMPLICIT))]
        nursery.cancel_scope.cancel()
    await stage.until(lambda: all(map(stage.ended, stream_ids)))
    stage.board.expect(Claim.CLOSED, [str(stage.ended(stream_id)) for stream_id in stream_ids], ["disconnected"])
    await stage.linger(0.4)


async def kill(stage: Stage) -> None:
    """End one stream by hand; its session, and the streams beside it, go on."""
    stage.board.begin("The operator kills one stream of the agent's")
    session_id = stage.session_of("agent")
    call, sibling, counted = _Failing(stage.agent), Progress(), 6
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        nursery.start_soon(call)
        await stage.until(call.told.reached(2))
        [victim] = stage.posts(session_id)
        arguments = {"n": counted, "pause": stage.pause(0.12)}
        nursery.start_soon(stage.agent.call_tool, "count", arguments, None, sibling)
        await stage.until(sibling.reached(2))
        stage.sessions.streams.cancel_stream(session_id, victim.stream_id)
    outcome = call.error, sibling.seen, stage.ended(session_id)
    stage.board.expect(Claim.KILLED, outcome, (_goodbye(CloseReason.KILLED), list(range(1, counted + 1)), None))
    await stage.linger(0.4)


async def lose_connection(stage: Stage) -> None:
    """Cut a connection in the middle of a streaming tool, and resume where it was cut."""
    stage.board.begin("A courier's connection is cut in the middle of a stream")
    n, cut = 26, 9
    async with Courier(stage.url) as courier, trio.open_nursery() as others:
        async with stage.named("courier"):
            await courier.initialize()
        session_id = courier.session_id
        for client in (stage.editor, stage.dashboard):
            others.start_soon(client.call_tool, "count", {"n": 22, "pause": stage.pause(0.1)}, None, Progress())
        async with courier.call("count", {"n": n, "pause": stage.pause(0.09)}) as events:
            received = [await anext(events) for _ in range(cut)]
        position = received[-1].event_id
        streams = stage.sessions.streams
        await stage.until(lambda: _sent(stage, position) >= cut + 6 or not streams.is_stream_active(position.stream_id))
        stage.board.expect(
            Claim.GOES_ON,
            {
                "open": streams.is_stream_active(position.stream_id),
                "readers": len(stage.sessions.get_session(session_id).get_readers(position.stream_id)),
                "went on": _sent(stage, position) > cut,
            },
            {"open": True, "readers": 0, "went on": True},
        )
        stage.board.take_picture()
        await stage.linger(0.6)
        stage.board.begin(f"It comes back, with event {position.seq} as the last that it has")
        with trio.move_on_after(PATIENCE):
            async with courier.resume(position) as events:
                received += [event async for event in events]
        numbers = [event.event_id.seq for event in received]
        told = [event.progress for event in received[:-1]]
        answer = received[-1].message.get("result", {}).get("structuredContent")
        stage.board.expect(
            Claim.RESUMED,
            (numbers, told, answer),
            (list(range(1, n + 2)), list(range(1, n + 1)), {"result": f"counted to {n}"}),
        )
    await stage.linger(0.3)


def _sent(stage: Stage, position: EventId) -> int:
    metadata = stage.sessions.streams.get_metadata(position.stream_id)
    return 0 if metadata is None else metadata.event_count


async def stop(stage: Stage) -> None:
    """Stop the server while a tool runs and a client subscribes."""
    stage.board.begin("The server is stopped while a tool runs")
    call = _Failing(stage.editor)
    heard: list[object] = []

    async def hear() -> None:
        # Ends without an exception only where the server has said that this is the end.
        heard.extend([event async for event in stage.subscription])
        heard.append("end")

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        nursery.start_soon(call)
        nursery.start_soon(hear)
        await stage.until(call.told.reached(3))
        await stage.linger(0.3)
        stage.stop.set()
    await stage.sessions.wait_closed()
    left = len(stage.sessions.list_sessions()) + len(stage.sessions.streams.list_streams())
    stage.board.expect(Claim.SHUTDOWN, (call.error, heard, left), (_goodbye(CloseReason.SHUTDOWN), ["end"], 0))
