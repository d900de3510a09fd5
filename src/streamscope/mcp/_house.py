"""The sessions of one endpoint: those that clients open, and those that they never see."""

from __future__ import annotations

from typing import Any, Final, final

import attrs
from mcp.server import Server

from .._errors import UnknownSessionError
from .._ids import SessionId
from .._manager import SessionManager
from .._session import Session
from ._listening import ListeningStreams
from ._seam import Conversation
from ._wire import SESSION_HEADER, Headers, RefusedError

RETRY_AFTER: Final = {"retry-after": "5"}


@final
@attrs.frozen(eq=False)
class Guest:
    """A handshake-era client: its session, what the SDK makes of it, and where it listens."""

    session: Session
    conversation: Conversation
    listening: ListeningStreams


@final
class House:
    """Opens and finds the sessions of an endpoint that is running.

    Args:
        server: The server.
        state: What the server's lifespan gave.
        sessions: The session manager.
        listen_grace: Seconds that a listening stream waits for a reader.
        max_listeners: GET streams that one session may hold.
    """

    def __init__(
        self, server: Server[Any], state: Any, sessions: SessionManager, *, listen_grace: float, max_listeners: int
    ) -> None:
        self.server = server
        self.state = state
        self.sessions = sessions
        self._listen_grace = listen_grace
        self._max_listeners = max_listeners
        self._guests: dict[SessionId, Guest] = {}
        self._implicit: dict[str | None, Session] = {}

    async def welcome(self, principal: str | None, connection_info: str | None) -> Guest:
        """Open the session of a client that sends ``initialize``.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The server is stopping.
        """
        session = await self.sessions.start_session(self._serve, principal=principal, connection_info=connection_info)
        return self._guests[session.id]

    async def _serve(self, session: Session) -> None:
        listening = ListeningStreams(session, self._listen_grace, self._max_listeners)
        conversation = Conversation(self.server, self.state, session, listening.outlet)
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
        """
        name = headers.get(SESSION_HEADER)
        if name is None:
            raise RefusedError(400, "Bad request: no Mcp-Session-Id; send an initialize request first")
        try:
            session = self.sessions.get_session(SessionId.parse(name), principal=principal)
            guest = self._guests[session.id]
        except (ValueError, UnknownSessionError, KeyError):
            raise RefusedError(404, "Session not found; send a new initialize request without Mcp-Session-Id") from None
        return guest

    async def implicit(self, principal: str | None) -> Session:
        """Return the session that holds a principal's 2026-07-28 streams, which clients never see.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The server is stopping.
        """
        session = self._implicit.get(principal)
        if session is None or session.reason is not None:
            session = await self.sessions.start_session(self._shelter, principal=principal)
        return session

    async def _shelter(self, session: Session) -> None:
        self._implicit.setdefault(session.principal, session)
        try:
            await session.wait_closed()
        finally:
            if self._implicit.get(session.principal) is session:
                del self._implicit[session.principal]
