"""What the server refuses, over real connections; and applications that go wrong."""

from __future__ import annotations

import logging
import resource
import socket

import pytest
import trio

from streamscope.http import HTTPLimits
from tests.http.helpers import Client, body, echo, hello, http_only, serving, start, talking
from tests.http.test_parser import MALFORMED

LARGE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


async def never(scope, receive, send):
    raise AssertionError("the application was called")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (MALFORMED["both"], 400),
        (MALFORMED["no Host"], 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (LARGE, 413),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000, 431),
        (b"JUMP / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_refused_and_closed(data, status):
    async with talking(http_only(never), limits=HTTPLimits(max_body=999_999)) as client:
        await client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body.endswith(b"\n")
        await client.closed()


async def test_refused_behind_a_good_one():
    async with talking(hello) as client:
        await client.send(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")
        assert (await client.answer()).body == b"hello /good"
        assert (await client.answer()).status == 400
        await client.closed()


async def test_a_client_that_sends_on_gets_the_refusal():
    async with talking(http_only(never), limits=HTTPLimits(max_body=999_999)) as client, trio.open_nursery() as nursery:

        async def send():
            await client.send(LARGE)
            await client.send(bytes(1_000_000))

        nursery.start_soon(send)
        assert (await client.answer()).status == 413


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("rest", "status"), [(b"ab\r\n", 413), (b"5\r\nabcdef\r\n", 400), (b"x\r\n", 400)])
async def test_a_body_that_goes_wrong(rest, status):
    seen = []

    @http_only
    async def app(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())
        await start(send)
        with pytest.raises(OSError, match="gone away"):
            await body(send)

    async with talking(app, limits=HTTPLimits(max_body=100)) as client:
        await client.send(CHUNKED + b"1\r\na\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await client.send(rest)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        await client.closed()
    assert seen[-1] == {"type": "http.disconnect"}


async def test_a_body_that_goes_wrong_when_nobody_reads_it():
    async with talking(hello) as client:
        await client.send(CHUNKED + b"x\r\n")
        assert (await client.answer()).status == 200
        await client.closed()


async def test_a_body_that_goes_wrong_after_the_response_has_begun():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"begun", more=True)
        assert await receive() == {"type": "http.disconnect"}

    async with talking(app) as client:
        await client.send(CHUNKED + b"x\r\n")
        await client.head()
        assert await client.chunk() == b"begun"
        # Not the end of the body: the connection is reset.
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()


async def test_more_connections_than_there_may_be():
    async with serving(hello, limits=HTTPLimits(max_connections=2)) as served:
        async with served.client() as first, served.client() as second:
            for client in (first, second):
                await client.get()
                assert (await client.answer()).status == 200
            async with served.client() as third:
                await third.get()
                answer = await third.answer()
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                await third.closed()
            await first.get()
            assert (await first.answer()).status == 200
            first.reset()
            while True:
                async with served.client() as fourth:
                    await fourth.get()
                    if (await fourth.answer()).status == 200:
                        break


async def test_when_there_are_no_descriptors_left_clients_wait(caplog):
    async with serving(hello) as served, served.client() as first:
        await first.get()
        await first.answer()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as second, socket.socket() as third:
            try:
                # The descriptors of the server and of its clients are this process's: there can be no other one.
                resource.setrlimit(resource.RLIMIT_NOFILE, (third.fileno() + 1, hard))
                second.connect(served.address)
                third.connect(served.address)
                while "No more connections" not in caplog.text:  # noqa: ASYNC110 - a log tells no event
                    await trio.sleep(0.01)
                await trio.sleep(0.2)
                await first.get()
                assert (await first.answer()).status == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in (second, third):
                client = Client(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
                await client.get()
                assert (await client.answer()).status == 200
    assert caplog.text.count("No more connections") == 1
    caplog.clear()


class TestApplications:
    """Those that fail are logged, and their clients are not left without an answer, nor with half of one."""

    @pytest.fixture(autouse=True)
    def log(self, caplog):
        self.caplog = caplog

    def logged(self):
        (record,) = [record for record in self.caplog.records if record.levelno == logging.ERROR]
        self.caplog.clear()
        return record

    async def failing(self, app):
        """Run an application that fails before it has answered."""
        async with talking(http_only(app)) as client:
            await client.get()
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (500, "close")
            assert answer.body == b"Internal Server Error\n"
            await client.closed()
        return self.logged()

    async def breaking(self, app):
        """Run an application that fails while it answers."""
        async with talking(http_only(app)) as client:
            await client.get()
            await client.head()
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        return self.logged()

    async def test_raises(self):
        async def app(scope, receive, send):
            await start(send)
            raise ValueError("oh")

        assert "ValueError: oh" in (await self.failing(app)).exc_text

    async def test_raises_a_group(self):
        async def app(scope, receive, send):
            async with trio.open_nursery():
                raise ValueError("oh")

        assert "ValueError: oh" in (await self.failing(app)).exc_text

    async def test_says_nothing(self):
        async def app(scope, receive, send):
            await start(send)

        assert "no response" in (await self.failing(app)).message

    async def test_raises_in_the_middle(self):
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"a", more=True)
            raise ValueError("oh")

        assert "ValueError: oh" in (await self.breaking(app)).exc_text

    async def test_stops_in_the_middle(self):
        async def app(scope, receive, send):
            await start(send, headers=[(b"content-length", b"3")])
            await body(send, b"a", more=True)

        assert "incomplete" in (await self.breaking(app)).message

    async def test_sends_less_than_it_says(self):
        async def app(scope, receive, send):
            await start(send, headers=[(b"content-length", b"3")])
            await body(send, b"a", more=True)
            await body(send)

        assert "shorter than its Content-Length" in (await self.breaking(app)).exc_text

    async def test_sends_more_than_it_says(self):
        async def app(scope, receive, send):
            await start(send, headers=[(b"content-length", b"3")])
            await body(send, b"a", more=True)
            await body(send, b"bcd")

        assert "longer than its Content-Length" in (await self.breaking(app)).exc_text

    async def test_sends_more_than_it_says_at_once(self):
        async def app(scope, receive, send):
            await start(send, headers=[(b"content-length", b"3")])
            await body(send, b"abcd")

        assert "longer than its Content-Length" in (await self.failing(app)).exc_text

    @pytest.mark.parametrize(
        "header",
        [
            (b"a", b"b\r\nSet-Cookie: c"),
            (b"a", b"b\nc"),
            (b"a", b"b\rc"),
            (b"a", b"b\0c"),
            (b"a\r\nSet-Cookie", b"c"),
            (b"a: b", b"c"),
            (b"a ", b"c"),
            (b"", b"c"),
            (b"date", b"b\r\nc"),
            (b"connection", b"b\r\nc"),
            (b"content-length", b"1\r\n"),
            (b"content-length", b"-1"),
        ],
    )
    async def test_header_fields_that_are_none(self, header):
        async def app(scope, receive, send):
            await start(send, headers=[header])
            await body(send, b"abc")

        assert "ValueError" in (await self.failing(app)).exc_text

    @pytest.mark.parametrize("status", [100, 101, 199, 1000, 0, -1])
    async def test_a_status_that_is_none(self, status):
        async def app(scope, receive, send):
            await start(send, status)

        assert "ValueError" in (await self.failing(app)).exc_text

    @pytest.mark.parametrize(
        "messages",
        [
            [{"type": "http.response.body"}],
            [{"type": "http.response.start", "status": 200}] * 2,
            [{"type": "http.response.trailers"}],
            [{"type": "websocket.accept"}],
        ],
    )
    async def test_messages_that_are_out_of_order(self, messages):
        async def app(scope, receive, send):
            for message in messages:
                await send(message)

        assert "RuntimeError" in (await self.failing(app)).exc_text

    async def test_more_after_the_end(self):
        async def app(scope, receive, send):
            await start(send)
            await body(send, b"all")
            await body(send, b"more")

        async with talking(http_only(app)) as client:
            await client.get()
            assert (await client.answer()).body == b"all"
            # The answer was good, so the connection is.
            await client.get()
            assert (await client.answer()).body == b"all"
        errors = [record.exc_text for record in self.caplog.records if record.levelno == logging.ERROR]
        self.caplog.clear()
        assert len(errors) == 2
        assert all("after the end" in error for error in errors)

    async def test_a_failure_of_one_is_none_of_the_others(self):
        @http_only
        async def app(scope, receive, send):
            if scope["path"] == "/bad":
                raise ValueError("oh")
            await echo(scope, receive, send)

        async with serving(app) as served, served.client() as good, served.client() as bad:
            await bad.get(b"/bad")
            assert (await bad.answer()).status == 500
            await good.post(b"abc")
            assert (await good.answer()).body == b"abc"
        self.logged()
