"""Whole requests, of several kinds, and several of them at once."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from tests.fuzz import bodies, heads, wire
from tests.fuzz.checks import listens
from tests.fuzz.shots import Shot
from tests.fuzz.sound import BASE, fields, in_session
from tests.mcp.helpers import envelope

METHODS = [
    "GET",
    "DELETE",
    "PUT",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "PROPFIND",
    "M-SEARCH",
    "X!",
]
PATHS = ["/mcp", "/mcp/", "/", "", "/mcp/x", "/mcp2", "//mcp", "/MCP", "/mcp\0", "/é", "*"]
# Each is costly, and there are many tests of them: they take a part of the examples of hypothesis' profile.
ENDPOINT = settings(max_examples=settings().max_examples * 2 // 5)
SOCKETS = settings(max_examples=settings().max_examples // 4)
users = st.sampled_from([None, None, None, "alice", ""])


def handshake_post(body: Any, head: heads.Head, user: str | None = None) -> Shot:
    return Shot(headers=BASE + head, body=body, user=user)


@st.composite
def sound_handshake(draw: st.DrawFn) -> Shot:
    """A POST in one's session that is to be accepted."""
    batching = draw(st.booleans())
    body = draw(bodies.batches.map(bodies.written) | bodies.sound if batching else bodies.sound)
    head = in_session("$batching") if batching else in_session("$mine")
    return handshake_post(draw(bodies.cut(body)), head)


@st.composite
def sound_modern(draw: st.DrawFn) -> Shot:
    """A POST of 2026-07-28 that is to be accepted."""
    message, headers = draw(bodies.modern_requests())
    return Shot(headers=BASE + fields(headers), body=draw(bodies.cut(bodies.written(message))))


initialize = bodies.initializes.map(lambda message: Shot(headers=BASE, body=bodies.written(message)))
sound = bodies.weighted((4, sound_handshake()), (4, sound_modern()), (1, initialize))


@st.composite
def get(draw: st.DrawFn) -> Shot:
    """A GET: a listener, or one that comes back."""
    head = BASE[:2] + draw(heads.sessions)
    if draw(st.booleans()):
        head = (*head, (b"last-event-id", draw(heads.events)))
    return Shot(method="GET", headers=head, user=draw(users))


@st.composite
def delete(draw: st.DrawFn) -> Shot:
    return Shot(method="DELETE", headers=BASE[:2] + draw(heads.sessions), user=draw(users))


@st.composite
def any_body(draw: st.DrawFn) -> Shot:
    """A POST whose headers are sound and whose body need not be."""
    modern = draw(st.booleans())
    if not modern:
        body = draw(bodies.weighted((3, bodies.unsound), (1, bodies.sound)))
        head = draw(heads.sessions | st.just(()))
        return handshake_post(draw(bodies.cut(body)), head, draw(users))
    message, headers = draw(bodies.modern_requests())
    body = draw(bodies.mutated(message).map(bodies.written) | bodies.unsound)
    return Shot(headers=BASE + fields(headers), body=draw(bodies.cut(body)))


@st.composite
def any_call_of_2026(draw: st.DrawFn) -> Shot:
    """A call of a tool by headers that proxies route by; they, the message and its envelope may say anything."""
    message, headers = envelope(
        "tools/call",
        {"name": "weather", "arguments": draw(st.sampled_from([{"city": "Rome"}, {"city": "Rome", "days": 3}, {}]))},
    )
    message = draw(st.just(message) | bodies.mutated(message))
    head = BASE + fields({**headers, "mcp_param_city": "Rome"})
    return Shot(headers=draw(st.just(head) | heads.disturbed(head)), body=bodies.written(message))


@st.composite
def any_head(draw: st.DrawFn) -> Shot:
    """A request that would be sound, were it not for its headers."""
    shot = draw(bodies.weighted((4, sound), (3, get()), (1, delete())))
    return attrs.evolve(shot, headers=draw(heads.disturbed(shot.headers)), user=draw(users))


@st.composite
def anything(draw: st.DrawFn) -> Shot:
    """A request in which nothing need be right."""
    shot = draw(any_body() | any_head())
    return attrs.evolve(
        shot,
        method=draw(st.sampled_from(["POST", *METHODS])),
        path=draw(st.sampled_from(["/mcp", "/mcp", *PATHS])),
        headers=draw(heads.disturbed(shot.headers)),
        user=draw(users),
    )


patience = st.sampled_from([0, 0, 0.001, 0.05, 0.1, 0.3, 1, 5, 20])


@st.composite
def interrupted(draw: st.DrawFn) -> Shot:
    """A request whose client sends too little, or leaves."""
    shot = draw(bodies.weighted((4, sound), (2, get()), (1, any_body())))
    if draw(st.booleans()):
        return attrs.evolve(shot, patience=draw(patience))
    pieces = shot.body[: draw(st.integers(0, len(shot.body)))]
    if draw(st.booleans()):
        return attrs.evolve(shot, body=pieces, then="leave")
    return attrs.evolve(shot, body=pieces, then="stall", patience=draw(st.none() | patience))


@st.composite
def together(draw: st.DrawFn) -> list[Shot]:
    """Several requests that meet: of one session more often than not, and often with one identifier."""
    few = st.sampled_from([1, 1, "1", 2])
    mine = bodies.weighted((3, bodies.requests(few).map(bodies.written)), (2, bodies.sound)).map(
        lambda body: handshake_post(body, in_session("$mine"))
    )
    any_one = bodies.weighted((4, mine), (2, get()), (2, sound), (2, interrupted()), (1, delete()))
    drawn = draw(st.lists(any_one, min_size=2, max_size=5))
    at = st.sampled_from([0, 0, 0, 0.05, 0.1, 0.5, 1, 3])
    return [attrs.evolve(shot, at=draw(at)) for shot in drawn]


on_a_wire = bodies.weighted((8, sound), (4, any_body()), (3, get()), (1, delete()), (1, any_head()))


@st.composite
def framed(draw: st.DrawFn, shots: st.SearchStrategy[Shot], how: st.SearchStrategy[str]) -> wire.Framed:
    shot = draw(shots)
    return wire.Framed(draw(how), attrs.evolve(shot, body=draw(bodies.cut(shot.body))))


@st.composite
def talks(draw: st.DrawFn) -> wire.Talk:
    """What one client does with one connection."""
    well = framed(on_a_wire, st.sampled_from(wire.SOUND))
    some = st.lists(well.filter(lambda framed: framed.sound), min_size=1, max_size=4)
    every = st.sampled_from([*wire.SOUND, *wire.UNSOUND_HEAD, *wire.UNSOUND_BODY])
    requests = tuple(draw(some | st.lists(framed(on_a_wire | anything(), every), min_size=1, max_size=3)))
    cuts = tuple(draw(st.lists(st.integers(1, 1500), max_size=4)))
    talk = wire.Talk(requests, cuts)
    endings: list[wire.Ending] = ["close", "reset"]
    if talk.sound:
        # Something comes in any case, so it can be waited for.
        endings.append("early")
    if not any(listens(request.shot) for request in requests):
        endings += ["wait"] * 5 if talk.sound else ["half"] * 3
    return attrs.evolve(talk, ending=draw(st.sampled_from(endings)))
