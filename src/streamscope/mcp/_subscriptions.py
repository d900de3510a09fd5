"""``subscriptions/listen`` (2026-07-28), without the queue and the task that the SDK has for each event's way.

Theory of operation. The SDK's own handler gives each subscription a queue, which
its task empties onto the request's stream. A stream of ours is such a queue, so
what is published is put on it where the bus says so, in that very step. The
handler's task acknowledges, and then sleeps until the subscription ends; only
where a log takes time to store an event does it wake to wait for that.

That handler of ours takes the place of the SDK's within the SDK's kernel, for the
one request: all that the kernel does for any request, and the server's
middleware, is as ever. The subscription is one of the streams of the handler
whose place is taken, so its bound counts both kinds, and its ``close()`` ends
them. A handler that somebody else has written, or derived, is left alone.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, cast, final

import trio
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import HandlerEntry
from mcp.server.subscriptions import ListenHandler
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, ServerEvent, event_matches, event_to_notification
from mcp_types import (
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from .._stream import Stream
from . import _jsonrpc
from ._jsonrpc import RequestId

logger: Final = logging.getLogger("streamscope.mcp")
LISTEN: Final = "subscriptions/listen"
_USUAL_ID: Final = 128


def listening(server: Server[Any], stream: Stream, *, at_once: bool) -> Server[Any]:
    """Return a server as the kernel is to see it for one ``subscriptions/listen`` request.

    Args:
        server: The server.
        stream: The request's stream.
        at_once: Whether its log has stored an event when it has taken it.
    """
    return cast("Server[Any]", _ListeningServer(server, stream, at_once=at_once))


@final
class _ListeningServer:
    """A server with a handler of ours in the place of the SDK's `ListenHandler`."""

    __slots__ = ("_at_once", "_server", "_stream")

    def __init__(self, server: Server[Any], stream: Stream, *, at_once: bool) -> None:
        self._server = server
        self._stream = stream
        self._at_once = at_once

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def get_request_handler(self, method: str) -> HandlerEntry[Any] | None:
        """Return what handles a method."""
        entry = self._server.get_request_handler(method)
        # A derived one may do anything.
        if entry is None or type(handler := cast("object", entry.handler)) is not ListenHandler:
            return entry
        return replace(entry, handler=partial(_listen, handler, self._stream, self._at_once))


async def _listen(
    handler: ListenHandler,
    stream: Stream,
    at_once: bool,  # noqa: FBT001 - partial() gives it
    ctx: ServerRequestContext[Any, Any],
    params: SubscriptionsListenRequestParams,
) -> SubscriptionsListenResult:
    """Serve one subscription, as ``ListenHandler.__call__`` does."""
    # What it keeps to itself. Of a stream it asks no more than that it can be closed.
    bus, bound = handler._bus, handler._max_subscriptions  # noqa: SLF001 - there is no other way to it
    streams = cast("set[Any]", handler._streams)  # noqa: SLF001 - as above
    subscription_id = ctx.request_id
    if subscription_id is None or len(streams) >= bound:
        # It has its own words for that.
        return await handler(ctx, params)
    meta = {SUBSCRIPTION_ID_META_KEY: subscription_id}
    subscription = _Subscription(stream, subscription_id, params.notifications)
    unsubscribe = bus.subscribe(subscription.deliver)
    streams.add(subscription)
    try:
        await ctx.session.send_notification(_acknowledgement(params, meta), related_request_id=subscription_id)
        await subscription.run(at_once=at_once)
    finally:
        subscription.close()
        streams.discard(subscription)
        try:
            unsubscribe()
        except Exception:
            logger.exception("a subscription bus could not unsubscribe")
    return SubscriptionsListenResult(_meta=meta)


def _acknowledgement(
    params: SubscriptionsListenRequestParams, meta: dict[str, Any]
) -> SubscriptionsAcknowledgedNotification:
    """Say what was asked for, as far as the SDK knows it."""
    kinds = SubscriptionFilter.model_fields
    honoured = {kind: wanted for kind, wanted in params.notifications if wanted and kind in kinds}
    return SubscriptionsAcknowledgedNotification(
        params=SubscriptionsAcknowledgedNotificationParams(notifications=SubscriptionFilter(**honoured), _meta=meta)
    )


@final
class _Subscription:
    """What one client is told of, and where.

    Args:
        stream: The request's stream.
        subscription_id: Its identifier.
        requested: What it asks for.
    """

    __slots__ = ("_closed", "_direct", "_filter", "_id", "_pending", "_stream", "_uris", "_wake")

    def __init__(self, stream: Stream, subscription_id: RequestId, requested: SubscriptionFilter) -> None:
        self._stream = stream
        self._id = subscription_id
        self._filter = requested
        self._uris = frozenset(requested.resource_subscriptions or ())
        self._direct = False
        self._closed = False
        # What its task is to send. There is one of each at most, so there are no more than its filter has names for.
        self._pending: dict[ServerEvent, None] = {}
        self._wake = trio.Event()

    def deliver(self, event: ServerEvent) -> None:
        """Send an event, or have the task do so where that may take time."""
        if self._closed or not event_matches(self._filter, self._uris, event):
            return
        if self._direct:
            try:
                self._stream.send_nowait(self._notification(event), coalesce=True)
            except trio.WouldBlock:
                # The task may wait for room.
                pass
            else:
                return
        self._pending[event] = None
        self._wake.set()

    async def run(self, *, at_once: bool) -> None:
        """Send what is pending, until the subscription is closed; it has been acknowledged."""
        self._direct = at_once
        while self._pending or not self._closed:
            if self._pending:
                event = next(iter(self._pending))
                # Before it is sent: one that comes meanwhile may be of a later change.
                del self._pending[event]
                await self._stream.send(self._notification(event), coalesce=True)
            else:
                await self._wake.wait()
                self._wake = trio.Event()

    def _notification(self, event: ServerEvent) -> bytes:
        # It is the client's, and may be as long as a body. What is made once for all is kept for a while.
        make = _notification if len(str(self._id)) <= _USUAL_ID else _make_notification
        return make(event, self._id)

    def close(self) -> None:
        """Take no more events, and have the task end when it has sent those that are pending. Idempotent."""
        self._closed = True
        self._wake.set()


def _make_notification(event: ServerEvent, subscription_id: RequestId) -> bytes:
    method, params = _parts(event)
    return _jsonrpc.notification(method, {**params, "_meta": {SUBSCRIPTION_ID_META_KEY: subscription_id}})


# What is published is made once for all who listen, and once more for each identifier: those of clients are much alike.
_notification = lru_cache(maxsize=64)(_make_notification)


@lru_cache(maxsize=1)
def _parts(event: ServerEvent) -> tuple[str, dict[str, Any]]:
    message = event_to_notification(event, {}).model_dump(by_alias=True, mode="json", exclude_none=True)
    return message["method"], message["params"]
