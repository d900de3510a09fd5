"""An application's start before the first request, and its end after the last."""

from __future__ import annotations

import logging
from typing import Any, Final, final

import trio

from ._exchange import Application, Message

logger: Final = logging.getLogger("streamscope.http")


@final
class Lifespan:
    """Runs an application's lifespan, if it has one.

    Args:
        app: The application.
    """

    def __init__(self, app: Application) -> None:
        self.state: dict[str, Any] = {}
        """What the application has put there for its requests to find."""
        self.failure: str | None = None
        """What the application said about why it could not start or end in order."""
        self.settled = trio.Event()
        """Set once the application has started, has refused to, or has no lifespan."""
        self._app = app
        self._begun = False
        self._stop = trio.Event()
        self._scope = trio.CancelScope()
        self._to_receive = ["lifespan.startup", "lifespan.shutdown"]

    async def run(self) -> None:
        """Run the lifespan, until after `stop`.

        Raises:
            Exception: The application failed after its start.
        """
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            with self._scope:
                await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._begun:
                raise
            if self.failure is None:
                logger.debug("The application is served without a lifespan, because it raised %r", error)
        finally:
            self.settled.set()

    def stop(self) -> None:
        """Tell the application that there will be no more requests."""
        self._stop.set()

    async def _receive(self) -> Message:
        if not self._to_receive:
            # It has heard all that there is to hear.
            self._scope.cancel(reason="the end of the lifespan")
        elif len(self._to_receive) == 1:
            await self._stop.wait()
        await trio.lowlevel.checkpoint()
        return {"type": self._to_receive.pop(0)}

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        kind = message["type"]
        if kind in {"lifespan.startup.failed", "lifespan.shutdown.failed"}:
            self.failure = message.get("message", "") or kind
        elif kind not in {"lifespan.startup.complete", "lifespan.shutdown.complete"}:
            raise RuntimeError(f"This server knows no message of the type {kind!r}")
        self._begun = self._begun or kind == "lifespan.startup.complete"
        self.settled.set()
