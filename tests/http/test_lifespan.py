"""An application's start and end, around the requests."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import trio

from streamscope.http import LifespanError, serve
from tests.http.helpers import MemoryListener, body, hello, serving, start

STARTED = {"type": "lifespan.startup.complete"}
ENDED = {"type": "lifespan.shutdown.complete"}


class App:
    """An application with a lifespan, that keeps a diary."""

    def __init__(self):
        self.diary = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
            assert await receive() == {"type": "lifespan.startup"}
            self.diary.append("starting")
            await trio.sleep(0.01)
            scope["state"]["database"] = "open"
            self.diary.append("started")
            await send(STARTED)
            assert await receive() == {"type": "lifespan.shutdown"}
            self.diary.append("ending")
            await send(ENDED)
        else:
            self.diary.append(scope["path"])
            try:
                await hello(scope, receive, send)
                await trio.sleep(0.02)
            finally:
                self.diary.append("goodbye")


async def test_it_is_around_the_requests():
    app = App()
    async with serving(app) as served, served.client() as client:
        assert app.diary == ["starting", "started"]
        await client.get(b"/request")
        await client.answer()
        served.stop.set()
    assert app.diary == ["starting", "started", "/request", "goodbye", "ending"]


async def test_its_state_is_for_each_request_its_own():
    states = []

    class Stateful(App):
        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                states.append(dict(scope["state"]))
                scope["state"]["mine"] = True
            await super().__call__(scope, receive, send)

    async with serving(Stateful()) as served, served.client() as client:
        for _ in range(2):
            await client.get()
            await client.answer()
    assert states == [{"database": "open"}] * 2


@pytest.mark.parametrize("after_receive", [False, True])
async def test_an_application_may_have_none(after_receive, caplog):
    caplog.set_level(logging.DEBUG)

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            if after_receive:
                await receive()
            raise KeyError("no such scope")
        await hello(scope, receive, send)

    async with serving(app) as served, served.client() as client:
        await client.get()
        assert (await client.answer()).status == 200
    assert any("without a lifespan" in record.message for record in caplog.records)


async def test_an_application_may_return_from_it():
    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await hello(scope, receive, send)

    async with serving(app) as served, served.client() as client:
        await client.get()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("message", ["no database", ""])
@pytest.mark.parametrize("raises", [False, True])
async def test_an_application_that_cannot_start(message, raises):
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": message})
        if raises:
            raise RuntimeError("no database")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with pytest.raises(LifespanError, match=message or "startup.failed"):
        await serve(app, listeners)
    # And the listeners are closed.
    with pytest.raises(trio.ClosedResourceError):
        await listeners[0].accept()


async def test_an_application_that_cannot_end():
    async def app(scope, receive, send):
        await receive()
        await send(STARTED)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "no way out"})

    stop = trio.Event()
    stop.set()
    with pytest.raises(LifespanError, match="no way out"):
        await serve(app, await trio.open_tcp_listeners(0, host="127.0.0.1"), stop=stop)


async def test_an_application_that_never_stops_listening():
    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            raise AssertionError
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})

    async with serving(app):
        pass


async def test_a_lifespan_that_fails_takes_the_server_with_it():
    fail = trio.Event()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send(STARTED)
            await fail.wait()
            raise ValueError("the database is gone")
        await start(send)
        await body(send, b"a", more=True)
        await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="gone"), flatten_subgroups=True):
        async with serving(app) as served, served.client() as client:
            await client.get()
            await client.head()
            fail.set()
            await trio.sleep_forever()


async def test_a_message_that_it_cannot_send():
    async def app(scope, receive, send):
        await receive()
        await send(STARTED)
        await send({"type": "http.response.start"})

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match=r"http\.response\.start"), flatten_subgroups=True):
        await serve(app, await trio.open_tcp_listeners(0, host="127.0.0.1"))


async def test_started_means_that_requests_are_accepted(autojump_clock):
    begun = trio.Event()

    async def app(scope, receive, send):
        await receive()
        begun.set()
        await trio.sleep(10)
        await send(STARTED)
        await receive()

    async with trio.open_nursery() as nursery:
        before = trio.current_time()
        await nursery.start(partial(serve, app, [MemoryListener()]))
        assert trio.current_time() - before == pytest.approx(10)
        nursery.cancel_scope.cancel()
