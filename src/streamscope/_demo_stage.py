"""What the acts of the demo share: the server, the clients that stay, and ways to wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import mcp
import mcp_types
import trio
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import Subscription

from ._changes import SessionClosed, StreamClosed
from ._demo_board import Board
from ._demo_courier import Courier
from ._demo_server import DemoServer
from ._ids import SessionId, StreamId
from ._metadata import SessionMetadata, StreamMetadata
from ._reasons import CloseReason

PATIENCE: Final = 20.0
"""Seconds that something may take which takes a moment."""
MODERN: Final = "2026-07-28"


@final
class Progress:
    """Collects the progress that a caller is told of."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Take note of it, as a client's callback."""
        self.seen.append(progress)
        await trio.lowlevel.checkpoint()

    def reached(self, number: float) -> Callable[[], bool]:
        """Return a condition: whether this number was reported."""
        return lambda: bool(self.seen) and self.seen[-1] >= number


@final
class Stage:
    """The server of the demo, and who is there.

    Args:
        board: What is shown.
        demo: The server.
        pace: How long to linger where only an onlooker needs it.
        stop: Stops the server.
    """

    def __init__(self, board: Board, demo: DemoServer, pace: float, stop: trio.Event) -> None:
        self.board = board
        self.sessions = board.sessions
        self.demo = demo
        self.stop = stop
        self._pace = pace
        self.editor: mcp.Client
        self.agent: mcp.Client
        self.dashboard: mcp.Client
        self.subscription: Subscription
        self.sleeper: Courier
        self.news: dict[str, list[str]] = {"editor": [], "agent": []}
        """The notifications that belong to no request, by who got them."""

    @property
    def url(self) -> str:
        """The endpoint."""
        return self.board.url

    async def linger(self, seconds: float) -> None:
        """Give an onlooker time to see."""
        await trio.sleep(seconds * self._pace)

    def pause(self, seconds: float) -> float:
        """Return how long a tool may take between two steps."""
        return max(0.03, seconds * self._pace)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; not for ever, since a check follows that says what is not."""
        with trio.move_on_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while not condition():  # noqa: ASYNC110 - it stands for whoever looks from outside, and polls
                await trio.sleep(0.01)

    # Clients

    def client(self, mode: str, name: str = "") -> mcp.Client:
        """Make a client of the SDK."""

        async def hear(message: IncomingMessage) -> None:
            # Progress belongs to a request, and has been given to its caller.
            if isinstance(message, mcp_types.ServerNotification) and message.method != "notifications/progress":
                self.news[name].append(message.method)
            await trio.lowlevel.checkpoint()

        return mcp.Client(self.url, mode=mode, message_handler=hear if name in self.news else None)

    @asynccontextmanager
    async def named(self, name: str) -> AsyncGenerator[list[SessionId]]:
        """Give a name to the session that is opened within the block, and tell its identifier after it."""
        known = {session.session_id for session in self.sessions.list_sessions()}
        opened: list[SessionId] = []
        yield opened
        opened += [session.session_id for session in self.sessions.list_sessions() if session.session_id not in known]
        self.board.names.update(dict.fromkeys(opened, name))

    def session_of(self, name: str) -> SessionId:
        """Return the session that a name was given to."""
        return next(session_id for session_id, given in self.board.names.items() if given == name)

    # What the server has

    def posts(self, session_id: SessionId) -> list[StreamMetadata]:
        """Return the streams of a session that serve requests."""
        streams = self.sessions.streams
        listed = [streams.get_metadata(stream_id) for stream_id in streams.get_session_streams(session_id)]
        return [stream for stream in listed if stream is not None and stream.kind == "post"]

    def kinds(self) -> dict[str, list[str]]:
        """Return the kinds of the open streams, by the name of their session."""
        found: dict[str, list[str]] = {name: [] for name in map(self._name, self.sessions.list_sessions())}
        for stream in self.sessions.streams.list_streams():
            found[self._name(stream)].append(stream.kind)
        return found

    def _name(self, listed: SessionMetadata | StreamMetadata) -> str:
        return self.board.names.get(listed.session_id, "nobody")

    def ended(self, identifier: SessionId | StreamId) -> CloseReason | None:
        """Return why a session or a stream has ended, as those who watch were told."""
        for change in self.board.changes:
            match change:
                case StreamClosed(stream, reason) if stream.stream_id == identifier:
                    return reason
                case SessionClosed(session, reason) if session.session_id == identifier:
                    return reason
                case _:
                    pass
        return None
