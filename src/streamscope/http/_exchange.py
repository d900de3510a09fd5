"""One request and its response, as an application sees them: ``receive()`` and ``send()``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, final

import trio

from ._channel import Channel
from ._errors import ClientDisconnectedError, RefusedError
from ._head import Request
from ._limits import READ_SIZE
from ._response import CONTINUE, Response
from ._transport import LINGER

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
# Frameworks have types of their own for these three.
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

PARTS_IN_A_ROW: Final = 16
"""Parts of a response that are sent before others get a turn: each turn costs about as much as a part."""

logger: Final = logging.getLogger("streamscope.http")


@final
class Exchange:
    """Runs an application for one request, in the connection's task.

    Nothing is read from the client but by ``receive()``: first the body, and then, for whoever waits for
    ``http.disconnect``, what the client sends ahead.

    Args:
        channel: The way to the client.
        request: The request.
    """

    __slots__ = (
        "_asked",
        "_body_given",
        "_channel",
        "_continue",
        "_lost",
        "_over",
        "_parts",
        "_received",
        "_response",
        "_waited",
    )

    def __init__(self, channel: Channel, request: Request) -> None:
        self._channel = channel
        self._response = Response(request.method, request.http_version, keep_alive=request.keep_alive)
        self._continue = request.expects_continue and not channel.parser.body_complete
        self._asked = False
        self._body_given = False
        # Nothing is received any more, because the response is complete, or because nobody wants it.
        self._over = False
        # Nothing can be sent any more.
        self._lost = False
        self._received = 0
        self._waited = 0.0
        self._parts = 0

    async def run(self, app: Application, scope: Scope) -> bool:
        """Run the application; return whether the connection can be used for another request.

        Raises:
            BrokenResourceError: The client is not there any more.
        """
        failed = True
        try:
            await app(scope, self.receive, self.send)
            failed = False
        except Exception as error:
            if _is_disconnect(error):
                logger.debug("The client went away before it had its answer")
            else:
                logger.exception("The application failed")
        finally:
            self._end()
        if not self._lost and not self._response.complete:
            await self._make_up(failed=failed)
        if self._lost:
            return False
        await self._channel.transport.flush()
        return self._response.keep_alive and (self._channel.parser.body_complete or await self._drain())

    async def _make_up(self, *, failed: bool) -> None:
        """Do what the application has left undone, so that the client does not take it for an answer."""
        begun = self._response.begun
        # An application that is told that its client has gone away may leave it at that.
        if not failed and not self._channel.ended:
            logger.error("The application left %s", "its response incomplete" if begun else "no response")
        if begun or self._channel.ended:
            self._channel.transport.abort()
            self._lose()
        else:
            await self._channel.transport.send(self._response.whole(500, "Internal Server Error"))

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._channel.wake()

    # -- receive() ------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next ``http.request``, or ``http.disconnect`` if there can be no other.

        That is so once the client has gone away, and once the response is complete.
        """
        if not self._body_given and not self._over:
            self._asked = True
            try:
                body = await self._next_body()
            except ClientDisconnectedError:
                body = None
            except RefusedError as refused:
                await self._refuse(refused)
                body = None
            if body is not None:
                return {"type": "http.request", "body": body, "more_body": not self._body_given}
        channel = self._channel
        if self._over or channel.ended:
            # For whoever asks again and again.
            await trio.lowlevel.checkpoint()
        while not self._over and not channel.ended:
            # What is sent ahead is bounded. Beyond that, nobody sees that the client goes away.
            if channel.parser.buffered >= READ_SIZE:
                await channel.wait()
            else:
                await channel.read()
        return {"type": "http.disconnect"}

    async def _next_body(self) -> bytes | None:
        """Return what comes next of the body, or ``None`` if nothing will."""
        channel, limits = self._channel, self._channel.limits
        while not (body := channel.parser.take_body()) and not channel.parser.body_complete:
            if self._continue and not self._response.begun:
                await self._write(CONTINUE)
                self._continue = False
            since = trio.current_time()
            left = limits.body_timeout + self._received / limits.min_body_rate - self._waited
            in_time = await channel.read_by(since + left)
            if self._over or channel.ended:
                return None
            if not in_time:
                raise RefusedError(408, "The request's body did not arrive in time")
            self._waited += trio.current_time() - since
        self._continue = False
        self._received += len(body)
        self._body_given = channel.parser.body_complete
        return body

    async def _refuse(self, refused: RefusedError) -> None:
        """Answer in the application's place, where it has not begun to."""
        if self._response.begun:
            self._channel.transport.abort()
        else:
            with suppress(ClientDisconnectedError):
                await self._write(self._response.whole(refused.status, str(refused)))
        self._lose()

    async def _drain(self) -> bool:
        """Read what is left of the body, for the request behind it; return whether it was little enough."""
        channel = self._channel
        left = READ_SIZE
        with suppress(RefusedError), trio.move_on_after(LINGER):  # noqa: ASYNC912 - without a wait
            while left > 0 and channel.parser.body_left <= READ_SIZE and not self._continue:
                left -= len(channel.parser.take_body())
                if channel.parser.body_complete:
                    return True
                if not await channel.read():
                    return False
        return False

    # -- send() ---------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send a part of the response.

        The last part is sent without a checkpoint, unless the client is slow to read. So an application
        that is cancelled can answer nevertheless.

        Raises:
            ClientDisconnectedError: The client is not there any more.
            RuntimeError: The application does not keep to the order of messages, or to its Content-Length.
            ValueError: The response cannot be written.
        """
        if message.get("more_body"):
            await self._give_way()
        if self._lost:
            raise ClientDisconnectedError("The client has gone away")
        response, kind = self._response, message["type"]
        if kind == "http.response.body":
            if not response.begun and (self._channel.stopping or self._spurns_body()):
                response.keep_alive = False
            data = response.body(message)
            try:
                await self._write(data)
            finally:
                if response.complete:
                    self._end()
        elif kind == "http.response.start":
            response.start(message)
        else:
            raise RuntimeError(f"This server knows no message of the type {kind!r}")

    async def _give_way(self) -> None:
        """See whether the application is cancelled; and let others run, if it sends without end."""
        self._parts += 1
        if self._parts % PARTS_IN_A_ROW:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        try:
            # If this is cancelled, nothing has been taken yet of what comes behind it.
            await self._channel.transport.flush()
        except trio.BrokenResourceError as error:
            raise self._lose() from error

    def _spurns_body(self) -> bool:
        """Tell whether the request's body will not be read to its end."""
        # Nobody knows whether one will follow that was never asked for (RFC 9110, section 10.1.1).
        return self._continue or (not self._asked and self._channel.parser.body_left > READ_SIZE)

    async def _write(self, data: bytes) -> None:
        try:
            await self._channel.transport.send(data)
        except trio.BrokenResourceError as error:
            raise self._lose() from error

    def _lose(self) -> ClientDisconnectedError:
        self._lost = True
        self._end()
        return ClientDisconnectedError("The client has gone away")


def _is_disconnect(error: BaseException | None) -> bool:
    """Tell whether an application failed only because its client was not there any more."""
    match error:
        case None:
            return False
        case ClientDisconnectedError():
            return True
        case BaseExceptionGroup():
            return all(map(_is_disconnect, error.exceptions))
        case _:
            return _is_disconnect(error.__cause__ or error.__context__)
