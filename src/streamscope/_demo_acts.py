"""The acts of the demo in which all goes well: connecting, calling, listening."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import trio

from ._demo_checks import Claim
from ._demo_courier import Courier
from ._demo_server import SCORE
from ._demo_stage import MODERN, PATIENCE, Progress, Stage

IMPLICIT: Final = MODERN
"""The name of the session that nobody asks for: it holds the calls of 2026-07-28."""


async def connect(stage: Stage, stack: AsyncExitStack) -> None:
    """Connect the clients that stay: two with a session of their own, one that subscribes."""
    stage.board.begin("Two clients of 2025-11-25 and one of 2026-07-28 connect")
    async with stage.named("editor"):
        stage.editor = await stack.enter_async_context(stage.client("legacy", "editor"))
    await stage.linger(0.3)
    async with stage.named("agent"):
        stage.agent = await stack.enter_async_context(stage.client("legacy", "agent"))
    await stage.linger(0.3)
    async with stage.named(IMPLICIT):
        stage.dashboard = await stack.enter_async_context(stage.client(MODERN))
        stage.subscription = await stack.enter_async_context(
            stage.dashboard.listen(resource_subscriptions=[SCORE], tools_list_changed=True)
        )
    clients = {"editor": stage.editor, "agent": stage.agent, "dashboard": stage.dashboard}
    stage.board.expect(
        Claim.BOTH_ERAS,
        {name: client.protocol_version for name, client in clients.items()},
        {"editor": "2025-11-25", "agent": "2025-11-25", "dashboard": MODERN},
    )
    wanted = {"editor": ["get"], "agent": ["get"], IMPLICIT: ["listen"]}
    # A client of the SDK begins to listen in its own time, after the handshake.
    await stage.until(lambda: stage.kinds() == wanted)
    stage.board.expect(Claim.LISTED, stage.kinds(), wanted)
    await stage.linger(0.5)


async def call(stage: Stage) -> None:
    """Call a tool from each client at the same time."""
    stage.board.begin("All three call a tool that streams its progress")
    clients = {"editor": (stage.editor, 10), "agent": (stage.agent, 8), "dashboard": (stage.dashboard, 12)}
    told = {name: Progress() for name in clients}
    with trio.move_on_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for name, (client, n) in clients.items():
                arguments = {"n": n, "pause": stage.pause(0.1)}
                nursery.start_soon(client.call_tool, "count", arguments, None, told[name])
    stage.board.expect(
        Claim.PROGRESS,
        {name: progress.seen for name, progress in told.items()},
        {name: list(range(1, n + 1)) for name, (_, n) in clients.items()},
    )
    await stage.linger(0.3)


async def listen(stage: Stage) -> None:
    """Let the server say something that belongs to no request, in both eras."""
    stage.board.begin("The server has news: for one session, and for who has subscribed")
    await stage.editor.call_tool("announce")
    await stage.until(lambda: bool(stage.news["editor"]))
    heard_of = {name: list(methods) for name, methods in stage.news.items()}
    stage.board.expect(Claim.LISTENING, heard_of, {"editor": ["notifications/tools/list_changed"], "agent": []})
    await stage.linger(0.4)
    # Said by a client of one era, heard by one of the other. Of the two things that it says, nobody asked for one.
    await stage.agent.call_tool("publish")
    heard: list[str] = []
    with trio.move_on_after(PATIENCE):
        heard.append(str(await anext(stage.subscription)))
    stage.board.expect(Claim.SUBSCRIBED, heard, [f"ResourceUpdated(uri='{SCORE}')"])
    await stage.linger(0.4)


async def sleep(stage: Stage, stack: AsyncExitStack) -> None:
    """Open a session that does nothing; a later act looks what has become of it."""
    async with stage.named("sleeper"):
        stage.sleeper = await stack.enter_async_context(Courier(stage.url))
        await stage.sleeper.initialize()


async def look_after_sleeper(stage: Stage) -> None:
    """See that the session of which nobody wanted anything has ended."""
    stage.board.begin("A session that nothing holds")
    session_id = stage.sleeper.session_id
    await stage.until(lambda: stage.ended(session_id) is not None)
    stage.board.expect(Claim.IDLE, (str(stage.ended(session_id)), await stage.sleeper.ping()), ("idle", 404))
    await stage.linger(0.3)
