"""HTTP as bytes: requests framed well and badly, written in pieces, and what comes back, read by the letter."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Literal, TypeAlias

import attrs
import h11

from tests.fuzz.responses import Response
from tests.fuzz.shots import Piece, Shot, filled, plain

PATIENCE = 10.0
"""Seconds without a byte after which a server hangs."""

SOUND = ("length", "chunked", "odd-chunks", "expect")
UNSOUND_HEAD = ("twice", "headless", "split", "folded", "noise")
UNSOUND_BODY = ("none", "short", "long", "unfinished", "bad-chunks", "both", "old", "bare")
"""With these, a body does not come to its end, or bytes follow upon a request that ends its connection."""
Ending: TypeAlias = Literal["wait", "half", "close", "reset", "early"]
# A server may take no others (RFC 9110, section 9.1).
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# RFC 9112, section 3.2: a malformed one is refused, and so is a fragment in a target.
_HOST = re.compile(rb"(?:[\w.-]*|\[[0-9A-Fa-f:]+\])(?::[0-9]*)?", re.ASCII)
_HEAD = 4096
"""Bytes that every server takes for a head."""


def _own(value: Piece) -> bool:
    """Whether a header is one that framing takes care of."""
    return isinstance(value, bytes) and value.strip() == b"$length"


@attrs.frozen
class Framed:
    """A request as it is framed; the tuples above are the ways."""

    how: str
    shot: Shot

    @property
    def sound(self) -> bool:
        """Whether an HTTP server has to pass it on. What it does with any other is its own affair."""
        fields = [(name.lower(), plain(value)) for name, value in self.shot.headers if not _own(value)]
        names, values = [name for name, _ in fields], [value for _, value in fields]
        return (
            self.how in SOUND
            and self.shot.method in _METHODS
            and re.fullmatch(r"/[!-~]*", self.shot.path) is not None
            and "#" not in self.shot.path
            and names.count(b"host") == 1
            and _HOST.fullmatch(values[names.index(b"host")].strip()) is not None
            and {b"transfer-encoding", b"content-length"}.isdisjoint(names)
            and all(map(_VALUE.fullmatch, values))
            and sum(map(len, values)) < _HEAD
        )

    def render(self, names: Mapping[bytes, bytes], *, last: bool) -> bytes:
        """Write it; the last of its connection says so."""
        body, how = self.shot.whole_body, self.how
        shot = attrs.evolve(self.shot, headers=tuple(header for header in self.shot.headers if not _own(header[1])))
        fields = filled(shot, names)
        if self.shot.user is not None:
            fields.append((b"x-user", self.shot.user.encode()))
        if last:
            fields.append((b"connection", b"close"))
        length = {"short": len(body) // 2, "long": len(body) + 7}.get(how, len(body))
        if how not in {"none", "chunked", "odd-chunks", "bad-chunks", "unfinished"}:
            fields.append((b"content-length", b"%d" % length))
        if how in {"chunked", "odd-chunks", "bad-chunks", "unfinished", "both"}:
            fields.append((b"transfer-encoding", b"chunked"))
            body = b"".join(self._chunk(plain(piece)) for piece in self.shot.body)
            body += (
                b"" if how == "unfinished" else b"000\r\nx-trailer: y\r\n\r\n" if how == "odd-chunks" else b"0\r\n\r\n"
            )
        match how:
            case "twice":
                fields.append((b"content-length", b"1"))
            case "expect":
                fields.append((b"expect", b"100-continue"))
            case "folded":
                fields.append((b"x-folded", b"a\r\n b"))
            case "split":
                fields.append((b"x-\r\nsplit", b"a"))
        version = b"HTTP/1.0" if how == "old" else b"HTTP/1.1"
        start = b"%b %b %b" % (self.shot.method.encode(), self.shot.path.encode() or b"/", version)
        lines = [start, *(name + b":" + value for name, value in fields), b"", b""]
        head = (b"\n" if how == "bare" else b"\r\n").join([b"\0\xff"] if how == "noise" else lines)
        return (b"" if how == "headless" else head) + body

    def _chunk(self, data: bytes) -> bytes:
        if not data:
            # An empty chunk would be the last.
            return b""
        match self.how:
            case "odd-chunks":
                return b'00%X;ext="a b"\r\n%b\r\n' % (len(data), data)
            case "bad-chunks":
                return b"%x\r\n%b" % (len(data) + 1, data)
        return b"%x\r\n%b\r\n" % (len(data), data)


@attrs.frozen
class Talk:
    """What one client says on one connection, and how it ends it.

    It waits for all responses; or shuts its half down and then waits; or closes the connection, or resets it, when it
    has said everything, or as soon as something comes.
    """

    requests: tuple[Framed, ...]
    cuts: tuple[int, ...] = ()
    """Where the bytes are cut on their way."""
    ending: Ending = "wait"

    @property
    def sound(self) -> bool:
        return all(framed.sound for framed in self.requests)


def hold(talk: Talk, address: tuple[str, int], names: Mapping[bytes, bytes]) -> list[Response]:
    """Hold a talk with a server, and return the responses as far as they came."""
    *others, last = talk.requests
    written = [*(framed.render(names, last=False) for framed in others), last.render(names, last=True)]
    data = b"".join(written)
    places = sorted({0, len(data), *(place for place in talk.cuts if place < len(data))})
    received = bytearray()
    with socket.create_connection(address, PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server may refuse and hang up before it was told everything.
        with suppress(ConnectionError):
            for begin, end in pairwise(places):
                connection.sendall(data[begin:end])
            match talk.ending:
                case "half":
                    # It may be closed by now.
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                case "early":
                    received += connection.recv(1)
                case "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(ConnectionError):
            while talk.ending in {"wait", "half"} and (some := connection.recv(65536)):
                received += some
    return read(bytes(received), [framed.shot for framed in talk.requests])


def read(data: bytes, shots: Sequence[Shot]) -> list[Response]:
    """Read the responses to some requests; none where there are no more bytes.

    Raises:
        h11.RemoteProtocolError: What came is no HTTP.
    """
    responses: list[Response] = []
    for shot in shots:
        if not data:
            break
        response, data = _one(data, shot)
        responses.append(response)
    return responses


def _one(data: bytes, shot: Shot) -> tuple[Response, bytes]:
    parser = h11.Connection(h11.CLIENT)
    # The parser has to know what was asked: no body follows the answer to a HEAD.
    method = shot.method if _TOKEN.fullmatch(shot.method.encode()) else "GET"
    parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    response = Response(shot)
    while True:
        event = parser.next_event()
        match event:
            case h11.InformationalResponse():
                continue
            case h11.Response():
                response.status = event.status_code
                response.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            case h11.Data():
                response.body += event.data
            case h11.EndOfMessage():
                response.over = True
                return response, parser.trailing_data[0]
            case _:
                # The client was gone, or the server has cut it.
                response.left = 0
                return response, b""


class Listener:
    """A GET whose response is read as it comes."""

    def __init__(self, shot: Shot, address: tuple[str, int], names: Mapping[bytes, bytes]) -> None:
        self._received = bytearray()
        self._connection = socket.create_connection(address, PATIENCE)
        self._connection.sendall(Framed("length", shot).render(names, last=True))
        self.until(b"\r\nid: ")

    def until(self, text: bytes) -> None:
        """Wait until something has come, and forget what came up to there."""
        while text not in self._received:
            some = self._connection.recv(65536)
            assert some, f"{text!r} is not in {bytes(self._received)!r}"
            self._received += some
        del self._received[: self._received.index(text)]

    def close(self) -> None:
        self._connection.close()
