"""Snapshots to make other values of."""

from __future__ import annotations

from datetime import UTC, datetime

from streamscope import CloseReason, SessionId, SessionMetadata, State, StreamId, StreamMetadata

STREAM = StreamMetadata(
    stream_id=StreamId.parse("3f0c8c1e-5d0e-4a0b-9c39-0f6a4b1f2d77"),
    session_id=SessionId("s1"),
    kind="post",
    principal="alice",
    connection_info="203.0.113.7:50412",
    state=State.CLOSING,
    reason=CloseReason.IDLE,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    age=10.0,
    idle=2.5,
    event_count=3,
    byte_count=99,
)
SESSION = SessionMetadata(
    session_id=SessionId("s1"),
    principal=None,
    connection_info=None,
    state=State.OPEN,
    reason=None,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    age=1.0,
    idle=1.0,
    stream_count=0,
)
