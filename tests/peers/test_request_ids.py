"""JSON-RPC ids are the client's own affair: used twice, or two that look alike, or no ids at all."""

from __future__ import annotations

import pytest

from tests.mcp.helpers import Events, call
from tests.peers.helpers import Client, refused, text


async def answers(client: Client, ids: list[object], prefix: str) -> list[tuple[object, str]]:
    """Have calls with these ids under way at once; end them in reverse, and return what each was answered."""
    names = [f"{prefix}-{number}" for number in range(len(ids))]

    async def begin(rest: list[tuple[object, str]], open_calls: list[Events]) -> list[tuple[object, str]]:
        if rest:
            (request_id, name), *rest = rest
            async with client.calling("wait", request_id, name=name) as events:
                await client.remote("until", name=name, state="running")
                return await begin(rest, [*open_calls, events])
        for name in reversed(names):
            await client.remote("go", name=name)
        messages = [await events.answer() for events in open_calls]
        return [(message["id"], text(message)) for message in messages]

    return await begin(list(zip(ids, names, strict=True)), [])


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "fastmcp")
async def test_an_id_that_is_used_twice_at_once_gets_two_answers(server):
    async with server.client() as client:
        assert await answers(client, [1, 1], "twice") == [(1, "twice-0 waited"), (1, "twice-1 waited")]


@pytest.mark.flaw_of("python-sdk")
async def test_a_number_and_a_string_that_look_alike_are_two_ids(server):
    async with server.client() as client:
        got = await answers(client, [1, "1"], "alike")
        assert [(type(request_id), name) for request_id, name in got] == [
            (int, "alike-0 waited"),
            (str, "alike-1 waited"),
        ]


@pytest.mark.flaw_of("python-sdk")
@pytest.mark.parametrize("request_id", [None, 1.5, True, [1], {}])
async def test_what_is_no_id_is_refused(server, request_id):
    async with server.client() as client:
        refused(await client.post(call("add", {"a": 1, "b": 2}, request_id)), 400)
