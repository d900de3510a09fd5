"""subscriptions/listen: acknowledged first, filtered, and ended with its result when the server stops."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from streamscope import CloseReason, StreamClosed
from tests.mcp.demo import Demo
from tests.mcp.helpers import envelope, peering, serving, until

ID = "io.modelcontextprotocol/subscriptionId"


@asynccontextmanager
async def listening(peer, request_id="sub", **notifications):
    """Listen; the acknowledgement has been read."""
    message, headers = envelope("subscriptions/listen", {"notifications": notifications}, request_id)
    async with peer.stream("POST", message, **headers) as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        ack = await events.message()
        assert ack["method"] == "notifications/subscriptions/acknowledged"
        assert ack["params"]["_meta"][ID] == request_id
        assert ack["params"]["notifications"] == notifications
        yield events


@asynccontextmanager
async def served_peer(**options):
    async with serving(Demo().server, **options) as served, peering(served.url) as peer:
        yield served, peer


async def change(peer, what):
    response = await peer.modern("tools/call", {"name": "change", "arguments": {"what": what}}, request_id="change")
    assert response.json()["result"]["content"][0]["text"] == "changed"


async def test_it_is_acknowledged_first_and_then_hears():
    async with served_peer() as (_, peer), listening(peer, toolsListChanged=True) as events:
        await change(peer, "tools")
        message = await events.message()
        assert message["method"] == "notifications/tools/list_changed"
        assert message["params"]["_meta"][ID] == "sub"
        assert "id" not in message


async def test_it_hears_only_what_it_asked_for():
    async with (
        served_peer() as (_, peer),
        listening(peer, "tools", toolsListChanged=True) as tools,
        listening(peer, "one", resourceSubscriptions=["test://one"]) as resource,
    ):
        for what in ("prompts", "test://two", "test://one", "tools"):
            await change(peer, what)
        assert (await tools.message())["method"] == "notifications/tools/list_changed"
        updated = await resource.message()
        assert (updated["method"], updated["params"]["uri"]) == ("notifications/resources/updated", "test://one")


async def test_equal_identifiers_are_two_subscriptions():
    async with (
        served_peer() as (served, peer),
        listening(peer, 1, toolsListChanged=True) as tools,
        listening(peer, 1, promptsListChanged=True) as prompts,
    ):
        assert [stream.kind for stream in served.sessions.streams.list_streams()] == ["listen", "listen"]
        await change(peer, "prompts")
        await change(peer, "tools")
        assert (await prompts.message())["method"] == "notifications/prompts/list_changed"
        assert (await tools.message())["method"] == "notifications/tools/list_changed"


async def test_a_client_that_goes_away_ends_it():
    async with served_peer() as (served, peer), served.sessions.watch() as changes:
        async with listening(peer, toolsListChanged=True):
            assert len(served.sessions.streams.list_streams()) == 1
        closed = await until(changes, StreamClosed)
        assert (closed.stream.kind, closed.reason) == ("listen", CloseReason.DISCONNECTED)
        assert served.sessions.streams.list_streams() == []


@pytest.mark.parametrize("count", [1, 5])
async def test_a_server_that_stops_ends_it_with_its_result(count):
    async with (
        served_peer() as (served, peer),
        AsyncExitStack() as stack,
    ):
        listeners = [
            await stack.enter_async_context(listening(peer, number, toolsListChanged=True)) for number in range(count)
        ]
        served.stop.set()
        for number, events in enumerate(listeners):
            (body,) = await events.rest()
            assert body["id"] == number
            assert body["result"]["resultType"] == "complete"
            assert body["result"]["_meta"][ID] == number
            assert body["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "demo"


async def test_an_operator_who_ends_it_is_an_error():
    async with served_peer() as (served, peer), listening(peer, toolsListChanged=True) as events:
        (stream,) = served.sessions.streams.list_streams()
        served.sessions.streams.cancel_stream(stream.session_id, stream.stream_id)
        (body,) = await events.rest()
        assert body["error"]["data"] == {"reason": "killed"}


async def test_it_is_kept_open_by_comments():
    async with served_peer(ping_interval=0.02) as (_, peer), listening(peer, toolsListChanged=True) as events:
        while len(events.parser.comments) < 2:
            await events.chunk()
        await change(peer, "tools")
        assert (await events.message())["method"] == "notifications/tools/list_changed"


async def test_it_holds_its_session():
    async with served_peer(idle_timeout=0.3) as (served, peer), listening(peer, toolsListChanged=True):
        await trio.sleep(0.5)
        assert len(served.sessions.list_sessions()) == 1


def named(scope):
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


async def test_one_principal_may_hold_only_so_many():
    async with served_peer(max_subscriptions=2, principal=named) as (_, alice):
        alice.headers["x-user"] = "alice"
        message, headers = envelope("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "too many")
        async with listening(alice, toolsListChanged=True):
            async with listening(alice, toolsListChanged=True):
                response = await alice.post(message, **headers)
                assert (response.status_code, response.json()["id"]) == (429, "too many")
                assert response.headers["retry-after"].isdigit()
                alice.headers["x-user"] = "bob"
                async with listening(alice, toolsListChanged=True):
                    pass
            alice.headers["x-user"] = "alice"
            status = 429
            while status == 429:
                # The server sees when it sees it that one has been left.
                async with alice.stream("POST", message, **headers) as events:
                    status = events.response.status_code
            assert status == 200


async def test_nobody_in_particular_may_hold_more():
    async with served_peer(max_subscriptions=1, principal=named) as (_, peer):
        async with listening(peer, toolsListChanged=True), listening(peer, toolsListChanged=True):
            pass


async def test_a_client_must_accept_a_stream():
    async with served_peer(json_response=True) as (_, peer):
        message, headers = envelope("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        response = await peer.post(message, **headers, accept="application/json")
        assert response.status_code == 406
        async with listening(peer, toolsListChanged=True) as events:
            await change(peer, "tools")
            assert (await events.message())["method"] == "notifications/tools/list_changed"


async def test_what_is_malformed_is_no_subscription():
    async with served_peer() as (_, peer):
        message, headers = envelope("subscriptions/listen", {"notifications": 7})
        response = await peer.post(message, **headers)
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)
