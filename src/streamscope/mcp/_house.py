"""The sessions of one endpoint: those that clients open, and those that they never see."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, final

import attrs
import trio
from mcp.server import Server
from starlette.requests import Request as HTTPRequest

from .._errors import ManagerClosedError, SessionClosedError, UnknownSessionError
from .._ids import SessionId, StreamId
from .._manager import SessionManager
from .._reasons import CloseReason
from .._session import Session
from .._slow_readers import SlowReaders
from .._stream import Stream
from ..abc import SavedSession
from ._listening import ListeningStreams
from ._options import Options
from ._seam import Conversation, Exchange
from ._wire import SESSION_HEADER, Headers, RefusedError, session_not_found

logger: Final = logging.getLogger("streamscope.mcp")


@final
@attrs.frozen(eq=False)
class Guest:
    """A handshake-era client: its session, what the SDK makes of it, and where it listens."""

    session: Session
    conversation: Conversation
    listening: ListeningStreams
    slow_readers: SlowReaders

    def start(self, exchanges: Sequence[Exchange], connection_info: str | None, abandon_after: float) -> Stream:
        """Start to handle the requests of one POST, on a stream of their own.

        Raises:
            SessionClosedError: The session is ending.
            StreamLimitError: The session has as many streams as it may have.
        """
        return self.session.start_stream_nowait(
            self.conversation.handle_requests,
            exchanges,
            kind="post",
            connection_info=connection_info,
            slow_readers=self.slow_readers,
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
        # By the text of the session's identifier, as clients send it.
        self._guests: dict[str, Guest] = {}
        self._implicit: dict[str | None, Session] = {}
        self._restoring = trio.Lock()

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
        return await self._open(principal, connection_info, SessionId.new())

    async def _open(self, principal: str | None, connection_info: str | None, session_id: SessionId) -> Guest:
        session = await self.sessions.start_session(
            self._serve, principal=principal, connection_info=connection_info, session_id=session_id
        )
        guest = self._guests.get(str(session.id))
        if guest is None:
            raise SessionClosedError(session.id, session.reason or CloseReason.COMPLETED)
        return guest

    def _save(self, session: Session) -> None:
        """Have the log keep what it takes to restore a session."""
        metadata = session.metadata
        guest = self._guests[str(session.id)]
        listening = list(map(str, guest.listening.known))
        self.sessions.streams.log.save_session(
            SavedSession(
                session_id=session.id,
                principal=metadata.principal,
                connection_info=metadata.connection_info,
                created_at=metadata.created_at,
                state=json.dumps({"handshake": guest.conversation.handshake, "listening": listening}).encode(),
            )
        )

    def may_restore(self, headers: Headers) -> SessionId | None:
        """Return the session that a request names, if it is not open and another process may have opened it."""
        name = headers.get(SESSION_HEADER)
        if name is None or name in self._guests or not self.sessions.streams.log.durable:
            return None
        try:
            return SessionId.parse(name)
        except ValueError:
            return None

    async def restore(self, session_id: SessionId, principal: str | None, http: HTTPRequest) -> None:
        """Open a session again that another process has left, where the log knows it as this principal's.

        Raises:
            SessionLimitError: There is no room for it.
            ManagerClosedError: The server is stopping.
        """
        async with self._restoring:
            saved = await self.sessions.streams.log.find_session(session_id)
            # Meanwhile, another request may have been quicker, or the session may have ended here.
            if saved is None or saved.principal != principal or self._knows(session_id, principal):
                return
            try:
                guest = await self._open(principal, saved.connection_info, session_id)
            except ValueError:
                # It is there still, and about to end with the server.
                return
            try:
                state = json.loads(saved.state)
                guest.listening.remember(map(StreamId.parse, state["listening"]))
                await guest.conversation.restore(state["handshake"], http)
            except Exception as exc:  # noqa: BLE001 - whatever today's SDK finds wrong with an older handshake
                logger.warning("a session cannot be restored, and has to be opened anew: %s", exc)
                guest.session.close(CloseReason.FAILED)

    def _knows(self, session_id: SessionId, principal: str | None) -> bool:
        """Tell whether a session is open, or has ended otherwise than with the server."""
        try:
            self.sessions.get_session(session_id, principal=principal)
        except UnknownSessionError:
            return False
        except SessionClosedError as exc:
            return exc.reason is not CloseReason.SHUTDOWN
        return True

    async def _serve(self, session: Session) -> None:
        save = partial(self._save, session) if self.sessions.streams.log.durable else None
        listening = ListeningStreams(session, self._options.listen_grace, self._options.max_listeners, save)
        conversation = Conversation(self.server, self.state, session, listening, save)
        options = self._options
        slow_readers = SlowReaders(wait=options.slow_reader_timeout, return_within=options.reconnect_timeout)
        self._guests[str(session.id)] = Guest(session, conversation, listening, slow_readers)
        try:
            await conversation.serve()
        finally:
            del self._guests[str(session.id)]

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
        guest = self._guests.get(name)
        if guest is not None and guest.session.principal == principal and guest.session.reason is None:
            return guest
        if self.sessions.reason is not None:
            # A new session is not to be had here either.
            raise ManagerClosedError
        raise session_not_found()

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
