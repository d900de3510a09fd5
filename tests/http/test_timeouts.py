"""Clients that take their time, in virtual time."""

from __future__ import annotations

import math

import pytest
import trio

from streamscope.http import HTTPLimits
from tests.http.helpers import body, echo, hello, http_only, simulating, start

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


async def elapsed(async_fn, *args):
    begin = trio.current_time()
    result = await async_fn(*args)
    return trio.current_time() - begin, result


@pytest.mark.parametrize("used", [False, True])
async def test_a_connection_without_a_request(used, autojump_clock):
    async with simulating(hello, limits=HTTPLimits(idle_timeout=75)) as client:
        if used:
            await trio.sleep(50)
            await client.get()
            await client.answer()
        seconds, _ = await elapsed(client.closed)
    assert 75 <= seconds <= 83


async def test_it_is_not_idle_while_it_is_answered(autojump_clock):
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, more=True)
        await trio.sleep(1000)
        await body(send)

    async with simulating(app, limits=HTTPLimits(idle_timeout=75, body_timeout=1)) as client:
        for _ in range(2):
            await client.get()
            await client.answer()


async def test_a_connection_may_be_idle_for_ever(autojump_clock):
    async with simulating(hello, limits=HTTPLimits(idle_timeout=math.inf)) as client:
        await trio.sleep(10_000)
        await client.get()
        await client.answer()


async def test_a_head_that_does_not_end(autojump_clock):
    async with simulating(hello, limits=HTTPLimits(head_timeout=10)) as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(4):
            await trio.sleep(2)
            await client.send(b"A: b\r\n")
        # It is the whole head that has to arrive in time.
        seconds, answer = await elapsed(client.answer)
        assert seconds == pytest.approx(2)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        await client.closed()


async def test_a_head_that_ends_in_time(autojump_clock):
    async with simulating(hello, limits=HTTPLimits(head_timeout=10)) as client:
        for _ in range(3):
            await client.send(b"GET / HTTP/1.1\r\n")
            await trio.sleep(9)
            await client.send(b"Host: a\r\n\r\n")
            assert (await client.answer()).status == 200


async def test_a_body_that_does_not_come(autojump_clock):
    async with simulating(echo, limits=HTTPLimits(body_timeout=30)) as client:
        await client.send(HEAD)
        seconds, answer = await elapsed(client.answer)
        assert seconds == pytest.approx(30)
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        await client.closed()


async def test_a_body_that_drips(autojump_clock):
    async with simulating(echo, limits=HTTPLimits(body_timeout=30, min_body_rate=1)) as client:
        await client.send(HEAD)

        async def drip():
            try:
                while True:
                    await client.send(b"a")
                    # Half as fast as it has to be.
                    await trio.sleep(2)
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            seconds, answer = await elapsed(client.answer)
            nursery.cancel_scope.cancel()
        assert answer.status == 408
        assert 58 <= seconds <= 62


async def test_a_body_that_is_slow_but_fast_enough(autojump_clock):
    async with simulating(echo, limits=HTTPLimits(body_timeout=30, min_body_rate=1)) as client:
        await client.send(HEAD)
        for _ in range(100):
            await trio.sleep(10)
            await client.send(bytes(10))
        assert (await client.answer()).body == bytes(1000)


async def test_the_time_that_an_application_takes_is_not_the_clients(autojump_clock):
    @http_only
    async def app(scope, receive, send):
        await receive()
        await trio.sleep(1000)
        await echo(scope, receive, send)

    async with simulating(app, limits=HTTPLimits(body_timeout=30)) as client:
        await client.send(HEAD + bytes(10))
        await trio.sleep(1000)
        await client.send(bytes(990))
        assert (await client.answer()).status == 200


async def test_a_body_that_does_not_come_after_the_response_has_begun(caplog, autojump_clock):
    seen = []

    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, b"begun", more=True)
        seen.append(await receive())
        with pytest.raises(OSError, match="gone away"):
            await body(send)

    async with simulating(app) as client:
        await client.send(HEAD)
        await client.head()
        assert await client.chunk() == b"begun"
        # There is no end of the response, so that it is not taken for a whole one.
        await client.closed()
    assert seen == [{"type": "http.disconnect"}]


async def test_what_nobody_reads_of_a_body_has_to_arrive_soon(autojump_clock):
    async with simulating(hello) as client:
        await client.send(HEAD)
        assert (await client.answer()).status == 200
        seconds, _ = await elapsed(client.closed)
        assert seconds == pytest.approx(2)


async def test_a_closed_connection_waits_for_its_client_only_a_moment(autojump_clock):
    async with simulating(hello, limits=HTTPLimits(max_target=10)) as client:
        await client.send(b"GET /" + bytes([97]) * 100)
        assert (await client.answer()).status == 414
        await client.closed()
        seconds, _ = await elapsed(wait_closed, client)
        assert seconds <= 3


async def wait_closed(client):
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await client.send(b"a")
            await trio.sleep(0.1)
