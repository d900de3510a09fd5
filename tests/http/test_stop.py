"""An orderly stop, and one at once."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from streamscope.http import serve
from tests.http.helpers import MemoryListener, body, echo, hello, http_only, serving, start


async def test_nothing_to_stop():
    async with serving(hello) as served:
        address = served.address
        served.stop.set()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream(*address)


async def test_idle_connections_are_closed_at_once():
    async with serving(hello, grace=1000) as served, served.client() as unused, served.client() as used:
        await used.get()
        await used.answer()
        await wait_all_tasks_blocked()
        served.stop.set()
        await unused.closed()
        await used.closed()


async def test_requests_under_way_are_answered():
    go_on, running = trio.Event(), trio.Event()

    @http_only
    async def app(scope, receive, send):
        running.set()
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(app, grace=1000) as served, served.client() as client:
        await client.get()
        await running.wait()
        served.stop.set()
        await wait_all_tasks_blocked()
        go_on.set()
        answer = await client.answer()
        assert answer.body == b"hello /"
        assert answer.headers["connection"] == "close"
        await client.closed()


async def test_requests_behind_them_are_not_begun():
    go_on, running, seen = trio.Event(), trio.Event(), []

    @http_only
    async def app(scope, receive, send):
        seen.append(scope["path"])
        running.set()
        await go_on.wait()
        await hello(scope, receive, send)

    async with serving(app, grace=1000) as served, served.client() as client:
        await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        await running.wait()
        served.stop.set()
        await wait_all_tasks_blocked()
        go_on.set()
        assert (await client.answer()).body == b"hello /a"
        await client.closed()
    assert seen == ["/a"]


async def test_a_response_that_has_begun_ends_its_connection_too():
    go_on = trio.Event()

    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"a", more=True)
        await go_on.wait()
        await body(send, b"b")

    async with serving(app, grace=1000) as served, served.client() as client:
        await client.get()
        assert "connection" not in (await client.head()).headers
        assert await client.chunk() == b"a"
        served.stop.set()
        await wait_all_tasks_blocked()
        go_on.set()
        assert [chunk async for chunk in client.chunks()] == [b"b"]
        await client.closed()


async def test_requests_behind_one_that_has_begun_are_not_begun():
    go_on, seen = trio.Event(), []

    @http_only
    async def app(scope, receive, send):
        seen.append(scope["path"])
        await start(send)
        await body(send, b"a", more=True)
        await go_on.wait()
        await body(send, b"b")

    async with serving(app, grace=1000) as served, served.client() as client:
        await client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        served.stop.set()
        await wait_all_tasks_blocked()
        go_on.set()
        assert [chunk async for chunk in client.chunks()] == [b"a", b"b"]
        await client.closed()
    assert seen == ["/a"]


async def test_a_head_that_has_begun_may_end():
    async with serving(hello, grace=1000) as served, served.client() as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        await trio.sleep(0.02)
        served.stop.set()
        await wait_all_tasks_blocked()
        await client.send(b"Host: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("arrived", ["of the head", "of the body"])
async def test_what_has_not_arrived_of_a_request_has_to_come_soon(arrived, autojump_clock):
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    if arrived == "of the body":
        head += b"Content-Length: 5\r\n\r\nab"
    async with (
        serving(echo, [MemoryListener()], grace=1000) as served,
        served.client() as late,
        served.client() as in_time,
    ):
        for client in (late, in_time):
            await client.send(head)
        await wait_all_tasks_blocked()
        stopped = trio.current_time()
        served.stop.set()
        await trio.sleep(1)
        await in_time.send(b"cde" if arrived == "of the body" else b"Content-Length: 0\r\n\r\n")
        answer = await in_time.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        answer = await late.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert trio.current_time() - stopped == pytest.approx(2)


async def test_when_the_time_is_over_they_are_cancelled(autojump_clock):
    cancelled = []

    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"a", more=True)
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    async with serving(app, [MemoryListener()], grace=7) as served, served.client() as client:
        await client.get()
        await client.head()
        assert await client.chunk() == b"a"
        stopped = trio.current_time()
        served.stop.set()
        # There is no end of the response.
        await client.closed()
    assert cancelled == [pytest.approx(stopped + 7)]


async def test_a_goodbye_over_a_socket():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"a", more=True)
        try:
            await trio.sleep_forever()
        finally:
            # There is no checkpoint in the last send, so it is not cancelled.
            await body(send, b"goodbye")

    async with serving(app, grace=0.05) as served, served.client() as client:
        await client.get()
        await client.head()
        assert await client.chunk() == b"a"
        served.stop.set()
        assert [chunk async for chunk in client.chunks()] == [b"goodbye"]
        await client.closed()


async def test_to_cancel_it_stops_it_at_once(autojump_clock):
    ended = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
        else:
            await start(send)
            await body(send, b"a", more=True)
        try:
            await receive()
            await trio.sleep_forever()
        finally:
            ended.append(scope["type"])

    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, app, [listener], grace=1000))
        client, idle = await listener.connect(), await listener.connect()
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await wait_all_tasks_blocked()
        begin = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == begin
    assert sorted(ended) == ["http", "lifespan"]
    for stream in (client, idle):
        async with stream:
            while await stream.receive_some():
                pass


async def test_all_listeners_are_closed_when_it_is_cancelled():
    listeners = [await trio.open_tcp_listeners(0, host="127.0.0.1") for _ in range(3)]
    flat = [listener for some in listeners for listener in some]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, hello, flat))
        nursery.cancel_scope.cancel()
    assert [listener.socket.fileno() for listener in flat] == [-1] * 3


async def test_many_connections_stop_together():
    async with serving(echo, grace=1000) as served:
        clients = [await served.connect() for _ in range(50)]
        for number, client in enumerate(clients):
            if number % 2:
                await client.post(b"a")
                await client.answer()
        served.stop.set()
        for client in clients:
            await client.closed()
            await client.stream.aclose()


async def test_a_listener_that_fails_is_an_error():
    class Broken(trio.abc.Listener[trio.abc.Stream]):
        async def accept(self):
            raise OSError("the address is gone")

        async def aclose(self):
            await trio.lowlevel.checkpoint()

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="gone"), flatten_subgroups=True):
        await serve(hello, [Broken()])
