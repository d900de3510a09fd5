"""The SDK's event stores behind our event log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, final

from mcp.server.streamable_http import EventStore
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from .._ids import SessionId, StreamId
from .._memory import MemoryEventLog
from .._statistics import EventLogStatistics
from ..abc import Batch, EventLog, StreamLog

logger: Final = logging.getLogger("streamscope.mcp")


@final
class EventStoreLog(EventLog):
    """Keeps events in memory for readers, and gives each to an event store of the SDK's first.

    The store gets our stream identifiers, which are unique, and so cannot mix
    sessions. Readers are served from memory, within its bounds: a store alone
    knows neither which session an event is of, nor where a stream begins.

    Args:
        store: The event store.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._memory = MemoryEventLog()

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        return _StoredStreamLog(self._store, str(stream_id), self._memory.open_stream(session_id, stream_id))

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        return _StoredStreamLog(self._store, str(stream_id), await self._memory.find_stream(session_id, stream_id))

    def discard_session(self, session_id: SessionId) -> None:
        self._memory.discard_session(session_id)

    def statistics(self) -> EventLogStatistics:
        return self._memory.statistics()


@final
class _StoredStreamLog(StreamLog):
    __slots__ = ("_memory", "_name", "_store")

    def __init__(self, store: EventStore, name: str, memory: StreamLog) -> None:
        self._store = store
        self._name = name
        self._memory = memory

    @property
    def first(self) -> int:
        return self._memory.first

    @property
    def last(self) -> int:
        return self._memory.last

    @property
    def finished(self) -> bool:
        return self._memory.finished

    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        # The store can only be awaited, so this event is in memory alone. Only notices that nobody
        # waits for take this way.
        return self._memory.append_nowait(data, last=last)

    async def append(self, data: bytes, *, last: bool = False) -> int:
        await self._offer(data)
        return await self._memory.append(data, last=last)

    async def _offer(self, data: bytes) -> None:
        try:
            message: JSONRPCMessage = jsonrpc_message_adapter.validate_json(data, by_name=False)
        except ValueError:
            # An application's own stream may carry anything.
            return
        try:
            await self._store.store_event(self._name, message)
        except Exception:
            # Whoever waits for the event gets it all the same.
            logger.exception("the event store did not take an event")

    def finish(self) -> None:
        self._memory.finish()

    def discard(self) -> None:
        self._memory.discard()

    async def read(self, after: int, limit: int) -> Batch:
        return await self._memory.read(after, limit)

    def attach(self, wake: Callable[[], None]) -> None:
        self._memory.attach(wake)

    def detach(self, wake: Callable[[], None]) -> None:
        self._memory.detach(wake)
