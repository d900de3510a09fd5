"""The sessions of one endpoint: those that clients open, and those that they never see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs
import trio
from mcp.server import Server

from .._errors import ManagerClosedError, SessionClosedError, UnknownSessionError
from .._ids import SessionId
from .._manager import SessionManager
from .._reasons import CloseReason
from .._session import Session
from .._stream import Stream
from ._listening import ListeningStreams
from ._options import Options
from ._seam import Conversation, Exchange
from ._wire import SESSION_HEADER, Headers, RefusedError, session_not_found


@final
@attrs.frozen(eq=False)
class Guest:
    """A handshake-era client: its session, what the SDK makes of it, and where it listens."""

    session: Session
    conversation: Conversation
    listening: ListeningStreams

    async def start(self, exchanges: Sequence[Exchange], connection_info: str | None, abandon_after: float) -> Stream:
        """Start to handle the requests of one POST, on a stream of their own.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        return await self.session.start_stream(
            self.conversation.handle_requests,
            exchanges,
            kind="post",
            connection_info=connection_info,
            abandon_after=abandon_after,
        )


@final
class House:
    """Opens and finds the sessions of an endpoint that is running.

    Args:
        server: The server.
        state: What the server's lifespan gave.
        sessions: The session manager.
        options: The endpoint's options.
    """

    def __init__(self, server: Server[Any], state: Any, sessions: SessionManager, options: Options) -> None:
        self.server = server
        self.state = state
        self.sessions = sessions
        self._options = options
        self._guests: dict[SessionId, Guest] = {}
        self._implicit: dict[str | None, Session] = {}

    async def close(self) -> None:
        """End the sessions, and wait for them, shielded, for at most ``drain_timeout`` seconds."""
        sessions = [*(guest.session for guest in self._guests.values()), *self._implicit.values()]
        for session in sessions:
            session.close(CloseReason.SHUTDOWN)
        timeout = self.sessions.limits.drain_timeout
        with trio.CancelScope(shield=True, relative_deadline=timeout):  # noqa: ASYNC912 - nothing to wait for, no wait
            for session in sessions:
                await session.wait_closed()

    async def welcome(self, principal: str | None, connection_info: str | None) -> Guest:
        """Open the session of a client that sends ``initialize``.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The server is stopping.
            SessionClosedError: It has ended already.
        """
        session = await self.sessions.start_session(self._serve, principal=principal, connection_info=connection_info)
        guest = self._guests.get(session.id)
        if guest is None:
            raise SessionClosedError(session.id, session.reason or CloseReason.COMPLETED)
        return guest

    async def _serve(self, session: Session) -> None:
        listening = ListeningStreams(session, self._options.listen_grace, self._options.max_listeners)
        conversation = Conversation(self.server, self.state, session, listening)
        self._guests[session.id] = Guest(session, conversation, listening)
        try:
            await conversation.serve()
        finally:
            del self._guests[session.id]

    def find(self, headers: Headers, principal: str | None) -> Guest:
        """Find the session that a request names.

        Raises:
            RefusedError: 400 where it names none; 404 where there is no such session, or none of
                this principal's, and nothing tells which ("Session Management").
            ManagerClosedError: The server is stopping.
        """
        name = headers.get(SESSION_HEADER)
        if name is None:
            raise RefusedError(400, "Bad request: no Mcp-Session-Id; send an initialize request first")
        try:
            session = self.sessions.get_session(SessionId.parse(name), principal=principal)
            guest = self._guests[session.id]
        except (ValueError, UnknownSessionError, SessionClosedError, KeyError):
            if self.sessions.reason is not None:
                # A new session is not to be had here either.
                raise ManagerClosedError from None
            raise session_not_found() from None
        return guest

    async def implicit(self, principal: str | None) -> Session:
        """Return the session that holds a principal's 2026-07-28 streams, which clients never see.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The server is stopping.
        """
        session = self._implicit_now(principal)
        if session is not None:
            return session
        started = await self.sessions.start_session(self._shelter, principal=principal)
        # Another request may have been quicker.
        session = self._implicit_now(principal)
        if session is None:
            session = self._implicit[principal] = started
        else:
            started.close(CloseReason.SUPERSEDED)
        return session

    def _implicit_now(self, principal: str | None) -> Session | None:
        session = self._implicit.get(principal)
        return session if session is not None and session.reason is None else None

    async def _shelter(self, session: Session) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if self._implicit.get(session.principal) is session:
                del self._implicit[session.principal]
