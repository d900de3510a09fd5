"""How sessions end under their requests: each caller is told, once, and by name."""

from __future__ import annotations

import httpx2
import mcp_types as types
import pytest
import trio

from streamscope import CloseReason, ReaderDetached, SessionClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, initialize, notification, peering, request, serving, talking, until


def wait(name, request_id=1):
    return call("wait", {"name": name}, request_id)


def reason(message):
    assert message["error"]["code"] == -32000
    assert message["error"]["message"].endswith(message["error"]["data"]["reason"])
    return message["error"]["data"]["reason"]


async def closing(changes):
    return (await until(changes, SessionClosed)).reason


@pytest.mark.parametrize("streamed", [False, True])
async def test_delete_answers_the_requests_under_way(streamed):
    demo = Demo()
    delay = 0.001 if streamed else 20
    async with talking(demo.server, sse_delay=delay) as (served, peer), trio.open_nursery() as nursery:
        streaming = {"a": trio.Event(), "b": trio.Event()}

        async def caller(name: str) -> None:
            async with peer.stream("POST", wait(name, name)) as events:
                streaming[name].set()
                kind = "text/event-stream" if streamed else "application/json"
                assert events.response.headers["content-type"] == kind
                assert events.response.status_code == 200
                body = await events.answer()
                assert (body["id"], reason(body)) == (name, "terminated")

        for name in ("a", "b"):
            nursery.start_soon(caller, name)
            await (streaming[name] if streamed else demo.started[name]).wait()
        assert (await peer.send("DELETE")).status_code == 200
        # When the DELETE is answered, they have unwound.
        assert set(demo.ended) == {"a", "b"}
        assert served.sessions.list_sessions() == []


async def test_delete_ends_the_listeners():
    async with talking(Demo().server) as (_, peer), peer.listen() as one, peer.listen() as other:
        await peer.send("DELETE")
        assert await one.rest() == await other.rest() == []


async def test_delete_twice_at_once():
    demo = Demo()
    async with talking(demo.server) as (_, peer), peer.stream("POST", wait("x")) as events:
        statuses = []

        async def delete() -> None:
            statuses.append((await peer.send("DELETE")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(delete)
        assert set(statuses) <= {200, 404}
        assert 200 in statuses
        assert reason(await events.message()) == "terminated"


async def test_a_session_that_the_operator_ends():
    demo = Demo()
    async with talking(demo.server) as (served, peer), peer.stream("POST", wait("x")) as events:
        served.sessions.get_session(peer.session_id).close(CloseReason.KILLED)
        assert reason(await events.message()) == "killed"
        assert (await peer.post(request("ping"))).status_code == 404


async def test_a_stream_that_the_operator_ends():
    demo = Demo()
    async with talking(demo.server) as (served, peer), peer.stream("POST", wait("x")) as events:
        await events.frame()
        served.sessions.streams.cancel_stream(peer.session_id, events.stream_id)
        assert reason(await events.message()) == "killed"
        assert "result" in await peer.ask(request("ping"))


async def test_a_request_that_comes_as_its_session_ends_is_answered():
    demo = Demo()
    async with talking(demo.server, sse_delay=20) as (served, peer):
        answers = []

        async def caller(number: int) -> None:
            response = await peer.post(request("ping", request_id=number))
            answers.append((response.status_code, "result" in response.json() or response.json()["error"]))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(caller, number)
                if number == 25:
                    nursery.start_soon(peer.send, "DELETE")
        assert len(answers) == 50
        for status, outcome in answers:
            assert (
                (status, outcome) == (200, True)
                or (status == 200 and outcome["code"] == -32000)
                or (status == 404 and outcome["code"] == -32600)
            )
        assert served.sessions.list_sessions() == []


# Stopping


@pytest.mark.parametrize("delay", [0.001, 20])
async def test_a_server_that_stops_answers_every_request_first(delay):
    demo = Demo()
    async with serving(demo.server, sse_delay=delay) as served, peering(served.url) as peer:
        await peer.initialize()
        bodies = []

        async def caller() -> None:
            async with peer.stream("POST", wait("x", "caller")) as events:
                bodies.append(await events.answer())

        async with trio.open_nursery() as nursery, peer.listen() as listening:
            nursery.start_soon(caller)
            await demo.started["x"].wait()
            served.stop.set()
            assert await listening.rest() == []
        assert [(body["id"], reason(body)) for body in bodies] == [("caller", "shutdown")]


async def test_a_stopping_server_takes_no_new_sessions_but_says_so():
    async with talking(Demo().server) as (served, peer):
        served.sessions.close()
        for response in (
            await peer.post(initialize(), mcp_session_id=None),
            await peer.modern("server/discover"),
            # Its session is gone, and a new one is not to be had.
            await peer.post(request("ping")),
            await peer.send("GET"),
        ):
            assert response.status_code == 503
            assert response.headers["retry-after"].isdigit()
            assert "stopping" in response.json()["error"]["message"]


async def test_stopping_waits_no_longer_than_its_grace(caplog):
    demo = Demo()

    async def stubborn() -> str:
        demo.started["stubborn"].set()
        with trio.CancelScope(shield=True):
            await demo.gates["stubborn"].wait()
        return "at last"

    demo.server.add_tool(stubborn)
    async with serving(demo.server, grace=0.02, drain_timeout=0.01) as served, peering(served.url) as peer:
        await peer.initialize()
        with trio.fail_after(5):
            async with peer.stream("POST", call("stubborn")) as events:
                await events.frame()
                served.stop.set()
                # It cannot be answered, so its connection is cut.
                with pytest.raises(httpx2.RemoteProtocolError):
                    await events.message()
        assert "1 streams of a session still run" in caplog.text
        caplog.clear()
        # What does not heed its cancellation is still waited for by the manager.
        demo.gates["stubborn"].set()


# Time


def hurry(served, peer):
    """Let the session be idle after next to no time, from now until its client sends something."""
    served.sessions.get_session(peer.session_id).idle_timeout = 0.02


async def test_an_idle_session_ends():
    async with talking(Demo().server) as (served, peer), served.sessions.watch() as changes:
        hurry(served, peer)
        assert await closing(changes) is CloseReason.IDLE
        response = await peer.post(request("ping"))
        assert response.status_code == 404
        assert (await peer.send("GET")).content == response.content
        assert served.sessions.list_sessions() == []


async def test_the_idle_time_out_is_an_option():
    async with talking(Demo().server, idle_timeout=0.3) as (served, _), served.sessions.watch() as changes:
        assert await closing(changes) is CloseReason.IDLE


async def test_a_running_tool_holds_its_session():
    demo = Demo()
    async with talking(demo.server) as (served, peer), served.sessions.watch() as changes:
        async with peer.stream("POST", wait("x")) as events:
            hurry(served, peer)
            await trio.sleep(0.1)
            assert len(served.sessions.list_sessions()) == 1
            demo.gates["x"].set()
            assert "result" in await events.answer()
        assert await closing(changes) is CloseReason.IDLE


async def test_a_running_tool_holds_its_session_when_its_client_is_gone():
    demo = Demo()
    async with talking(demo.server, sse_delay=0) as (served, peer), served.sessions.watch() as changes:
        async with peer.stream("POST", wait("x")) as events:
            position = (await events.frame()).id
        await until(changes, ReaderDetached, events.stream_id)
        hurry(served, peer)
        await trio.sleep(0.1)
        async with peer.listen(position) as again:
            demo.gates["x"].set()
            assert (await again.rest())[0]["result"]["content"][0]["text"] == "x waited"


async def test_a_listener_holds_its_session():
    async with talking(Demo().server) as (served, peer), served.sessions.watch() as changes:
        async with peer.listen():
            hurry(served, peer)
            await trio.sleep(0.1)
            assert len(served.sessions.list_sessions()) == 1
        assert await closing(changes) is CloseReason.IDLE


async def test_a_notification_that_is_being_handled_holds_its_session_and_ends_with_it():
    demo = Demo()
    ended = trio.Event()

    async def on_roots(ctx, params):
        demo.started["roots"].set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    method = "notifications/roots/list_changed"
    demo.server._lowlevel_server.add_notification_handler(method, types.NotificationParams, on_roots)
    async with talking(demo.server) as (served, peer), trio.open_nursery() as nursery:

        async def notify() -> None:
            assert (await peer.post(notification(method))).status_code == 202

        nursery.start_soon(notify)
        await demo.started["roots"].wait()
        hurry(served, peer)
        await trio.sleep(0.1)
        assert (await peer.send("DELETE")).status_code == 200
        await ended.wait()


async def test_a_session_reaches_its_maximum_age_whatever_it_does():
    demo = Demo()
    async with talking(demo.server, max_age=0.7) as (served, peer), served.sessions.watch() as changes:
        async with peer.stream("POST", wait("x")) as events, peer.listen() as listening:
            assert reason(await events.message()) == "expired"
            assert await listening.rest() == []
        assert await closing(changes) is CloseReason.EXPIRED


async def test_a_session_whose_client_never_comes_back_is_let_go_early():
    async with (
        serving(Demo().server, initialize_timeout=0.02) as served,
        peering(served.url) as peer,
        served.sessions.watch() as changes,
    ):
        assert (await peer.post(initialize())).status_code == 200
        assert await closing(changes) is CloseReason.IDLE


async def test_a_session_whose_client_has_come_back_has_the_usual_time():
    async with talking(Demo().server, initialize_timeout=0.3) as (_, peer):
        await trio.sleep(0.4)
        assert "result" in await peer.ask(request("ping"))
