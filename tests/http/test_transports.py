"""TLS, Unix sockets, IPv6."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from streamscope.http import HTTPLimits
from tests.http.helpers import (
    Client,
    MemoryListener,
    body,
    echo,
    hello,
    http_only,
    read_body,
    serving,
    start,
)


class Encrypting:
    """Certificates for a server and for its clients."""

    def __init__(self):
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)
        self._client = ssl.create_default_context()
        authority.configure_trust(self._client)

    async def listeners(self):
        return await trio.open_ssl_over_tcp_listeners(0, self.server, host="127.0.0.1", https_compatible=True)

    async def connect(self, served):
        address = served.listeners[0].transport_listener.socket.getsockname()
        return Client(await trio.open_ssl_over_tcp_stream(*address, ssl_context=self._client, https_compatible=True))


@pytest.fixture(scope="module")
def tls():
    return Encrypting()


async def test_tls(tls):
    scopes = []

    @http_only
    async def app(scope, receive, send):
        scopes.append(scope)
        await echo(scope, receive, send)

    async with serving(app, await tls.listeners()) as served:
        client = await tls.connect(served)
        async with client.stream:
            for data in (b"abc", bytes(500_000)):
                await client.post(data)
                assert (await client.answer()).body == data
            # A URI has to have the scheme of the connection.
            await client.send(b"GET https://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer()).status == 200
            here = client.stream.transport_stream.socket.getsockname()
    assert scopes[0]["scheme"] == "https"
    assert scopes[0]["client"] == here
    assert scopes[0]["server"][0] == "127.0.0.1"


async def test_a_disconnect_over_tls(tls):
    waiting, told = trio.Event(), trio.Event()

    @http_only
    async def app(scope, receive, send):
        await read_body(receive)
        await start(send)
        await body(send, b"a", more=True)
        waiting.set()
        assert await receive() == {"type": "http.disconnect"}
        told.set()

    async with serving(app, await tls.listeners()) as served:
        client = await tls.connect(served)
        await client.get()
        await waiting.wait()
        await client.stream.aclose()
        await told.wait()


async def test_whoever_watches_for_a_disconnect_leaves_the_next_request_alone(tls):
    @http_only
    async def app(scope, receive, send):
        await read_body(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await start(send)
            for _ in range(3):
                await body(send, bytes(1000), more=True)
            await body(send)

    async with serving(app, await tls.listeners()) as served:
        client = await tls.connect(served)
        async with client.stream:
            for _ in range(20):
                await client.post(bytes(1000))
                assert (await client.answer()).body == bytes(3000)


async def test_a_client_that_stops_reading_over_tls(tls):
    caught = []

    @http_only
    async def app(scope, receive, send):
        await start(send)
        try:
            while True:
                await body(send, bytes(2**20), more=True)
        except OSError as exc:
            caught.append(exc)
            done.set()
            raise

    done = trio.Event()
    async with serving(app, await tls.listeners(), limits=HTTPLimits(write_timeout=0.1)) as served:
        client = await tls.connect(served)
        await client.get()
        await done.wait()
        # The end is not that of the response: there is no close_notify.
        await trio.aclose_forcefully(client.stream)
    assert len(caught) == 1


async def test_a_client_that_does_not_speak_tls(tls):
    async with serving(hello, await tls.listeners()) as served:
        address = served.listeners[0].transport_listener.socket.getsockname()
        plain = Client(await trio.open_tcp_stream(*address))
        async with plain.stream:
            await plain.get()
            await plain.rest()
        client = await tls.connect(served)
        async with client.stream:
            await client.get()
            assert (await client.answer()).status == 200


async def test_an_incomplete_response_over_tls_is_not_taken_for_a_whole_one(tls, caplog):
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"a", more=True)

    async with serving(app, await tls.listeners()) as served:
        client = await tls.connect(served)
        await client.get()
        await client.head()
        assert await client.chunk() == b"a"
        assert await client.rest() == b""
        await client.stream.aclose()
    assert "incomplete" in caplog.text
    caplog.clear()


async def test_stopping_with_idle_tls_connections(tls):
    async with serving(hello, await tls.listeners(), grace=1000) as served:
        client, silent = await tls.connect(served), await trio.open_tcp_stream(*tls_address(served))
        await client.get()
        await client.answer()
        served.stop.set()
        await client.closed()
        await client.stream.aclose()
        async with silent:
            assert await silent.receive_some() == b""


def tls_address(served):
    return served.listeners[0].transport_listener.socket.getsockname()


async def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "socket")
    scopes = []

    @http_only
    async def app(scope, receive, send):
        scopes.append(scope)
        await hello(scope, receive, send)

    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    async with serving(app, [trio.SocketListener(sock)]):
        client = Client(await trio.open_unix_socket(path))
        async with client.stream:
            await client.get()
            assert (await client.answer()).body == b"hello /"
    assert scopes[0]["client"] is None
    assert scopes[0]["server"] == (path, None)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback device")
async def test_ipv6():
    scopes = []

    @http_only
    async def app(scope, receive, send):
        scopes.append(scope)
        await hello(scope, receive, send)

    async with serving(app, await trio.open_tcp_listeners(0, host="::1")) as served, served.client() as client:
        await client.get()
        await client.answer()
        assert scopes[0]["server"] == served.address[:2]
        assert scopes[0]["client"] == client.stream.socket.getsockname()[:2]


async def test_any_stream(autojump_clock):
    scopes = []

    @http_only
    async def app(scope, receive, send):
        scopes.append(scope)
        await echo(scope, receive, send)

    async with serving(app, [MemoryListener()]) as served, served.client() as client:
        await client.post(bytes(200_000))
        assert (await client.answer()).body == bytes(200_000)
    assert (scopes[0]["client"], scopes[0]["server"]) == (None, None)


async def test_a_defect_that_shows_in_one_connection_is_none_of_the_others(autojump_clock, caplog):
    async def fail():
        raise ValueError("a defect")

    listener = MemoryListener()
    async with serving(hello, [listener]) as served, served.client() as good:
        bad = await listener.connect(fail)
        async with bad:
            await Client(bad).get()
            assert await bad.receive_some() == b""
            await wait_all_tasks_blocked()
        assert "a defect" in caplog.text
        caplog.clear()
        await good.get()
        assert (await good.answer()).status == 200


@pytest.mark.parametrize("lockstep", [False, True])
async def test_a_cancelled_send_over_any_stream_breaks_the_connection(lockstep, autojump_clock):
    caught = []

    @http_only
    async def app(scope, receive, send):
        await start(send)
        with trio.move_on_after(1) as cancelled:
            await body(send, bytes(1000), more=True)
        if cancelled.cancelled_caught:
            with pytest.raises(OSError, match="gone away") as info:
                await body(send)
            caught.append(info.value)
        else:
            await body(send)

    async with serving(app, [MemoryListener(lockstep=lockstep)]) as served, served.client() as client:
        await client.get()
        await trio.sleep(2)
        if lockstep:
            assert not (await client.rest()).endswith(b"0\r\n\r\n")
        else:
            assert (await client.answer()).body == bytes(1000)
    assert len(caught) == lockstep
