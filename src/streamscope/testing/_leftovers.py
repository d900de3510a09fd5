"""Is everything over that should be?"""

from __future__ import annotations

from collections.abc import Iterator

from .._manager import SessionManager
from .._metadata import SessionMetadata, StreamMetadata
from .._session import Session
from .._streams import StreamManager


def assert_no_leftovers(manager: SessionManager | StreamManager) -> None:
    """Make sure that no session, stream or reader is registered any more.

    May be called from any thread, and also when `trio.run` has returned. A
    session's identifier is not shown, as whoever knows it may use the session.

    Args:
        manager: Where to look.

    Raises:
        AssertionError: Something is registered; the message names each of them.
    """
    left = list(_sessions(manager) if isinstance(manager, SessionManager) else _streams(manager.list_streams()))
    if left:
        raise AssertionError("\n".join([f"{len(left)} left over:", *left]))


def _sessions(manager: SessionManager) -> Iterator[str]:
    streams = manager.streams.list_streams()
    for metadata in manager.list_sessions():
        yield _describe("session", metadata)
        yield from _streams(stream for stream in streams if stream.session_id == metadata.session_id)
        yield from _readers(manager, metadata)


def _streams(streams: Iterator[StreamMetadata] | list[StreamMetadata]) -> Iterator[str]:
    for metadata in streams:
        yield _describe(f"stream {metadata.stream_id} {metadata.kind!r}", metadata)


def _readers(manager: SessionManager, metadata: SessionMetadata) -> Iterator[str]:
    # Neither is public: applications look up what they have an identifier of, and find no session that is closing.
    record = manager._registry.sessions.get(metadata.session_id)  # noqa: SLF001
    if record is not None and isinstance(record.owner, Session):
        for reader in record.owner._readers.attached:  # noqa: SLF001
            yield f"- reader of stream {reader.stream_id}, after event {reader.position.seq}"


def _describe(what: str, metadata: SessionMetadata | StreamMetadata) -> str:
    whose = "" if metadata.principal is None else f" of {metadata.principal!r}"
    peer = "" if metadata.connection_info is None else f" from {metadata.connection_info}"
    why = "" if metadata.reason is None else f" as {metadata.reason}"
    return f"- {what}{whose}{peer}, {metadata.state.value}{why}, {metadata.age:.3g} seconds old"
