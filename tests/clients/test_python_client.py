"""The row of the matrix that needs nothing more than the tests do: the official client, on Trio."""

from __future__ import annotations

import pytest

from tests.clients._operations import CLIENTS, Client
from tests.clients.matrix import run_all

ON_TRIO = [client for client in CLIENTS if client.name == "mcp-trio"]


@pytest.mark.parametrize("client", ON_TRIO, ids=[client.era for client in ON_TRIO])
async def test_everything_works_with_the_official_client_on_trio(client: Client) -> None:
    [run] = await run_all([client], npm=None)
    assert run.failures == {}, run.log
    assert {outcome.status for outcome in run.outcomes.values()} == {"pass"}
