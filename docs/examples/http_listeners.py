"""Listeners for `streamscope.http.serve`: TLS, and a Unix socket."""

import socket
import ssl
from pathlib import Path
from typing import Any

import trio


async def open_tls_listeners(certificate: Path, port: int) -> list[trio.SSLListener[trio.SocketStream]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    # https_compatible: browsers do not end TLS properly, and a client need not.
    return await trio.open_ssl_over_tcp_listeners(port, context, host="127.0.0.1", https_compatible=True)


async def open_unix_listener(path: Path) -> trio.SocketListener:
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    return trio.SocketListener(sock)


async def open_all(certificate: Path, port: int, path: Path) -> list[trio.abc.Listener[Any]]:
    return [*await open_tls_listeners(certificate, port), await open_unix_listener(path)]
