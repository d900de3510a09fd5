"""serve(): a server from its start to a clean stop."""

from __future__ import annotations

import gc
import math
import os
import signal
import socket
import threading
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from mcp.server import MCPServer

from streamscope import CloseReason, http, open_session_manager
from streamscope.mcp import serve
from tests.mcp.demo import Demo
from tests.mcp.helpers import PATIENCE, call, initialize, peering, request, serving
from tests.mcp.raw import Connection


async def start(nursery, demo, **options):
    return await nursery.start(partial(serve, demo.server, port=0, **options))


async def test_with_sessions_of_its_own():
    stop = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, Demo(), stop=stop, handle_signals=False, max_sessions=1, evict_idle=False)
            async with peering(url) as peer:
                await peer.initialize()
                assert (await peer.post(initialize(), mcp_session_id=None)).status_code == 503
                stop.set()


async def test_on_hypercorn():
    demo, stop = Demo(), trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, demo, stop=stop, handle_signals=False, http_server="hypercorn")
            assert url.startswith("http://127.0.0.1:")
            async with peering(url) as peer:
                await peer.initialize()
                assert (await peer.post(request("ping"))).status_code == 200
                stop.set()


async def test_on_a_server_that_there_is_not():
    with pytest.raises(ValueError, match="'streamscope' or 'hypercorn', not 'nginx'"):
        await serve(Demo().server, http_server="nginx")


async def test_connections_have_a_bound():
    stop, limits = trio.Event(), http.HTTPLimits(max_connections=1)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, Demo(), stop=stop, handle_signals=False, http_limits=limits)
            async with peering(url) as peer, peering(url) as another:
                await peer.initialize()
                assert (await another.post(initialize(), mcp_session_id=None)).status_code == 503
                stop.set()


async def test_hypercorn_has_bounds_of_its_own():
    with pytest.raises(ValueError, match="Hypercorn has bounds of its own"):
        await serve(Demo().server, http_server="hypercorn", http_limits=http.HTTPLimits())


@pytest.mark.parametrize(
    ("given", "meanwhile"), [({}, 20_000), ({"gc_threshold": 5000}, 5000), ({"gc_threshold": None}, 700)]
)
async def test_the_garbage_collector_starts_less_often_meanwhile(given, meanwhile):
    others = gc.get_threshold()[1:]
    gc.set_threshold(700)
    stop, seen = trio.Event(), []

    @asynccontextmanager
    async def lifespan(_):
        yield
        # All sessions have ended by now.
        seen.append(gc.get_threshold())

    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                demo = MCPServer("demo", lifespan=lifespan)
                await nursery.start(partial(serve, demo, port=0, stop=stop, handle_signals=False, **given))
                assert gc.get_threshold() == (meanwhile, *others)
                stop.set()
        assert [*seen, gc.get_threshold()] == [(meanwhile, *others), (700, *others)]
    finally:
        gc.set_threshold(700, *others)


async def test_the_garbage_collector_cannot_be_switched_off():
    with pytest.raises(ValueError, match="gc_threshold must be at least 1, or None, not 0"):
        await serve(Demo().server, gc_threshold=0)


async def test_sessions_of_the_application_end_with_it():
    demo = Demo()
    async with open_session_manager() as sessions, trio.open_nursery() as nursery:
        stop = trio.Event()
        url = await start(nursery, demo, sessions=sessions, stop=stop, handle_signals=False)
        async with peering(url) as peer:
            await peer.initialize()
            stop.set()
            await sessions.wait_closed()
    assert [closed.reason for closed in sessions.recently_closed()] == [CloseReason.SHUTDOWN]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_cleanly(number):
    demo = Demo()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, demo)
            async with peering(url) as peer:
                await peer.initialize()
                async with peer.stream("POST", call("wait", {"name": "x"})) as events, peer.listen() as listening:
                    os.kill(os.getpid(), number)
                    assert (await events.answer())["error"]["data"] == {"reason": "shutdown"}
                    assert await listening.rest() == []


async def test_a_second_signal_stops_it_at_once(caplog):
    demo = Demo()
    started = trio.Event()

    async def stubborn() -> str:
        started.set()
        with trio.CancelScope(shield=True, relative_deadline=0.5):
            await trio.sleep_forever()
        return "at last"

    demo.server.add_tool(stubborn)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, demo, grace=math.inf, drain_timeout=0.1)
            async with peering(url) as peer:
                await peer.initialize()
                async with peer.stream("POST", call("stubborn")) as events:
                    await started.wait()
                    for _ in range(2):
                        os.kill(os.getpid(), signal.SIGINT)
                        await trio.sleep(0.02)
                    with pytest.raises(Exception, match=r"closed|reset"):
                        await events.rest()
    caplog.clear()


async def test_another_server_can_take_its_place_while_it_stops():
    demo, stops = Demo(), [trio.Event(), trio.Event()]
    started, last_words = trio.Event(), trio.Event()

    async def thorough() -> str:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, relative_deadline=PATIENCE):
                await last_words.wait()
        return "never"

    demo.server.add_tool(thorough)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            url = await start(nursery, demo, stop=stops[0], handle_signals=False)
            async with peering(url) as peer:
                await peer.initialize()
                async with peer.stream("POST", call("thorough")) as events:
                    await started.wait()
                    stops[0].set()
                    await trio.testing.wait_all_tasks_blocked()
                    successor = partial(serve, Demo().server, port=urlsplit(url).port)
                    assert await nursery.start(partial(successor, stop=stops[1], handle_signals=False)) == url
                    async with peering(url) as newcomer:
                        await newcomer.initialize()
                    last_words.set()
                    assert (await events.answer())["error"]["data"] == {"reason": "shutdown"}
            stops[1].set()


async def test_signals_are_left_to_the_application_where_it_says_so():
    demo = Demo()
    stop = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            before = signal.getsignal(signal.SIGTERM)
            await start(nursery, demo, stop=stop, handle_signals=False)
            assert signal.getsignal(signal.SIGTERM) is before
            stop.set()


def test_in_another_thread_there_are_no_signals():
    answers = []

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                stop = trio.Event()
                url = await start(nursery, Demo(), stop=stop)
                async with peering(url) as peer:
                    await peer.initialize()
                    answers.append(await peer.ask(request("ping")))
                stop.set()

    thread = threading.Thread(target=trio.run, args=[main])
    thread.start()
    thread.join(PATIENCE)
    assert "result" in answers[0]


async def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve(Demo().server, port=taken.getsockname()[1], handle_signals=False)


async def test_an_address_that_is_not_ours():
    with pytest.raises(OSError, match=r"[Cc]annot assign|not available"):
        await serve(Demo().server, host="192.0.2.1", port=0, handle_signals=False)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback device")
async def test_ipv6():
    async with serving(Demo().server, host="::1") as served, peering(served.url) as peer:
        assert served.url.startswith("http://[::1]:")
        await peer.initialize()
        assert served.sessions.list_sessions()[0].connection_info.startswith("[::1]:")
        assert (await peer.post(request("ping"), host="evil.example")).status_code == 421


async def test_on_any_address_any_host_is_let_in():
    async with serving(Demo().server, host="0.0.0.0") as served, peering(served.url) as peer:
        peer.headers["host"] = "app.example"
        await peer.initialize()


async def test_one_connection_serves_more_than_a_thousand_requests():
    async with serving(Demo().server) as served, peering(served.url) as peer, Connection.to(peer) as connection:
        for _ in range(1001):
            # The cheapest that there is.
            await connection.send_head("PUT", {})
            response = await connection.response()
            assert response.status == 405
            assert "connection" not in response.headers


async def test_idle_connections_do_not_keep_it_from_stopping():
    async with serving(Demo().server, grace=0.1) as served, peering(served.url) as peer:
        await peer.initialize()
        async with Connection.to(peer) as idle, Connection.to(peer) as half:
            await half.send_head("POST", {"content-length": "100"})
            await idle.post(request("ping"))
            await idle.response()
            served.stop.set()
            with trio.fail_after(5):
                await idle.rest()
                await half.rest()


async def test_stopping_before_anybody_came():
    async with serving(Demo().server) as served:
        served.stop.set()
