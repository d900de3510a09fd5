"""The examples of docs/http.rst, run as they are."""

from __future__ import annotations

import runpy
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.http.helpers import PATIENCE, Client, hello, serving

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


async def read_line(stream):
    line = b""
    while not line.endswith(b"\n"):
        data = await stream.receive_some(1)
        assert data, f"it has ended after {line!r}"
        line += data
    return line.decode().rstrip()


async def test_server():
    command = [sys.executable, str(EXAMPLES / "http_server.py"), "0"]
    with trio.fail_after(PATIENCE):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            url = await read_line(process.stdout)
            address = url.removeprefix("http://").removesuffix("/").split(":")
            stream = await trio.open_tcp_stream(address[0], int(address[1]))
            async with stream:
                client = Client(stream)
                await client.get()
                assert (await client.head()).headers["content-type"] == "text/event-stream"
                assert [await client.chunk() for _ in range(3)] == [b"data: %d\n\n" % number for number in range(3)]
            assert await read_line(process.stdout) == "the client went away"
            stream = await trio.open_tcp_stream(address[0], int(address[1]))
            async with stream:
                client = Client(stream)
                await client.get()
                await client.head()
                process.send_signal(signal.SIGTERM)
                # It is listened to for half a second more.
                await client.rest()
            assert await process.wait() == 0
        finally:
            process.kill()
            await process.wait()
            await process.stdout.aclose()


async def test_listeners(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    open_all = runpy.run_path(str(EXAMPLES / "http_listeners.py"))["open_all"]
    listeners = await open_all(tmp_path / "server.pem", 0, tmp_path / "socket")
    async with serving(hello, listeners):
        address = listeners[0].transport_listener.socket.getsockname()
        encrypted = await trio.open_ssl_over_tcp_stream(*address, ssl_context=client_context, https_compatible=True)
        for stream in (encrypted, await trio.open_unix_socket(str(tmp_path / "socket"))):
            async with stream:
                client = Client(stream)
                await client.get()
                assert (await client.answer()).body == b"hello /"
