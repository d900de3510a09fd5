"""What came of one request, in whatever way it was made."""

from __future__ import annotations

import json
from typing import Any

from tests.fuzz.shots import Shot
from tests.mcp.sse import Frame, Parser


class Response:
    """A response, as far as it has come."""

    def __init__(self, shot: Shot) -> None:
        self.shot = shot
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.over = False
        """Whether it has come to its end."""
        self.left: float | None = None
        """When the client left."""

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type") == "text/event-stream"

    def frames(self) -> list[Frame]:
        """The events that came, primers included."""
        parser = Parser()
        frames = parser.feed(bytes(self.body))
        assert not parser.unknown
        return frames

    def messages(self) -> list[dict[str, Any]]:
        """The JSON-RPC messages that came, however they came."""
        if self.streams:
            return [json.loads(frame.data) for frame in self.frames() if frame.data]
        body = json.loads(self.body) if self.body else []
        return body if isinstance(body, list) else [body]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Those that answer a request of the client's."""
        return [message for message in self.messages() if "method" not in message]

    def says(self, text: str) -> bool:
        """Whether a tool has answered so."""
        return [text] == [part["text"].strip('"') for part in self.answers[0]["result"]["content"]]

    @property
    def can_resume(self) -> bool:
        return self.shot.method == "POST" and self.streams and self.frames()[0].id is not None

    @property
    def last_event_id(self) -> bytes:
        return [frame.id for frame in self.frames() if frame.id][-1].encode()

    @property
    def stream_id(self) -> bytes:
        return self.last_event_id.partition(b".")[0]

    def resume(self) -> Shot:
        """Return the request that comes back for what is missing."""
        kept = [header for header in self.shot.headers if header[0].lower() in {b"host", b"mcp-session-id"}]
        headers = (*kept, (b"accept", b"*/*"), (b"last-event-id", self.last_event_id))
        return Shot(method="GET", user=self.shot.user, headers=headers)
