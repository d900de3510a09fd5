"""A tool that closes its own connection, so that its client comes back for the rest."""

from __future__ import annotations

import pytest

from tests.peers.helpers import numbers, text


@pytest.mark.flaw_of("python-sdk")
async def test_what_was_said_before_a_tool_hangs_up_is_sent_and_the_rest_is_there_later(server):
    async with server.client() as client:
        async with client.calling("hang_up", name="polled") as events:
            assert numbers(await events.rest()) == [1, 2]
        assert events.last_id is not None
        await client.remote("go", name="polled")
        async with client.listening(events.last_id) as again:
            assert numbers([await again.message(), await again.message()]) == [3, 4]
            assert text(await again.message()) == "went on"
