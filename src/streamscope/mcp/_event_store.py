"""The SDK's event stores behind our event log."""

from __future__ import annotations

import logging
from typing import Final, final

from mcp.server.streamable_http import EventStore
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from .._forward import ForwardingEventLog, ForwardingStreamLog
from .._ids import StreamId
from .._memory import MemoryEventLog
from ..abc import StreamLog

logger: Final = logging.getLogger("streamscope.mcp")


@final
class EventStoreLog(ForwardingEventLog):
    """Keeps events in memory for readers, and gives each to an event store of the SDK's first.

    The store gets our stream identifiers, which are unique, and so cannot mix
    sessions. Readers are served from memory, within its bounds: a store alone
    knows neither which session an event is of, nor where a stream begins.

    Args:
        store: The event store.
    """

    def __init__(self, store: EventStore) -> None:
        super().__init__(MemoryEventLog())
        self._store = store

    def wrap(self, stream_id: StreamId, inner: StreamLog) -> StreamLog:
        """Give the stream's events to the store, too."""
        return _StoredStreamLog(self._store, str(stream_id), inner)


@final
class _StoredStreamLog(ForwardingStreamLog):
    # What is appended without waiting is in memory alone, as the store can only be awaited. Only notices
    # that nobody waits for take this way.

    __slots__ = ("_name", "_store")

    def __init__(self, store: EventStore, name: str, inner: StreamLog) -> None:
        super().__init__(inner)
        self._store = store
        self._name = name

    async def append(self, data: bytes, *, last: bool = False) -> int:
        await self._offer(data)
        return await super().append(data, last=last)

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
