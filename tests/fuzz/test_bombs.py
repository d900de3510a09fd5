"""What is made to be costly is refused like anything else, and the endpoint goes on."""

from __future__ import annotations

import pytest

from tests.fuzz import draws, heads
from tests.fuzz.bodies import WITH
from tests.fuzz.checks import check_answers
from tests.fuzz.shots import Shot, Times
from tests.fuzz.sound import BASE, in_session
from tests.fuzz.world import play

MANY = 1_000_000
MINE = in_session("$mine")
NOTIFICATION = b'{"jsonrpc":"2.0","method":"m"}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ((Times(b"[", MANY),), 400),
        ((Times(b"[", MANY), Times(b"]", MANY)), 400),
        ((Times(b'{"a":', MANY // 5), b"1", Times(b"}", MANY // 5)), 400),
        ((WITH, Times(b'[{"":', 100_000), b"1", Times(b"}]", 100_000), b"}}}"), 400),
        ((WITH, Times(b"9", MANY), b"}}}"), 400),
        ((WITH, b"-", Times(b"9", MANY), b"e1}}}"), 400),
        ((b'{"jsonrpc":"2.0","method":"m","id":', Times(b"9", MANY), b"}"), 400),
        ((b'{"jsonrpc":"2.0","method":"m","id":"', Times(b"9", MANY), b'"}'), 200),
        ((WITH, b"0.", Times(b"9", MANY), b"}}}"), 200),
        ((WITH, b"1e", Times(b"9", MANY), b"}}}"), 200),
        ((WITH, b'"', Times(rb"\u0041", MANY // 6), b'"}}}'), 200),
        ((WITH, b"{", Times(b'"k":0,', MANY // 6), b'"k":0}}}}'), 200),
        ((Times(b" ", MANY),), 400),
        ((b"[", Times(b"{},", MANY // 3), b"{}]"), 400),
        ((b"[", Times(NOTIFICATION + b",", 10_000), NOTIFICATION, b"]"), 400),
        ((b'{"jsonrpc":"2.0","method":"m","params":"', Times(b"x", 5 * MANY), b'"}'), 413),
    ],
    ids=str,
)
@pytest.mark.parametrize("head", [MINE, in_session("$batching")], ids=["mine", "batching"])
def test_a_body(body, status, head):
    (client,) = play(draws.handshake_post(body, head))
    assert client.status == status
    check_answers(client)
    # A refusal does not echo what was sent.
    assert status == 200 or len(client.body) < 1000


def test_a_body_that_does_not_announce_itself():
    head = [header for header in BASE + MINE if header[0] != b"content-length"]
    (client,) = play(Shot(headers=tuple(head), body=(Times(b"[", MANY),) * 10))
    assert client.status == 413


@pytest.mark.parametrize("name", sorted(heads.VALUES))
def test_a_header(name):
    kept = tuple(header for header in BASE + MINE if header[0] != name)
    values = [Times(b"9", MANY), Times(b", ;=", MANY // 4), Times(b"\xff", MANY)]
    for client in play(*(Shot(headers=(*kept, (name, value)), body=(NOTIFICATION,)) for value in values)):
        assert client.status is not None
        assert len(client.body) < 1000 or name == b"mcp-protocol-version"


@pytest.mark.parametrize("same", [False, True])
def test_a_crowd_of_headers(same):
    (client,) = play(draws.handshake_post((NOTIFICATION,), MINE + heads.crowd(100_000, same=same)))
    assert client.status == 202
