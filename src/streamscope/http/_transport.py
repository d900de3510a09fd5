"""Bytes to and from one client: over a socket, or over any stream of Trio's.

Both of them read only when somebody reads, and give up on a client that does not read what is sent to it.
They raise `trio.BrokenResourceError` for every way in which a connection can be lost.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias, final

import trio

from ._limits import READ_SIZE

Address: TypeAlias = tuple[str, int | None]

# Closing sends an RST, and waits for nothing.
_ABORT: Final = struct.pack("ii", 1, 0)
# RFC 9112, section 9.6: whoever closes with bytes unread may destroy what the client has not read yet.
LINGER: Final = 2.0


class Transport(Protocol):
    """What a connection needs."""

    async def receive(self) -> bytes:
        """Wait for some bytes; nothing means that there will be no more."""
        ...

    def wake(self) -> None:
        """Let whoever waits to receive return with nothing, or with `trio.BrokenResourceError`."""
        ...

    async def send(self, data: bytes) -> None:
        """Send bytes; where the client takes them as they come, without a checkpoint."""
        ...

    async def flush(self) -> None:
        """Send what a cancelled send has left behind."""
        ...

    async def close(self, *, linger: bool) -> None:
        """Send what is unsent, and close.

        Args:
            linger: Whether the client may still be sending, so that it has to be listened to for a moment.
        """
        ...

    def abort(self) -> None:
        """Cut the connection, so that the client notices that something is missing."""
        ...


@final
class SocketTransport:
    """A TCP or Unix socket.

    It takes the socket out of Trio's stream, which costs a fifth of a small request.
    A send that is cancelled leaves what the client has not taken to the next one, so what
    is sent stays in one piece, also when several tasks send.

    Args:
        stream: The stream, which must not be used any more.
        write_timeout: Seconds in which a client has to read something.
    """

    __slots__ = ("_flushing", "_socket", "_unsent", "_write_timeout")

    def __init__(self, stream: trio.SocketStream, write_timeout: float) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.settimeout(0)
        self._write_timeout = write_timeout
        self._unsent: bytes | memoryview = b""
        # Made when somebody first has to wait: few do.
        self._flushing: trio.Lock | None = None

    async def receive(self) -> bytes:
        """See `Transport`."""
        while True:  # noqa: ASYNC913 - each turn waits, or raises
            try:
                await trio.lowlevel.wait_readable(self._descriptor())
                return self._socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise trio.BrokenResourceError from error

    def wake(self) -> None:
        """See `Transport`."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)

    async def send(self, data: bytes) -> None:
        """See `Transport`."""
        if self._unsent:
            self._unsent = b"".join((self._unsent, data))
        else:
            sent = self._send_some(data)
            if sent == len(data):
                return
            self._unsent = memoryview(data)[sent:]
        await self.flush()

    async def flush(self) -> None:
        """See `Transport`."""
        if not self._unsent:
            return
        if self._flushing is None:
            self._flushing = trio.Lock()
        async with self._flushing:
            while self._unsent:
                with trio.move_on_after(self._write_timeout) as scope:
                    await self._wait_until_writable()
                if scope.cancelled_caught:
                    self.abort()
                    raise trio.BrokenResourceError(f"the client has read nothing for {self._write_timeout:g} seconds")
                self._unsent = self._unsent[self._send_some(self._unsent) :]

    async def _wait_until_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._descriptor())
        except trio.ClosedResourceError:
            # It may only be that somebody was woken who was receiving. Sending will tell.
            pass
        except OSError as error:
            raise trio.BrokenResourceError from error

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor == -1:
            raise trio.BrokenResourceError
        return descriptor

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def close(self, *, linger: bool) -> None:
        """See `Transport`."""
        try:
            await self.flush()
            if linger:
                self._socket.shutdown(socket.SHUT_WR)
                with trio.move_on_after(LINGER):
                    while await self.receive():
                        pass
        except (OSError, trio.BrokenResourceError):
            # It has gone away first.
            pass
        finally:
            self._close()

    def abort(self) -> None:
        """See `Transport`."""
        # It may be closed already, on either side.
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self._close()

    def _close(self) -> None:
        self._unsent = b""
        if self._socket.fileno() != -1:
            # An application may have left a task behind that still waits for the client.
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


@final
class StreamTransport:
    """Any other stream, such as one with TLS.

    A send that is cancelled breaks the connection: nobody can tell what of it was sent.

    Args:
        stream: The stream.
        write_timeout: Seconds in which a client has to read `READ_SIZE` bytes.
    """

    def __init__(self, stream: trio.abc.Stream, write_timeout: float) -> None:
        self._stream = stream
        self._write_timeout = write_timeout
        self._broken = False
        self._sending = trio.Lock()
        self._receiving = trio.CancelScope()

    async def receive(self) -> bytes:
        """See `Transport`."""
        self._receiving = trio.CancelScope()
        with self._receiving:
            try:
                return bytes(await self._stream.receive_some(READ_SIZE))
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
        return b""

    def wake(self) -> None:
        """See `Transport`."""
        self._receiving.cancel(reason="nobody waits for more")

    async def send(self, data: bytes) -> None:
        """See `Transport`."""
        async with self._sending:
            for start in range(0, len(data), READ_SIZE):
                await self._send_piece(data[start : start + READ_SIZE])

    async def _send_piece(self, piece: bytes) -> None:
        if self._broken:
            raise trio.BrokenResourceError
        self._broken = True
        with trio.move_on_after(self._write_timeout):
            try:
                await self._stream.send_all(piece)
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error
            self._broken = False
        if self._broken:
            raise trio.BrokenResourceError(f"the client has not read for {self._write_timeout:g} seconds")

    async def flush(self) -> None:
        """See `Transport`."""
        if self._sending.locked():
            # What another task is sending counts as broken until it is through.
            async with self._sending:
                pass
        if self._broken:
            raise trio.BrokenResourceError

    async def close(self, *, linger: bool) -> None:
        """See `Transport`."""
        try:
            with trio.move_on_after(LINGER):  # noqa: ASYNC912 - there is nothing to wait for if there is no wait
                linger = linger and not self._broken
                if linger and isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()
                while linger and await self.receive():
                    pass
                if not self._broken:
                    await self._stream.aclose()
        except trio.BrokenResourceError:
            # It has gone away first.
            pass
        finally:
            await trio.aclose_forcefully(self._stream)  # noqa: ASYNC102 - does not wait

    def abort(self) -> None:
        """See `Transport`."""
        self._broken = True


def open_transport(stream: trio.abc.Stream, write_timeout: float) -> Transport:
    """Return the transport for a stream. A plain socket stream is used up."""
    if isinstance(stream, trio.SocketStream):
        return SocketTransport(stream, write_timeout)
    return StreamTransport(stream, write_timeout)


def find_addresses(stream: trio.abc.Stream) -> tuple[Address | None, Address | None]:
    """Return the addresses of the client and of the server, as ASGI wants them, where there are any."""
    inner: Any = stream
    while isinstance(inner, trio.SSLStream):
        inner = inner.transport_stream  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(inner, trio.SocketStream):
        return None, None
    try:
        return _address(inner.socket.getpeername()), _address(inner.socket.getsockname())
    except OSError:
        # It has gone away already.
        return None, None


def _address(name: Any) -> Address | None:
    if isinstance(name, str):
        # A Unix socket has a path, and its client has none.
        return (name, None) if name else None
    return name[0], name[1]
