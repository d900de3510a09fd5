"""Whatever comes over a connection: what is HTTP is answered, and nobody else notices."""

from __future__ import annotations

import pytest
from hypothesis import event, given

from tests.fuzz import draws, wire
from tests.fuzz.checks import REFUSALS, check, check_answers
from tests.fuzz.running import running

STATUSES = {200, 202, 204, *REFUSALS}
# An HTTP server has some of its own, for what it does not pass on.
OF_SERVERS = {400, 411, 414, 417, 431, 501, 505}


@pytest.fixture(scope="module")
def served():
    with running() as served:
        yield served


@given(talk=draws.talks())
def test_any_bytes_on_a_connection(served, talk):
    served.settle()
    responses = wire.hold(talk, served.address, served.names)
    if talk.ending == "wait":
        # After a refusal whose body was not read, or need not come, the connection is of no more use.
        closed = bool(responses) and responses[-1].headers.get("connection") == "close"
        assert all(response.over for response in responses)
        assert closed or len(responses) == len(talk.requests)
    for response in responses:
        event(f"{talk.ending}, {'sound' if talk.sound else 'not sound'}: {response.status}")
        if response.over:
            assert response.status in (STATUSES if talk.sound else STATUSES | OF_SERVERS)
        if response.over and talk.sound:
            check(response)
            check_answers(response)
    served.check_survivor()
