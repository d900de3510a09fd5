"""Writing one HTTP response through ASGI: a body at once, or a stream's events as they come."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias, final

import trio

from .._errors import EventsExpiredError, ReaderClosedError
from .._reader import EventReader
from .._window import Event
from . import _sse
from ._nudges import Nudges
from ._options import Options
from ._wire import JSON, SSE, RefusedError

ASGIMessage: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[ASGIMessage]]
Send: TypeAlias = Callable[[ASGIMessage], Awaitable[None]]

WHOLE_BODY: Final = "streamscope.whole_body"
"""What a server's ASGI scope has among its extensions where nothing of the body is to be waited for."""
# The last one tells nginx not to hold events back.
_SSE_FIELDS: Final = [
    (b"content-type", SSE.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


@final
class ClientDisconnectedError(Exception):
    """The client went away before its request was complete, or before there was anything to answer."""


@final
class Response:
    """The answer to one HTTP request.

    Args:
        receive: The ASGI callable.
        send: The ASGI callable.
        pings: Says when a stream has been quiet for too long.
    """

    __slots__ = ("_pings", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send, pings: Nudges) -> None:
        self._receive = receive
        self._send = send
        self._pings = pings

    async def read_body(self, limit: int, announced: int | None, within: float) -> bytes | bytearray:
        """Read the request's body.

        Args:
            limit: The number of bytes that it may have.
            announced: Its ``Content-Length``, where there is one.
            within: Seconds in which it must arrive.

        Raises:
            RefusedError: 413; a body that announces its size is not read first. Or 408.
            ClientDisconnectedError: The client went away.
        """
        if within == math.inf:
            return await self._read_body(limit, announced)
        with trio.move_on_after(within):
            return await self._read_body(limit, announced)
        raise RefusedError(408, f"The body did not arrive within {within:g} seconds", headers={"connection": "close"})

    async def _read_body(self, limit: int, announced: int | None) -> bytes | bytearray:
        body: bytes | bytearray = b""
        more = announced is None or announced <= limit
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            part: bytes = message.get("body", b"")
            # It mostly comes in one.
            body = bytearray(body) + part if body else part
            more = message.get("more_body", False) and len(body) <= limit
        if len(body) > limit or (announced or 0) > limit:
            raise RefusedError(413, f"The body is larger than {limit} bytes", headers={"connection": "close"})
        return body

    async def refuse(self, refused: RefusedError) -> None:
        """Send a refusal."""
        await self.whole(refused.status, refused.body, refused.headers)

    async def whole(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a response that is complete: JSON, or nothing but a status."""
        await send_whole(self._send, status, body, headers)

    async def events(
        self,
        reader: EventReader,
        first: list[Event],
        *,
        resumable: bool,
        primed: bool,
        options: Options,
        headers: Mapping[str, str] | None = None,
        rest: Callable[[], list[bytes]] = list,
    ) -> None:
        """Send a stream's events until it has ended, the reader is ended, or the client goes away.

        Args:
            reader: Reads the events.
            first: Events that the reader has given already. The list is emptied.
            resumable: Whether events carry identifiers.
            primed: Whether an event comes first that is no message, and is for resuming only.
            options: The endpoint's options.
            headers: Further response headers.
            rest: Asked, when the stream has ended, for messages that are not among its events.
        """
        # A list of its own: middleware may add to it.
        fields = [*_SSE_FIELDS, *_fields(headers or {})]
        head = b""
        if primed:
            after = first[0].seq - 1 if first else reader.position.seq
            head = _sse.priming(reader.stream_id, after, options.retry)
        head += _sse.skipped(reader.skipped) + self._frames(reader, first, resumable=resumable)
        # What was replayed may be large, and the response may last for days.
        first.clear()
        if reader.finished:
            # It is all there, and nothing to wait for.
            await self._send({"type": "http.response.start", "status": 200, "headers": fields})
            await self._end(head, rest)
            return
        gone, last = True, b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            await self._send({"type": "http.response.start", "status": 200, "headers": fields})
            # Some servers hold the status back until there is a body.
            await self._part(head or _sse.PING)
            del head
            try:
                last = await self._send_events(reader, resumable=resumable)
            finally:
                self._pings.forget(reader)
            gone = False
            nursery.cancel_scope.cancel()
        if not gone:
            # Some servers deliver the disconnect within the last send; whoever cancels it there cancels the
            # server's own clean-up. So nobody watches any more.
            await self._end(last, rest)

    async def _end(self, events: bytes, rest: Callable[[], list[bytes]]) -> None:
        body = events + b"".join(map(_sse.frame, rest()))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_events(self, reader: EventReader, *, resumable: bool) -> bytes:
        """Send events as they come, and return the last ones, which go with the end of the response."""
        while True:
            self._pings.note(reader)
            skipped = reader.skipped
            try:
                events = await reader.receive_some()
            except (trio.EndOfChannel, ReaderClosedError, EventsExpiredError):
                return b""
            gap = _sse.skipped(reader.skipped - skipped)
            body = gap + self._frames(reader, events, resumable=resumable) or _sse.PING
            # They would be kept until there are others.
            del events
            if reader.finished:
                return body
            await self._part(body)
            del body

    async def unless_gone(self, async_fn: Callable[[], Awaitable[object]]) -> None:
        """Wait for something that is for the client, unless it goes away.

        Raises:
            ClientDisconnectedError: It has gone away.
        """
        gone = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            await async_fn()
            gone = False
            nursery.cancel_scope.cancel()
        if gone:
            raise ClientDisconnectedError

    @staticmethod
    def _frames(reader: EventReader, events: list[Event], *, resumable: bool) -> bytes:
        if resumable:
            return _sse.frames(reader.stream_id, events)
        return b"".join([_sse.frame(event.data) for event in events])

    async def _watch(self, scope: trio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel(reason="the client went away")

    def _part(self, body: bytes) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": body, "more_body": True})


async def send_whole(send: Send, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
    """Send a response that is complete: JSON, or nothing but a status.

    Args:
        send: The ASGI callable.
        status: The status.
        body: The body.
        headers: Further headers.
    """
    fields = dict(headers or {})
    if status != 204:
        # RFC 9110, section 8.6: a 204 must not have it.
        fields["content-length"] = str(len(body))
    if body:
        fields["content-type"] = JSON
    await send({"type": "http.response.start", "status": status, "headers": _fields(fields)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _fields(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
