"""What the demo shows, apart from how it is shown: the tree, what happened, and the checks.

The displays draw what they find here, at their own pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, final

import attrs
import trio

from ._changes import (
    Change,
    ChangesMissed,
    ReaderAttached,
    ReaderDetached,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamOpened,
)
from ._demo_checks import Checks, Claim, Outcome
from ._errors import UnknownSessionError
from ._feed import Watcher
from ._ids import SessionId, StreamId
from ._manager import SessionManager
from ._metadata import SessionMetadata, StreamMetadata
from ._reasons import CloseReason

_STREAM_ID_LENGTH: Final = 8
_SESSION_ID_LENGTH: Final = 4
_MINOR: Final = "notification"


def short(identifier: SessionId | StreamId) -> str:
    """Return enough of an identifier to tell it apart; whoever knows the whole of a session's may use it."""
    if isinstance(identifier, SessionId):
        return f"{str(identifier)[:_SESSION_ID_LENGTH]}…"
    return str(identifier)[:_STREAM_ID_LENGTH]


@final
@attrs.frozen
class Row:
    """One line of the tree: a session, or a stream in it."""

    branch: str
    name: str
    kind: str
    age: float
    idle: float
    events: int | None
    readers: str
    peer: str

    @property
    def is_session(self) -> bool:
        """Whether this is a session."""
        return not self.branch


@final
@attrs.frozen
class Entry:
    """Something that happened."""

    mark: str
    """``act``, ``ok`` and ``FAILED``; else one character for the change: ``+ - > <``."""
    text: str
    reason: str = ""
    minor: bool = False
    """Whether it can be left out where there is little room."""
    at: float = 0.0


@final
class Board:
    """Collects what there is to show.

    Args:
        sessions: The sessions of the server.
        checks: What the demo has checked.
    """

    def __init__(self, sessions: SessionManager, checks: Checks) -> None:
        self.sessions = sessions
        self.checks = checks
        self.url = ""
        self.act = ""
        self.entries: list[Entry] = []
        self.changes: list[Change] = []
        self.names: dict[SessionId, str] = {}
        self.painter: Callable[[Board], str] | None = None
        """What makes a picture of the board, if one is wanted."""
        self.picture = ""
        self.finished = False
        """Whether there is nothing more to come."""
        self._start = trio.current_time()

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return trio.current_time() - self._start

    def begin(self, act: str) -> None:
        """Begin an act."""
        self.act = act
        self._note("act", act)

    def expect(self, claim: Claim, got: object, wanted: object) -> Outcome:
        """Check a claim, and note what came of it."""
        outcome = self.checks.expect(claim, got, wanted)
        detail = "" if outcome.passed else f": got {got!r}, wanted {wanted!r}"
        self._note("ok" if outcome.passed else "FAILED", f"{claim.value}{detail}")
        return outcome

    def take_picture(self) -> None:
        """Make a picture, unless there is one, or none is wanted."""
        if self.painter is not None and not self.picture:
            self.picture = self.painter(self)

    def finish(self) -> None:
        """Say that there is nothing more to come."""
        self.finished = True
        self.take_picture()

    def _note(self, mark: str, text: str) -> None:
        self.entries.append(Entry(mark, text, at=self.elapsed))

    # What happens

    async def follow(self, watcher: Watcher) -> None:
        """Note each change, until there is no more."""
        async for change in watcher:
            self.changes.append(change)
            self.entries.append(attrs.evolve(self._describe(change), at=self.elapsed))

    def _describe(self, change: Change) -> Entry:
        match change:
            case SessionOpened(session):
                return Entry("+", f"session {short(session.session_id)} opened{_origin(session)}")
            case SessionClosed(session, reason):
                return Entry("-", f"{self._session(session)} closed, {session.age:.1f} s", str(reason))
            case StreamOpened(stream):
                text = f"{_stream(stream)} opened in {short(stream.session_id)}"
                return Entry("+", text, minor=stream.kind == _MINOR)
            case StreamClosed(stream, reason):
                text = f"{_stream(stream)} closed, {stream.event_count} event{'' if stream.event_count == 1 else 's'}"
                return Entry("-", text, str(reason), minor=stream.kind == _MINOR)
            case ReaderAttached(_, position):
                text = f"reader of {short(position.stream_id)} attached at {position.seq}"
                return Entry(">", text, minor=not position.seq)
            case ReaderDetached(_, position, reason):
                text = f"reader of {short(position.stream_id)} left at {position.seq}"
                return Entry("<", text, str(reason), minor=reason is CloseReason.COMPLETED)
            case ChangesMissed(count):
                return Entry("!", f"{count} changes were missed")

    def _session(self, session: SessionMetadata) -> str:
        name = self.names.get(session.session_id)
        return f"session {short(session.session_id)}{f' {name}' if name else ''}"

    # What there is

    def rows(self) -> Iterator[Row]:
        """Return the tree as it is now, line by line."""
        streams = self.sessions.streams
        for session in self.sessions.list_sessions():
            yield Row(
                "",
                short(session.session_id),
                self.names.get(session.session_id, "session"),
                session.age,
                session.idle,
                None,
                str(session.reason or ""),
                session.connection_info or "—",
            )
            listed = [streams.get_metadata(stream_id) for stream_id in streams.get_session_streams(session.session_id)]
            found = [stream for stream in listed if stream is not None]
            for number, stream in enumerate(found, start=1):
                yield Row(
                    "└─ " if number == len(found) else "├─ ",
                    short(stream.stream_id),
                    stream.kind,
                    stream.age,
                    stream.idle,
                    stream.event_count,
                    self._readers(stream),
                    stream.connection_info or "—",
                )

    def _readers(self, stream: StreamMetadata) -> str:
        if stream.reason is not None:
            return str(stream.reason)
        try:
            session = self.sessions.get_session(stream.session_id)
        except UnknownSessionError:
            return ""
        readers = session.get_readers(stream.stream_id)
        return ", ".join(f"at {reader.position.seq}" for reader in readers) or "none"


def _stream(stream: StreamMetadata) -> str:
    return f"{stream.kind} stream {short(stream.stream_id)}"


def _origin(session: SessionMetadata) -> str:
    # Nobody asks for the session that holds the calls of 2026-07-28.
    return f" from {session.connection_info}" if session.connection_info else " by the server"
