"""An event store for the SDK's transport, which can resume with one only: plain, correct, in memory."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

import anyio
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

KEPT: Final = 1024
"""Events kept per stream, which is streamscope's default too."""


class MemoryEventStore(EventStore):
    """Keeps the newest events of each stream, in order.

    Args:
        seconds: What each access takes, as in a store on a disk.
    """

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._count = 0
        self._stream_of: dict[str, str] = {}
        self._events: defaultdict[str, deque[tuple[int, JSONRPCMessage | None]]] = defaultdict(deque)

    @property
    def kept(self) -> int:
        """The number of events that are kept. Not ``len()``: the SDK takes what is false for no store."""
        return len(self._stream_of)

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        await anyio.sleep(self._seconds)
        self._count += 1
        events = self._events[stream_id]
        if len(events) == KEPT:
            number, _ = events.popleft()
            del self._stream_of[str(number)]
        events.append((self._count, message))
        self._stream_of[str(self._count)] = stream_id
        return str(self._count)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        await anyio.sleep(self._seconds)
        stream_id = self._stream_of.get(last_event_id)
        if stream_id is None:
            return None
        for number, message in list(self._events[stream_id]):
            if number > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id
