"""Batches: for the one revision that has them, 2025-03-26."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from tests.mcp.demo import Demo
from tests.mcp.helpers import answer, call, initialize, notification, peering, request, serving, talking

BATCHES = "2025-03-26"


@asynccontextmanager
async def batching(demo=None, sse_delay=20, **options):
    async with serving((demo or Demo()).server, sse_delay=sse_delay, **options) as served, peering(served.url) as peer:
        await peer.initialize(BATCHES)
        yield peer


def by_id(bodies):
    return {body["id"]: body for body in bodies}


async def test_requests_are_answered_as_a_batch():
    async with batching() as peer:
        response = await peer.post([request("ping", request_id=1), call("add", {"a": 1, "b": 2}, "two")])
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        bodies = by_id(response.json())
        assert bodies[1]["result"] == {}
        assert bodies["two"]["result"]["structuredContent"] == {"result": 3}


async def test_a_batch_of_one_is_a_batch_still():
    async with batching() as peer:
        assert (await peer.post([request("ping", request_id=1)])).json() == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


async def test_a_batch_without_requests_is_taken():
    async with batching() as peer:
        for batch in (
            [notification("n")],
            [notification("n"), notification("m")],
            [answer(99, {}), notification("n")],
            [answer(99, {})],
        ):
            response = await peer.post(batch)
            assert (response.status_code, response.content) == (202, b"")


async def test_notifications_are_not_answered():
    async with batching() as peer:
        batch = [notification("n"), request("ping", request_id=1), notification("m"), request("ping", request_id=2)]
        assert set(by_id((await peer.post(batch)).json())) == {1, 2}


async def test_errors_are_answers_too():
    async with batching() as peer:
        bodies = by_id((await peer.post([request("no/such", request_id=1), request("ping", request_id=2)])).json())
        assert bodies[1]["error"]["code"] == -32601
        assert "result" in bodies[2]


async def test_what_is_sent_on_the_way_makes_it_a_stream():
    async with (
        batching() as peer,
        peer.stream("POST", [call("count", {"n": 3}, 1), request("ping", None, 2)]) as events,
    ):
        assert events.response.headers["content-type"] == "text/event-stream"
        messages = await events.rest()
        answers = by_id(message for message in messages if "id" in message)
        assert set(answers) == {1, 2}
        assert [message["params"]["progress"] for message in messages if "method" in message] == [1, 2, 3]


async def test_one_late_answer_makes_it_a_stream():
    demo = Demo()
    async with (
        batching(demo, sse_delay=0.02) as peer,
        peer.stream("POST", [request("ping", None, 1), call("wait", {"name": "x"}, 2)]) as events,
    ):
        assert events.response.headers["content-type"] == "text/event-stream"
        assert (await events.message())["id"] == 1
        demo.gates["x"].set()
        (body,) = await events.rest()
        assert body["id"] == 2


async def test_a_batch_can_be_resumed():
    demo = Demo()
    async with batching(demo, sse_delay=0) as peer:
        async with peer.stream("POST", [request("ping", None, 1), call("wait", {"name": "x"}, 2)]) as events:
            assert (await events.message())["id"] == 1
        demo.gates["x"].set()
        async with peer.stream("GET", last_event_id=str(events.position)) as again:
            assert [body["id"] for body in await again.rest()] == [2]


async def test_equal_identifiers_are_answered_each():
    async with batching() as peer:
        bodies = (await peer.post([call("add", {"a": n, "b": 0}, 1) for n in range(5)])).json()
        assert {body["id"] for body in bodies} == {1}
        assert sorted(body["result"]["structuredContent"]["result"] for body in bodies) == [0, 1, 2, 3, 4]


async def test_one_of_a_batch_is_cancelled():
    demo = Demo()
    async with batching(demo, sse_delay=0.02) as peer:
        batch = [call("wait", {"name": name}, name) for name in ("a", "b")]
        async with peer.stream("POST", batch) as events:
            await peer.post(notification("notifications/cancelled", {"requestId": "a"}))
            body = await events.message()
            assert (body["id"], body["error"]["code"]) == ("a", -32800)
            demo.gates["b"].set()
            (body,) = await events.rest()
            assert (body["id"], "result" in body) == ("b", True)


async def test_a_batch_of_one_is_cancelled():
    demo = Demo()
    async with batching(demo, sse_delay=0.02) as peer, peer.stream("POST", [call("wait", {"name": "x"}, 1)]) as events:
        await peer.post(notification("notifications/cancelled", {"requestId": 1}))
        (body,) = await events.rest()
        assert body["error"]["code"] == -32800


@pytest.mark.parametrize("delay", [0.01, 20])
async def test_a_session_that_ends_answers_all_of_its_batches(delay):
    demo = Demo()
    async with batching(demo, sse_delay=delay) as peer:

        async def delete() -> None:
            for name in ("a", "b"):
                await demo.started[name].wait()
            await peer.send("DELETE")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            async with peer.stream("POST", [call("wait", {"name": name}, name) for name in ("a", "b")]) as events:
                if events.response.headers["content-type"] == "text/event-stream":
                    bodies = await events.rest()
                else:
                    await events.response.aread()
                    bodies = events.response.json()
        assert {body["id"]: body["error"]["data"]["reason"] for body in bodies} == dict.fromkeys("ab", "terminated")


async def test_a_question_from_a_batch():
    async with (
        batching(sse_delay=0.02) as peer,
        peer.stream("POST", [call("ask", request_id=1), request("ping", None, 2)]) as events,
    ):
        messages = []
        while not any("method" in message for message in messages):
            messages.append(await events.message())
        question = next(message for message in messages if "method" in message)
        # Batches of the client's may carry answers.
        assert (await peer.post([notification("n"), answer(question["id"], {"roots": []})])).status_code == 202
        messages += await events.rest()
        assert set(by_id(message for message in messages if "method" not in message)) == {1, 2}


async def test_what_must_not_be_in_a_batch():
    async with batching(max_batch=3) as peer:
        for batch, why in [
            ([initialize(BATCHES)], "initialize must not be part"),
            ([request("ping"), initialize(BATCHES)], "initialize must not be part"),
            ([notification("n")] * 4, "3 messages at most"),
            ([], "empty batch"),
            ([request("ping"), 7], "not a JSON object"),
            ([request("ping"), [request("ping")]], "not a JSON object"),
        ]:
            response = await peer.post(batch)
            assert response.status_code == 400
            assert why in response.json()["error"]["message"]
        assert (await peer.post([notification("n")] * 3)).status_code == 202


async def test_a_batch_that_is_refused_does_nothing():
    demo = Demo()
    async with batching(demo) as peer:
        await peer.post([call("wait", {"name": "x"}), 7])
        assert "result" in await peer.ask(request("ping"))
        assert not demo.started["x"].is_set()


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_other_revisions_have_none(version):
    async with serving(Demo().server) as served, peering(served.url) as peer:
        await peer.initialize(version)
        for batch in ([request("ping")], [notification("n")]):
            response = await peer.post(batch)
            assert response.status_code == 400
            assert "no batches" in response.json()["error"]["message"]


async def test_before_there_is_a_session():
    async with talking(Demo().server) as (_, peer):
        response = await peer.post([initialize(BATCHES)], mcp_session_id=None)
        assert response.status_code == 400
