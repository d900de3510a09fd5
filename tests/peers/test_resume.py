"""Coming back for a stream: everything once, in order, to the end; and a plain word where that cannot be."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from tests.peers.helpers import Client, first_id, numbers, refused, text


async def read_in_bits(client: Client, n: int, pause: float) -> tuple[list[int], int]:
    """Have n steps counted, and cut the connection after a few messages, again and again.

    Returns:
        What was reported, and how often the stream was resumed.
    """
    heard: list[int] = []
    resumes = 0
    opening = client.calling("count", "caller", n=n, pause=pause)
    position: str | None = None
    while True:
        async with opening as events:
            with suppress(trio.EndOfChannel):
                for _ in range(resumes % 4 + 1):
                    message = await events.message()
                    if "result" in message:
                        assert (message["id"], text(message)) == ("caller", "counted")
                        return heard, resumes
                    heard += numbers([message])
        position = events.last_id or position
        opening = client.listening(position)
        resumes += 1


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "fastmcp")
async def test_no_event_is_lost_between_replay_and_live_delivery(server):
    async with server.client() as client:
        heard, resumes = await read_in_bits(client, 600, 0.002)
        assert heard == list(range(1, 601))
        assert resumes > 200


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "fastmcp")
async def test_no_event_is_lost_between_replay_and_live_delivery_where_the_log_is_slow(slow_server):
    async with slow_server.client() as client:
        heard, resumes = await read_in_bits(client, 150, 0.005)
        assert heard == list(range(1, 151))
        assert resumes > 10


@pytest.mark.flaw_of("rust-sdk")
async def test_the_event_that_came_last_is_not_repeated(server):
    async with server.client() as client:
        async with client.calling("speak", name="repeat") as events:
            await client.remote("say", name="repeat", number=3)
            assert numbers([await events.message() for _ in range(3)]) == [1, 2, 3]
        await client.remote("say", name="repeat", number=5)
        await client.remote("go", name="repeat")
        await client.remote("until", name="repeat", state="returned")
        async with client.listening(events.last_id) as again:
            assert numbers([await again.message() for _ in range(2)]) == [4, 5]
            assert text(await again.message()) == "repeat has spoken"


@pytest.mark.flaw_of("rust-sdk")
async def test_an_answer_that_nobody_was_there_for_is_there_later(server):
    async with server.client() as client:
        async with client.calling("wait", "caller", name="late") as events:
            position = await first_id(events)
        await client.remote("go", name="late")
        await client.remote("until", name="late", state="returned")
        for _ in range(3):
            async with client.listening(position) as again:
                message = await again.message()
                assert (message["id"], text(message)) == ("caller", "late waited")


@pytest.mark.flaw_of("python-sdk", "fastmcp")
async def test_a_stream_that_has_finished_gives_the_rest_and_ends(server):
    async with server.client() as client:
        async with client.calling("count", n=5) as events:
            position = await first_id(events)
            assert text((await events.rest())[-1]) == "counted"
        async with client.listening(position) as again:
            assert text((await again.rest())[-1]) == "counted"


@pytest.mark.flaw_of("python-sdk", "rust-sdk")
async def test_who_has_had_everything_is_not_kept_waiting(server):
    async with server.client() as client:
        async with client.calling("count", n=5) as events:
            assert text((await events.rest())[-1]) == "counted"
        async with client.stream("GET", last_event_id=events.last_id) as again:
            # Nothing to wait for, and no empty stream after which the client would come back again.
            assert again.response.status_code in {204, 400, 404}


@pytest.mark.flaw_of("python-sdk", "rust-sdk", "fastmcp")
@pytest.mark.parametrize("position", ["nonsense", "999999999", "00000000-0000-4000-8000-000000000000.7"])
async def test_an_event_id_that_is_unknown_is_refused(server, position):
    async with server.client() as client:
        refused(await client.send("GET", last_event_id=position), 400, 404)


@pytest.mark.flaw_of("python-sdk", "rust-sdk", "fastmcp")
async def test_a_gap_is_named(server):
    async with server.client() as client:
        # More than is kept of a stream.
        async with client.calling("count", n=1100) as events:
            position = await first_id(events)
            assert text((await events.rest())[-1]) == "counted"
        gap = refused(await client.send("GET", last_event_id=position), 400, 404)
        unknown = refused(await client.send("GET", last_event_id="nonsense"), 400, 404)
        assert gap["message"] != unknown["message"]


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp", "kotlin-sdk")
async def test_a_connection_that_still_stands_is_taken_over(server):
    async with server.client() as client:
        async with client.calling("speak", "caller", name="over") as old:
            await client.remote("say", name="over", number=1)
            assert numbers([await old.message()]) == [1]
            async with client.listening(old.last_id) as new:
                await client.remote("say", name="over", number=2)
                await client.remote("go", name="over")
                assert numbers([await new.message()]) == [2]
                message = await new.message()
                assert (message["id"], text(message)) == ("caller", "over has spoken")
            # The older connection ends, and without the answer: there is one.
            assert await old.rest() == []


@pytest.mark.flaw_of("python-sdk", "typescript-sdk", "rust-sdk", "go-sdk", "fastmcp", "kotlin-sdk")
async def test_a_listening_connection_that_still_stands_is_taken_over(server):
    async with server.client() as client, client.listening() as old:
        await client.ask_tool("whisper", texts=["1"])
        assert (await old.message())["params"]["data"] == "1"
        async with client.listening(old.last_id) as new:
            await client.ask_tool("whisper", texts=["2"])
            assert (await new.message())["params"]["data"] == "2"
        assert await old.rest() == []
