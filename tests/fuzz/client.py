"""A client that speaks ASGI to an endpoint in the same process, in virtual time, and keeps what it gets."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import trio
from starlette.authentication import SimpleUser

from tests.fuzz.responses import Response
from tests.fuzz.shots import Shot, filled, plain

PATIENCE = 60.0
"""Seconds in which whatever is not endless must be over; the slowest is a body that does not arrive."""
UNWIND = 6.0
"""Seconds in which a response must be over whose client has left; its last send alone may take five."""


class Client(Response):
    """Makes one request and plays the server's part of ASGI, by the letter (ASGI 2.5, HTTP)."""

    def __init__(self, app: Any, shot: Shot, names: Mapping[bytes, bytes]) -> None:
        super().__init__(shot)
        self._news = trio.Event()
        self._app = app
        self._names = names
        self._pieces = [plain(piece) for piece in shot.body]
        self._body_sent = False
        self._gone = trio.Event()

    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.shot.method,
            "scheme": "http",
            "path": self.shot.path,
            "raw_path": self.shot.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": filled(self.shot, self._names),
            "client": ("203.0.113.7", 50412),
            "server": ("127.0.0.1", 8000),
            **({} if self.shot.user is None else {"user": SimpleUser(self.shot.user)}),
        }

    async def run(self) -> None:
        """Make the request, and stay until the endpoint has done with it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_in_time)
            await self._app(self.scope(), self._receive, self._send)
            nursery.cancel_scope.cancel()
        if self.left is not None:
            late = trio.current_time() - self.left
            assert late <= UNWIND, f"the endpoint went on for {late} s after its client had left"

    async def _leave_in_time(self) -> None:
        await trio.sleep(PATIENCE if self.shot.patience is None else self.shot.patience)
        self.leave()

    def leave(self) -> None:
        if self.left is None:
            self.left = trio.current_time()
            self._gone.set()

    # ASGI

    async def _receive(self) -> MutableMapping[str, Any]:
        await trio.lowlevel.checkpoint()
        if self.left is None and self._pieces:
            body = self._pieces.pop(0)
            more = bool(self._pieces) or self.shot.then != "end"
            self._body_sent = not more
            return {"type": "http.request", "body": body, "more_body": more}
        if self.left is None and self.shot.then == "end" and not self._body_sent:
            self._body_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self.shot.then == "leave":
            self.leave()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        assert not self.over, f"{message} after the end of the response"
        if message["type"] == "http.response.start":
            assert self.status is None, "a second start"
            self._start(message)
        else:
            assert message["type"] == "http.response.body", message
            assert self.status is not None, "a body before the start"
            assert isinstance(message["body"], bytes)
            assert isinstance(message["more_body"], bool)
            self.over = not message["more_body"]
            self.body += message["body"]
        self._news.set()
        self._news = trio.Event()

    def _start(self, message: MutableMapping[str, Any]) -> None:
        self.status = message["status"]
        assert isinstance(self.status, int)
        for name, value in message["headers"]:
            assert isinstance(name, bytes)
            assert isinstance(value, bytes)
            assert name == name.lower()
            # RFC 9110, section 5.5: what would end a header, or split it, is not in it.
            assert not set(value) & {0, 10, 13}
            key = name.decode("ascii")
            assert key not in self.headers, f"{key} is there twice"
            self.headers[key] = value.decode("latin-1")

    async def until(self, text: bytes) -> None:
        """Wait until something has come."""
        while text not in self.body:
            assert not self.over, f"{text!r} is not in {bytes(self.body)!r}"
            await self._news.wait()
