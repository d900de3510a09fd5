"""Whatever comes over a connection: what is HTTP is answered, and nobody else notices."""

from __future__ import annotations

import pytest
from hypothesis import event, given

from tests.fuzz import draws, heads, wire
from tests.fuzz.checks import REFUSALS, check
from tests.fuzz.running import running
from tests.fuzz.shots import Shot, Times
from tests.fuzz.sound import BASE

STATUSES = {200, 202, 204, *REFUSALS}
# An HTTP server has some of its own, for what it does not pass on.
OF_SERVERS = {400, 411, 414, 417, 431, 501, 505}


@pytest.fixture(scope="module")
def served():
    with running() as served:
        yield served


# The server, in its thread, may well use it while a request is drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@draws.SOCKETS
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
            served.check_answers(response)
    served.check_survivor()


@pytest.mark.parametrize(
    "head", [heads.crowd(10_000, same=True), heads.crowd(10_000, same=False), ((b"x-other", Times(b"x", 1_000_000)),)]
)
def test_a_head_without_end(served, head):
    served.settle()
    shot = Shot(headers=head + BASE, body=(b"{}",))
    talk = wire.Talk((wire.Framed("length", shot),), ending="half")
    # The server may hang up before it has been told everything.
    for response in wire.hold(talk, served.address, served.names):
        assert response.status in {400, 431}
    served.check_survivor()
