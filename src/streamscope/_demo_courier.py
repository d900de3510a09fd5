"""An HTTP client that does what clients of the SDK hide: it loses connections, and resumes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast, final

import attrs
import httpx2

from ._ids import EventId, SessionId

_VERSION: Final = "2025-11-25"


@final
@attrs.frozen
class Received:
    """One event, as it came over the wire."""

    event_id: EventId
    message: Mapping[str, Any]

    @property
    def progress(self) -> object:
        """The progress that it reports, if it does."""
        return self.message.get("params", {}).get("progress")


@final
class Courier:
    """Speaks Streamable HTTP by hand, in the era of the handshake.

    Args:
        url: The endpoint.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # Events may be far apart; whoever waits has a deadline of its own.
        self._http = httpx2.AsyncClient(timeout=None)
        self._headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": _VERSION,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    @property
    def session_id(self) -> SessionId:
        """The session that `initialize` has opened."""
        return SessionId(self._headers["mcp-session-id"])

    async def initialize(self) -> None:
        """Open a session.

        Raises:
            httpx2.HTTPStatusError: It is refused.
        """
        info = {"name": "courier", "version": "1"}
        params = {"protocolVersion": _VERSION, "capabilities": {}, "clientInfo": info}
        response = await self._post("initialize", params, 0)
        response.raise_for_status()
        self._headers["mcp-session-id"] = response.headers["mcp-session-id"]
        await self._post("notifications/initialized")

    async def ping(self) -> int:
        """Ask for a sign of life, and return the HTTP status."""
        response = await self._post("ping", {}, 1)
        return response.status_code

    async def delete(self, session_id: SessionId) -> int:
        """Delete a session, and return the HTTP status."""
        response = await self._http.delete(self._url, headers={**self._headers, "mcp-session-id": str(session_id)})
        return response.status_code

    async def _post(
        self, method: str, params: Mapping[str, Any] | None = None, request_id: int | None = None
    ) -> httpx2.Response:
        return await self._http.post(self._url, json=_message(method, params, request_id), headers=self._headers)

    @asynccontextmanager
    async def call(self, tool: str, arguments: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[Received]]:
        """Call a tool, and read its events for the length of a block; leaving early cuts the connection."""
        params = {"name": tool, "arguments": dict(arguments), "_meta": {"progressToken": "courier"}}
        message = _message("tools/call", params, 2)
        opening = self._http.stream("POST", self._url, json=message, headers=self._headers)
        async with opening as response, _events(response) as events:
            yield events

    @asynccontextmanager
    async def resume(self, after: EventId) -> AsyncGenerator[AsyncIterator[Received]]:
        """Read on after an event, for the length of a block."""
        headers = {**self._headers, "last-event-id": str(after)}
        opening = self._http.stream("GET", self._url, headers=headers)
        async with opening as response, _events(response) as events:
            yield events


def _message(method: str, params: Mapping[str, Any] | None, request_id: int | None) -> dict[str, Any]:
    fields = {"id": request_id, "params": params}
    return {"jsonrpc": "2.0", "method": method, **{name: value for name, value in fields.items() if value is not None}}


@asynccontextmanager
async def _events(response: httpx2.Response) -> AsyncGenerator[AsyncIterator[Received]]:
    response.raise_for_status()
    # It is a generator, whatever its type says, and has to be closed.
    events = cast("AsyncGenerator[httpx2.ServerSentEvent]", aiter(httpx2.EventSource(response)))
    async with aclosing(events):
        yield _Events(events)


@final
class _Events(AsyncIterator[Received]):
    """The events with data; the first one of a response only says where the stream begins."""

    def __init__(self, events: AsyncIterator[httpx2.ServerSentEvent]) -> None:
        self._events = events

    async def __anext__(self) -> Received:
        while True:
            event = await anext(self._events)
            if event.data:
                return Received(EventId.parse(event.id), json.loads(event.data))
