"""Listening: with GET in the handshake era, with subscriptions/listen in 2026-07-28."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.mcp.helpers import Events, envelope
from tests.peers.helpers import Client, first_id, logged


@asynccontextmanager
async def subscribing(client: Client, uri: str, request_id: Any = 1) -> AsyncIterator[Events]:
    """Subscribe to a resource; whether that is granted is for the test to see."""
    message, headers = envelope("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}}, request_id)
    async with client.stream("POST", message, **headers) as events:
        yield events


async def acknowledged(events: Events) -> bool:
    """Whether a subscription was granted."""
    if events.response.status_code != 200 or events.response.headers["content-type"].startswith("application/json"):
        return False
    return (await events.message()).get("method") == "notifications/subscriptions/acknowledged"


async def updated(events: Events) -> str:
    message = await events.message()
    assert message["method"] == "notifications/resources/updated", message
    uri: str = message["params"]["uri"]
    return uri


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp")
async def test_a_listener_can_come_back_before_it_has_heard_anything(server):
    async with server.client() as client:
        async with client.listening() as events:
            position = await first_id(events)
        await client.ask_tool("whisper", texts=["missed"])
        async with client.listening(position) as events:
            assert logged([await events.message()]) == ["missed"]


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "go-sdk", "fastmcp", "kotlin-sdk")
async def test_a_second_listener_is_no_conflict(server):
    async with server.client() as client, client.listening():
        async with client.stream("GET") as events:
            # What the specification allows: a stream of events, or no such method.
            assert events.response.status_code in {200, 405}


@pytest.mark.flaw_of("kotlin-sdk")
async def test_a_listener_that_was_cut_can_come_back_at_once(server):
    async with server.client() as client:
        for number in range(10):
            while True:
                async with client.stream("GET") as events:
                    if events.response.status_code != 409:
                        break
            await client.ask_tool("add", a=number, b=1)


@pytest.mark.flaw_of("go-sdk", "mcp-go")
async def test_two_subscriptions_of_one_client_do_not_mix(server):
    async with server.clients("alice") as (alice,):
        async with subscribing(alice, "res://one", 1) as one:
            assert await acknowledged(one)
            async with subscribing(alice, "res://two", 1) as two:
                assert await acknowledged(two)
                await alice.remote("change", uri="res://two")
                await alice.remote("change", uri="res://one")
                assert await updated(two) == "res://two"
            await alice.remote("change", uri="res://one")
            assert [await updated(one), await updated(one)] == ["res://one", "res://one"]


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "fastmcp")
async def test_one_client_cannot_take_all_subscriptions(tight_server):
    async with tight_server.clients("carol", "dave") as (carol, dave), AsyncExitStack() as stack:
        granted = []
        for number in range(12):
            events = await stack.enter_async_context(subscribing(carol, "res://x", number))
            granted.append(await acknowledged(events))
        assert granted == [True] * 8 + [False] * 4
        async with subscribing(dave, "res://x") as events:
            assert await acknowledged(events)
