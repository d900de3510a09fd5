"""Server-sent events, as the HTML standard frames them (section 9.2, "Server-sent events")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .._ids import StreamId
from .._window import Event

PING: Final = b": ping\r\n\r\n"
"""A comment: keeps proxies from closing a quiet connection."""


def frame(data: bytes) -> bytes:
    """Frame one message that cannot be resumed after.

    JSON escapes line ends within strings, so a message is one line.
    """
    return b"event: message\r\ndata: " + data + b"\r\n\r\n"


def frames(stream_id: StreamId, events: Iterable[Event]) -> bytes:
    """Frame events of a stream, each with its identifier, so that the client can resume after it."""
    prefix = b"event: message\r\nid: " + str(stream_id).encode() + b"."
    return b"".join([b"%b%d\r\ndata: %b\r\n\r\n" % (prefix, event.seq, event.data) for event in events])


def skipped(count: int) -> bytes:
    """Tell, in a comment, of events that the client was too slow for; nothing where there are none."""
    return b": %d events were dropped, as they were not read in time\r\n\r\n" % count if count else b""


def priming(stream_id: StreamId, after: int, retry: float | None) -> bytes:
    """Frame the event that gives a client its position before anything was sent (SEP-1699).

    Args:
        stream_id: The stream.
        after: The number of the last event that the client has.
        retry: Seconds after which a client that loses the connection should come back.
    """
    hint = b"" if retry is None else b"retry: %d\r\n" % round(retry * 1000)
    return b"%bid: %b.%d\r\ndata: \r\n\r\n" % (hint, str(stream_id).encode(), after)
