"""Whose events are replayed: those of the caller's own session, and of the stream that it asks for."""

from __future__ import annotations

import pytest

from tests.mcp.helpers import answer, request
from tests.peers.helpers import first_id, logged, numbers, refused, text


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk")
async def test_an_event_id_of_another_session_replays_nothing(server):
    async with server.client() as one:
        async with one.calling("count", n=3) as events:
            position = await first_id(events)
            assert text(await events.answer()) == "counted"
        other = one.another()
        await other.initialize()
        async with other.stream("GET", last_event_id=position) as events:
            assert events.response.status_code in {400, 404}


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk")
async def test_an_event_id_of_another_principal_replays_nothing(server):
    async with server.clients("alice", "bob") as (alice, bob):
        await alice.initialize()
        await bob.initialize()
        async with alice.calling("count", n=3) as events:
            position = await first_id(events)
            assert text(await events.answer()) == "counted"
        async with bob.stream("GET", last_event_id=position) as events:
            assert events.response.status_code in {400, 404}


@pytest.mark.flaw_of("rust-sdk")
async def test_without_a_session_nothing_is_replayed(server):
    async with server.client() as client:
        async with client.calling("count", n=3) as events:
            position = await first_id(events)
            assert text(await events.answer()) == "counted"
        async with client.stream("GET", last_event_id=position, mcp_session_id=None) as events:
            assert events.response.status_code == 400


@pytest.mark.flaw_of("rust-sdk", "mcp-go")
async def test_the_session_of_another_principal_does_not_exist(server):
    async with server.clients("alice", "bob") as (alice, bob):
        await alice.initialize()
        stolen = {"mcp_session_id": alice.session, "mcp_protocol_version": "2025-11-25"}
        for method in ("GET", "DELETE"):
            refused(await bob.send(method, **stolen), 404)
        refused(await bob.post(request("ping"), **stolen), 404)
        assert "result" in await alice.ask(request("ping"))


@pytest.mark.flaw_of("mcp-go")
async def test_a_session_that_nobody_has_opened_cannot_be_listened_to(server):
    async with server.client() as client:
        for session in ("0" * 32, "11111111-2222-4333-8444-555555555555", "x"):
            refused(await client.send("GET", mcp_session_id=session), 404)


@pytest.mark.flaw_of("python-sdk")
async def test_two_sessions_that_use_one_request_id_have_a_stream_each(server):
    async with server.client() as one:
        other = one.another()
        await other.initialize()
        async with one.calling("wait", "same", name="replay-1") as events:
            position = await first_id(events)
        async with other.calling("wait", "same", name="replay-2") as events:
            await first_id(events)
            await one.remote("go", name="replay-2")
            assert text(await events.answer()) == "replay-2 waited"
        async with one.listening(position) as events:
            await one.remote("go", name="replay-1")
            assert text(await events.answer()) == "replay-1 waited"


@pytest.mark.flaw_of("python-sdk", "typescript-sdk")
async def test_two_sessions_that_listen_have_a_stream_each(server):
    async with server.client() as one:
        other = one.another()
        await other.initialize()
        async with one.listening() as events:
            await one.ask_tool("whisper", texts=["one-1"])
            assert logged([await events.message()]) == ["one-1"]
            position = events.last_id
        await other.ask_tool("whisper", texts=["other-1"])
        await one.ask_tool("whisper", texts=["one-2"])
        async with one.listening(position) as events:
            assert logged([await events.message()]) == ["one-2"]


@pytest.mark.flaw_of("typescript-sdk")
async def test_what_was_said_within_one_millisecond_is_replayed_in_order(server):
    async with server.client() as client:
        async with client.calling("count", n=200) as events:
            position = await first_id(events)
            assert text((await events.rest())[-1]) == "counted"
        async with client.listening(position) as events:
            assert numbers([await events.message() for _ in range(200)]) == list(range(1, 201))


@pytest.mark.flaw_of("typescript-sdk")
async def test_a_listening_stream_is_replayed_too(server):
    async with server.client() as client:
        async with client.listening() as events:
            await client.ask_tool("whisper", texts=["1", "2", "3"])
            assert logged([await events.message()]) == ["1"]
            position = events.last_id
        async with client.listening(position) as events:
            assert logged([await events.message() for _ in range(2)]) == ["2", "3"]


@pytest.mark.flaw_of("typescript-sdk")
async def test_a_question_to_a_listener_that_was_away_is_asked_when_it_is_back(server):
    async with server.client() as client:
        async with client.listening() as events:
            await client.ask_tool("whisper", texts=["1"])
            assert logged([await events.message()]) == ["1"]
        async with client.calling("ask", "caller", name="question") as asking:
            await client.remote("until", name="question", state="running")
            async with client.listening(events.last_id) as again:
                question = await again.message()
                assert question["method"] == "roots/list"
                roots = {"roots": [{"uri": "file:///here"}]}
                assert (await client.post(answer(question["id"], roots))).status_code == 202
            assert text(await asking.answer()) == "file:///here"


@pytest.mark.flaw_of("toolhive")
async def test_a_principal_with_a_fresh_token_keeps_its_session(server):
    async with server.clients("alice") as (alice,):
        alice.headers["x-token"] = "first"
        await alice.initialize()
        async with alice.calling("wait", name="token") as events:
            position = await first_id(events)
        alice.headers["x-token"] = "second"
        async with alice.listening(position) as events:
            await alice.remote("go", name="token")
            assert text(await events.answer()) == "token waited"
