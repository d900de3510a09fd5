"""Requests and responses, as clients and applications see them."""

from __future__ import annotations

import contextvars
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.http.helpers import (
    HOST,
    Client,
    body,
    echo,
    hello,
    http_only,
    serving,
    start,
    talking,
)


async def test_a_request_and_its_response():
    async with talking(hello) as client:
        await client.get(b"/there")
        answer = await client.answer()
    assert answer.status == 200
    assert answer.body == b"hello /there"
    assert set(answer.headers) == {"date", "content-length"}
    assert answer.headers["date"].endswith(" GMT")


async def test_the_scope_is_complete():
    scopes = []

    @http_only
    async def app(scope, receive, send):
        scopes.append(scope)
        await hello(scope, receive, send)

    async with serving(app, root_path="/api") as served, served.client() as client:
        await client.send(
            b"GET /a%20b/%C3%A4?x=%20 HTTP/1.1\r\nHost: a:80\r\n"
            b"X-Empty:\r\nX-Space: \t a  b \t \r\nx-a: 1\r\nX-A: \xff\r\n\r\n"
        )
        await client.answer()
        assert isinstance(client.stream, trio.SocketStream)
        here, there = client.stream.socket.getsockname(), served.address
    assert scopes == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/a b/ä",
            "raw_path": b"/api/a%20b/%C3%A4",
            "query_string": b"x=%20",
            "root_path": "/api",
            "headers": [
                (b"host", b"a:80"),
                (b"x-empty", b""),
                (b"x-space", b"a  b"),
                (b"x-a", b"1"),
                (b"x-a", b"\xff"),
            ],
            "client": here,
            "server": there,
            "state": {},
            "extensions": {"streamscope.whole_body": {}},
        }
    ]


async def test_the_scope_tells_whether_all_of_the_body_is_there():
    told = []
    begun = trio.Event()

    @http_only
    async def app(scope, receive, send):
        told.append("streamscope.whole_body" in scope["extensions"])
        if len(told) == 2:
            begun.set()
        await echo(scope, receive, send)

    async with serving(app) as served, served.client() as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
        await client.send(head + b"ab")
        assert (await client.answer()).body == b"ab"
        await client.send(head + b"a")
        await begun.wait()
        await client.send(b"b")
        assert (await client.answer()).body == b"ab"
    assert told == [True, False]


async def test_a_connection_serves_many_requests():
    async with talking(echo) as client:
        for number in range(1100):
            await client.post(b"%d" % number)
            assert (await client.answer()).body == b"%d" % number


async def test_pipelined_requests_are_answered_in_order_and_one_by_one():
    running, most = 0, 0

    @http_only
    async def app(scope, receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        # The later, the quicker.
        await trio.sleep(0.01 / int(scope["path"][1:]))
        await hello(scope, receive, send)
        running -= 1

    async with talking(app) as client:
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, HOST) for number in range(1, 6)))
        assert [(await client.answer()).body for _ in range(5)] == [b"hello /%d" % number for number in range(1, 6)]
    assert most == 1


async def test_the_next_request_waits_until_the_application_has_returned():
    go_on, seen = trio.Event(), []

    @http_only
    async def app(scope, receive, send):
        seen.append(scope["path"])
        await hello(scope, receive, send)
        await go_on.wait()
        seen.append("done")

    async with talking(app) as client:
        await client.get(b"/first")
        await client.answer()
        await client.get(b"/second")
        await wait_all_tasks_blocked()
        assert seen == ["/first"]
        go_on.set()
        await client.answer()
    assert seen[:3] == ["/first", "done", "/second"]


async def test_a_pipelined_request_behind_a_body():
    async with talking(echo) as client:
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nde"
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert [(await client.answer()).body for _ in range(3)] == [b"abc", b"de", b""]


async def test_a_request_that_comes_byte_by_byte():
    async with talking(echo) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for byte in head + b"2;a=b\r\nab\r\n1\r\nc\r\n0\r\nx: y\r\n\r\n":
            await client.send(bytes([byte]))
        assert (await client.answer()).body == b"abc"


async def test_a_large_body_is_given_as_it_comes_and_not_read_ahead():
    size = 8 * 2**20
    pieces = []
    go_on = trio.Event()

    @http_only
    async def app(scope, receive, send):
        await go_on.wait()
        more = True
        while more:
            message = await receive()
            pieces.append(len(message["body"]))
            more = message["more_body"]
        await start(send)
        await body(send)

    async with talking(app) as client:
        async with trio.open_nursery() as nursery:
            sent = trio.Event()

            @nursery.start_soon
            async def post():
                await client.post(bytes(size))
                sent.set()

            # The kernel's buffers take some of it, and the server takes no more.
            with trio.move_on_after(0.1):
                await sent.wait()
            assert not sent.is_set()
            go_on.set()
        await client.answer()
    assert sum(pieces) == size
    assert max(pieces) <= 2**16


async def test_a_response_in_parts_is_chunked():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, more=True)
        for part in (b"one", b"", b"two"):
            await body(send, part, more=True)
        await body(send, b"three")

    async with talking(app) as client:
        for _ in range(2):
            await client.get()
            head = await client.head()
            assert head.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in head.headers
            assert [chunk async for chunk in client.chunks()] == [b"one", b"two", b"three"]


async def test_a_part_of_a_response_is_sent_at_once():
    go_on = trio.Event()

    @http_only
    async def app(scope, receive, send):
        await start(send, headers=[(b"content-type", b"text/event-stream")])
        await body(send, b"data: 1\n\n", more=True)
        await go_on.wait()
        await body(send, b"data: 2\n\n")

    async with talking(app) as client:
        await client.get()
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        assert await client.chunk() == b"data: 1\n\n"
        go_on.set()
        assert await client.chunk() == b"data: 2\n\n"
        assert await client.chunk() == b""


async def test_a_response_with_its_length_is_sent_as_it_is():
    @http_only
    async def app(scope, receive, send):
        await start(send, headers=[(b"Content-Length", b"6")])
        await body(send, b"one", more=True)
        await body(send, b"two")

    async with talking(app) as client:
        await client.get()
        answer = await client.answer()
        assert answer.body == b"onetwo"
        assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("length", [None, 12])
async def test_head_gets_no_body(length):
    @http_only
    async def app(scope, receive, send):
        await start(send, headers=[] if length is None else [(b"content-length", b"%d" % length)])
        await body(send, b"hello ", more=True)
        await body(send, b"world!")

    async with talking(app) as client:
        for _ in range(2):
            await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.head()
            assert head.headers.get("content-length") == (None if length is None else str(length))
            assert "transfer-encoding" not in head.headers
        assert client.buffer == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body(status):
    @http_only
    async def app(scope, receive, send):
        await start(send, status)
        await body(send)

    async with talking(app) as client:
        for _ in range(2):
            await client.get()
            answer = await client.answer()
            assert answer.status == status
            assert not {"content-length", "transfer-encoding"} & set(answer.headers)


class TestOldClients:
    async def test_the_end_of_the_connection_is_the_end_of_the_body(self):
        @http_only
        async def app(scope, receive, send):
            assert scope["http_version"] == "1.0"
            await start(send)
            await body(send, b"one", more=True)
            await body(send, b"two")

        async with talking(app) as client:
            await client.get(version=b"1.0", headers=b"Connection: keep-alive\r\n")
            answer = await client.answer()
            assert answer.body == b"onetwo"
            assert answer.headers["connection"] == "close"
            assert not {"content-length", "transfer-encoding"} & set(answer.headers)

    async def test_the_connection_is_closed(self):
        async with talking(hello) as client:
            await client.get(version=b"1.0")
            assert (await client.answer()).headers["connection"] == "close"
            await client.closed()

    async def test_unless_they_ask_for_another_request(self):
        async with talking(hello) as client:
            for _ in range(2):
                await client.get(version=b"1.0", headers=b"Connection: Keep-Alive\r\n")
                assert (await client.answer()).headers["connection"] == "keep-alive"

    async def test_need_no_host(self):
        async with talking(hello) as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("option", [b"close", b"Close", b"foo, close"])
async def test_a_client_may_ask_to_close(option):
    async with talking(hello) as client:
        await client.get(headers=b"Connection: " + option + b"\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        await client.closed()


async def test_an_application_may_ask_to_close():
    @http_only
    async def app(scope, receive, send):
        await start(send, headers=[(b"Connection", b"close")])
        await body(send)

    async with talking(app) as client:
        await client.get()
        assert (await client.answer()).headers["connection"] == "close"
        await client.closed()


async def test_an_upgrade_is_ignored():
    async with talking(hello) as client:
        for _ in range(2):
            await client.get(headers=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            assert (await client.answer()).body == b"hello /"


class TestContinue:
    EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"

    async def test_is_sent_when_the_application_wants_the_body(self):
        go_on = trio.Event()

        @http_only
        async def app(scope, receive, send):
            await go_on.wait()
            await echo(scope, receive, send)

        async with talking(app) as client:
            for _ in range(2):
                await client.send(self.EXPECTING)
                with trio.move_on_after(0.05):
                    await client.until(b"\r\n")
                assert client.buffer == b""
                go_on.set()
                assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                await client.send(b"abc")
                assert (await client.answer()).body == b"abc"
                go_on = trio.Event()

    async def test_is_not_sent_to_a_client_that_did_not_wait(self):
        async with talking(echo) as client:
            await client.send(self.EXPECTING + b"abc")
            answer = await client.answer()
            assert answer.body == b"abc"
            assert "connection" not in answer.headers

    async def test_without_it_the_connection_is_closed(self):
        @http_only
        async def app(scope, receive, send):
            await start(send, 401)
            await body(send, b"no")

        async with talking(app) as client:
            await client.send(self.EXPECTING)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (401, "close")
            await client.closed()

    async def test_http_10_does_not_have_it(self):
        async with talking(echo) as client:
            await client.send(self.EXPECTING.replace(b"1.1", b"1.0"))
            with trio.move_on_after(0.05):
                await client.until(b"\r\n")
            assert client.buffer == b""
            await client.send(b"abc")
            assert (await client.answer()).body == b"abc"


async def test_a_small_body_that_nobody_read_does_not_cost_the_connection():
    async with talking(hello) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert (await client.answer()).body == b"hello /"
        await client.send(b"abcde")
        await client.get(b"/again")
        assert (await client.answer()).body == b"hello /again"


async def test_a_large_body_that_nobody_read_does():
    async with talking(hello) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
        # What the client has not sent when it gets the answer does not destroy the answer.
        answer = await client.answer()
        assert answer.body == b"hello /"
        assert answer.headers["connection"] == "close"
        await client.closed()


async def test_nor_does_a_large_one_in_chunks_keep_it():
    async with talking(hello) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.answer()).body == b"hello /"
        for _ in range(10):
            await client.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        await client.closed()


async def test_what_one_request_does_to_its_scope_is_not_seen_by_one_that_is_the_same():
    seen = []

    @http_only
    async def app(scope, receive, send):
        seen.append(list(scope["headers"]))
        scope["headers"].append((b"x-user", b"alice"))
        scope["state"]["user"] = "alice"
        assert scope["state"] == {"user": "alice"}
        scope.clear()
        await start(send)
        await body(send)

    async with serving(app) as served:
        for _ in range(2):
            async with served.client() as client:
                for _ in range(2):
                    await client.get()
                    await client.answer()
    assert seen == [[(b"host", b"a")]] * 4


async def test_what_one_request_sets_is_not_there_for_the_next():
    user = contextvars.ContextVar("user", default="nobody")
    seen = []

    @http_only
    async def app(scope, receive, send):
        seen.append(user.get())
        user.set(scope["path"])
        await hello(scope, receive, send)
        seen.append(user.get())

    async with talking(app) as client:
        for _ in range(2):
            await client.get(b"/alice")
            await client.answer()
        # Pipelined, nothing waits between the two.
        await client.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.answer()
        await client.answer()
    assert seen == ["nobody", "/alice", "nobody", "/alice", "nobody", "/b", "nobody", "/c"]


@pytest.mark.parametrize(
    ("line", "path", "query", "host"),
    [
        (b"GET http://b.example:81/x?y HTTP/1.1", "/x", b"y", b"b.example:81"),
        (b"GET HTTP://b.example HTTP/1.1", "/", b"", b"b.example"),
        (b"GET http://b.example?y HTTP/1.1", "/", b"y", b"b.example"),
        (b"OPTIONS http://b.example HTTP/1.1", "*", b"", b"b.example"),
        (b"OPTIONS * HTTP/1.1", "*", b"", b"a"),
        (b"OPTIONS /x HTTP/1.1", "/x", b"", b"a"),
        (b"GET //x/?? HTTP/1.1", "//x/", b"?", b"a"),
        (b"GET /%zz%ff HTTP/1.1", "/%zz\ufffd", b"", b"a"),
    ],
)
async def test_forms_of_targets(line, path, query, host):
    @http_only
    async def app(scope, receive, send):
        assert (scope["path"], scope["query_string"]) == (path, query)
        assert [value for name, value in scope["headers"] if name == b"host"] == [host]
        await start(send, 204)
        await body(send)

    async with talking(app) as client:
        await client.send(line + b"\r\nHost: a\r\n\r\n")
        assert (await client.answer()).status == 204


async def test_several_listeners():
    listeners = [
        *await trio.open_tcp_listeners(0, host="127.0.0.1"),
        *await trio.open_tcp_listeners(0, host="127.0.0.1"),
    ]
    async with serving(hello, listeners) as served:
        assert len(served.listeners) == 2
        for listener in served.listeners:
            client = Client(await trio.open_tcp_stream(*listener.socket.getsockname()))
            async with client.stream:
                await client.get()
                assert (await client.answer()).body == b"hello /"


async def test_a_half_closed_connection_gets_its_answers():
    async with talking(echo) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" * 2)
        assert isinstance(client.stream, trio.SocketStream)
        await client.stream.send_eof()
        assert [(await client.answer()).body for _ in range(2)] == [b"ab", b"ab"]
        await client.closed()


async def test_a_body_that_is_cut_off_is_a_disconnect():
    told = trio.Event()

    @http_only
    async def app(scope, receive, send):
        message = await receive()
        assert message == {"type": "http.request", "body": b"ab", "more_body": True}
        assert (await receive()) == {"type": "http.disconnect"}
        told.set()

    async with serving(app) as served:
        async with served.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
            assert isinstance(client.stream, trio.SocketStream)
            client.stream.socket.shutdown(socket.SHUT_WR)
            await told.wait()


async def test_the_answer_may_begin_before_the_request_has_ended():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await body(send, message["body"], more=more)

    async with talking(app) as client:
        for _ in range(2):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            await client.send(b"1\r\na\r\n")
            await client.head()
            assert await client.chunk() == b"a"
            await client.send(b"1\r\nb\r\n")
            assert await client.chunk() == b"b"
            await client.send(b"0\r\n\r\n")
            assert await client.chunk() == b""
