"""Clients that go away, or stop reading; and applications that are cancelled."""

from __future__ import annotations

import logging
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from streamscope.http import ClientDisconnectedError, HTTPLimits
from tests.http.helpers import (
    PATIENCE,
    Client,
    MemoryListener,
    body,
    echo,
    hello,
    http_only,
    read_body,
    serving,
    simulating,
    start,
    talking,
)

DISCONNECT = {"type": "http.disconnect"}


class Watching:
    """An application that waits for its client to go away, as one that streams events does."""

    def __init__(self):
        self.waiting = trio.Event()
        self.told = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        await read_body(receive)
        await start(send)
        await body(send, b"begun", more=True)
        self.waiting.set()
        assert await receive() == DISCONNECT
        self.told.set()
        await self.go_on.wait()
        # It stays that way.
        assert await receive() == DISCONNECT
        with pytest.raises(ClientDisconnectedError):
            # The first may go to a kernel that does not know yet.
            while True:
                await body(send, b"more", more=True)


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_a_client_that_goes_away_is_noticed_at_once(how):
    app = Watching()
    async with serving(http_only(app)) as served, served.client() as client:
        await client.get()
        await app.waiting.wait()
        match how:
            case "reset":
                client.reset()
            case "half-close":
                assert isinstance(client.stream, trio.SocketStream)
                await client.stream.send_eof()
            case _:
                await client.stream.aclose()
        await app.told.wait()
        if how == "half-close":
            client.reset()
        app.go_on.set()


async def test_one_that_has_sent_the_next_request_is_noticed_too():
    app = Watching()
    async with serving(http_only(app)) as served, served.client() as client:
        await client.get()
        await client.get(b"/next")
        await app.waiting.wait()
        await client.get(b"/third")
        client.reset()
        await app.told.wait()
        app.go_on.set()


async def test_what_is_sent_ahead_is_bounded_and_answered():
    release, seen = trio.Event(), []

    @http_only
    async def app(scope, receive, send):
        if scope["path"] == "/first":
            await read_body(receive)
            await start(send)
            async with trio.open_nursery() as nursery:

                async def watch():
                    seen.append(await receive())

                nursery.start_soon(watch)
                await release.wait()
                await body(send, b"first")
        else:
            await echo(scope, receive, send)

    size = 4 * 2**20
    async with talking(app) as client:
        await client.get(b"/first")
        async with trio.open_nursery() as nursery:
            sent = trio.Event()

            @nursery.start_soon
            async def post():
                await client.post(bytes(size))
                sent.set()

            # The server does not take it all.
            with trio.move_on_after(0.1):
                await sent.wait()
            assert not sent.is_set()
            release.set()
            assert (await client.answer()).body == b"first"
        assert len((await client.answer()).body) == size
    assert seen == [DISCONNECT]


async def test_after_the_response_receive_says_disconnect_and_cancels_nothing():
    seen = []

    @http_only
    async def app(scope, receive, send):
        await read_body(receive)
        async with trio.open_nursery() as nursery:

            async def watch():
                seen.append(await receive())
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            await start(send)
            await body(send, b"all of it")
            # Before anybody else can run.
            seen.append("sent")
        seen.append(await receive())

    async with talking(app) as client:
        for _ in range(3):
            await client.get()
            assert (await client.answer()).body == b"all of it"
    assert seen == ["sent", DISCONNECT, DISCONNECT] * 3


async def test_several_tasks_may_receive():
    seen = []

    @http_only
    async def app(scope, receive, send):
        await read_body(receive)
        async with trio.open_nursery() as nursery:

            async def watch():
                seen.append(await receive())

            for _ in range(3):
                nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            await start(send)
            await body(send)

    async with talking(app) as client:
        await client.get()
        await client.answer()
        await client.get()
        await client.answer()
    assert seen == [DISCONNECT] * 6


async def test_a_task_left_behind_does_not_read_the_next_request():
    seen = []
    async with trio.open_nursery() as elsewhere:

        @http_only
        async def app(scope, receive, send):
            if scope["path"] == "/first":
                await read_body(receive)

                async def watch():
                    seen.append(await receive())
                    seen.append(await receive())

                elsewhere.start_soon(watch)
                await wait_all_tasks_blocked()
            await hello(scope, receive, send)

        async with talking(app) as client:
            for path in (b"/first", b"/second", b"/third"):
                await client.get(path)
                assert (await client.answer()).body == b"hello " + path
    assert seen == [DISCONNECT] * 2


async def test_a_task_left_behind_hears_of_the_end_of_the_connection():
    seen = []
    async with trio.open_nursery() as elsewhere:

        @http_only
        async def app(scope, receive, send):
            async def watch():
                seen.append(await receive())

            elsewhere.start_soon(watch)
            await wait_all_tasks_blocked()
            await start(send)
            await body(send)

        async with talking(app) as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            await client.answer()
    assert seen == [DISCONNECT]


async def test_receive_gives_way_to_others():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send)
        with trio.move_on_after(0.05) as limited:
            while True:
                await receive()
        assert limited.cancelled_caught

    async with talking(app) as client:
        await client.get()
        await client.answer()


async def test_send_gives_way_to_others():
    @http_only
    async def app(scope, receive, send):
        await start(send)
        with trio.move_on_after(0.05) as limited:
            while True:
                await body(send, more=True)
        assert limited.cancelled_caught
        await body(send)

    async with talking(app) as client:
        await client.get()
        assert (await client.answer()).body == b""


class Flooding:
    """An application that sends more than anything takes that is not read."""

    def __init__(self):
        self.caught = None
        self.done = trio.Event()

    async def __call__(self, scope, receive, send):
        await start(send)
        try:
            while True:
                await body(send, bytes(2**20), more=True)
        except BaseException as exc:
            self.caught = exc
            raise
        finally:
            self.done.set()


async def test_a_client_that_stops_reading_is_cut_off():
    app = Flooding()
    async with talking(http_only(app), limits=HTTPLimits(write_timeout=0.1)) as client:
        await client.get()
        await app.done.wait()
        assert isinstance(app.caught, ClientDisconnectedError)
        assert isinstance(app.caught, OSError)
        with pytest.raises(trio.BrokenResourceError):
            await client.rest()


async def test_a_client_that_reads_slowly_is_not():
    done, size = trio.Event(), 6 * 2**20

    @http_only
    async def app(scope, receive, send):
        await start(send)
        await body(send, bytes(size))
        done.set()

    async with talking(app, limits=HTTPLimits(write_timeout=0.5)) as client:
        await client.get()
        begin = trio.current_time()
        # In all it takes longer than the limit, but there is always some progress.
        read = 0
        while trio.current_time() < begin + 0.7:
            read += len(await client.stream.receive_some(10_000))
            await trio.sleep(0.005)
        assert not done.is_set()
        while read < size:
            read += len(await client.stream.receive_some())
        await done.wait()


async def test_over_other_streams_than_sockets_too(autojump_clock):
    app = Flooding()
    async with simulating(http_only(app), lockstep=True, limits=HTTPLimits(write_timeout=30)) as client:
        await client.get()
        begin = trio.current_time()
        await app.done.wait()
        assert trio.current_time() - begin == pytest.approx(30)
        assert isinstance(app.caught, ClientDisconnectedError)


async def test_an_application_that_is_cancelled_reaches_its_response():
    @http_only
    async def app(scope, receive, send):
        with trio.CancelScope() as cancelled:
            cancelled.cancel()
            try:
                await trio.sleep_forever()
            finally:
                await start(send, 503)
                await body(send, b"goodbye")

    async with talking(app) as client:
        for _ in range(2):
            await client.get()
            answer = await client.answer()
            assert (answer.status, answer.body) == (503, b"goodbye")


async def test_also_when_it_was_stuck_because_the_client_did_not_read():
    stuck = trio.Event()
    sent = 0

    @http_only
    async def app(scope, receive, send):
        nonlocal sent
        await start(send)
        with trio.CancelScope() as cancelled:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def cancel():
                    await stuck.wait()
                    cancelled.cancel()

                while True:
                    sent += 1
                    await body(send, bytes(2**20), more=True)
        with trio.CancelScope(shield=True, relative_deadline=PATIENCE):
            await body(send, b"goodbye")

    async with talking(app) as client:
        await client.get()
        await client.head()
        while True:
            before = sent
            await trio.sleep(0.05)
            if sent == before:
                break
        stuck.set()
        await trio.sleep(0.05)
        chunks = [chunk async for chunk in client.chunks()]
        # Nothing of what it had sent is torn or missing.
        assert chunks == [bytes(2**20)] * sent + [b"goodbye"]
        await client.get()
        await client.head()


def cut_short(say):
    """Make an application of which "/large" is cancelled while it sends what it has to say."""

    @http_only
    async def app(scope, receive, send):
        if scope["path"] == "/large":
            await start(send)
            with trio.move_on_after(0.05) as cancelled:
                await say(send)
            assert cancelled.cancelled_caught
        else:
            await hello(scope, receive, send)

    return app


async def test_a_goodbye_that_is_cancelled_itself_is_sent_nevertheless():
    size = 20 * 2**20

    async def say(send):
        try:
            await body(send, bytes(size), more=True)
        finally:
            await body(send, b"goodbye")

    async with talking(cut_short(say)) as client:
        await client.get(b"/large")
        await trio.sleep(0.1)
        await client.head()
        assert [chunk async for chunk in client.chunks()] == [bytes(size), b"goodbye"]
        await client.get()
        assert (await client.answer()).body == b"hello /"


@pytest.mark.parametrize("over", ["sockets", "other streams"])
async def test_several_tasks_may_send(over):
    @http_only
    async def app(scope, receive, send):
        await start(send)
        async with trio.open_nursery() as nursery:
            for letter in b"abcd":

                @nursery.start_soon
                async def chatter(letter=letter):
                    for _ in range(5):
                        await body(send, bytes([letter]) * 300_000, more=True)

        await body(send)

    listeners = None if over == "sockets" else [MemoryListener(lockstep=True)]
    async with serving(app, listeners) as served, served.client() as client:
        await client.get()
        # They wait for each other, because the client has not read yet.
        await trio.sleep(0.05)
        await client.head()
        chunks = [chunk async for chunk in client.chunks()]
    assert sorted(chunks) == sorted(bytes([letter]) * 300_000 for letter in b"abcd" * 5)


async def test_a_last_part_that_was_cancelled_is_sent_nevertheless():
    size = 20 * 2**20

    async def say(send):
        await body(send, bytes(size))

    async with talking(cut_short(say)) as client:
        await client.get(b"/large")
        await trio.sleep(0.1)
        assert len((await client.answer()).body) == size
        await client.get()
        assert (await client.answer()).body == b"hello /"


async def test_an_application_that_fails_with_its_client_is_no_error(caplog):
    caplog.set_level(logging.DEBUG)
    failed = trio.Event()

    @http_only
    async def app(scope, receive, send):
        await start(send)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 0)
                while True:
                    await body(send, bytes(2**16), more=True)
        except* OSError:
            raise RuntimeError("what some frameworks make of it") from None
        finally:
            failed.set()

    async with serving(app) as served:
        async with served.client() as client:
            await client.get()
            await client.head()
        await failed.wait()
    assert [record.levelno for record in caplog.records if record.name == "streamscope.http"][-1] == logging.DEBUG


async def test_a_client_that_goes_away_in_the_middle_of_a_head():
    async with serving(hello) as served:
        async with served.client() as client:
            await client.send(b"GET / HT")
        async with served.client() as client:
            await client.get()
            assert (await client.answer()).status == 200


async def test_a_client_that_goes_away_before_it_was_accepted():
    async with serving(hello) as served:
        for _ in range(20):
            with socket.create_connection(served.address) as sock:
                Client(trio.SocketStream(trio.socket.from_stdlib_socket(sock))).reset()
        async with served.client() as client:
            await client.get()
            assert (await client.answer()).status == 200
