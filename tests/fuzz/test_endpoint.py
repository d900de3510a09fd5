"""Whatever a client sends: it gets an answer or a refusal, and nobody else notices."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz import draws
from tests.fuzz.checks import check_accepted
from tests.fuzz.client import Client
from tests.fuzz.world import play

MODES = [{}, {"sse_delay": 0}, {"json_response": True}, {"stateless": True}]


def note(clients: list[Client]) -> None:
    """Tell hypothesis what came of it, for its statistics."""
    for client in clients:
        form = "a stream" if client.streams else "whole"
        event(f"{client.shot.method}: {client.status}, {form}")


@draws.ENDPOINT
@given(draws.any_body())
def test_any_body(shot):
    note(play(shot))


@draws.ENDPOINT
@given(draws.any_head())
def test_any_headers(shot):
    note(play(shot))


@draws.ENDPOINT
@given(draws.anything())
def test_anything(shot):
    note(play(shot))


@draws.ENDPOINT
@given(draws.interrupted())
def test_a_client_that_sends_too_little_or_leaves(shot):
    note(play(shot))


@draws.ENDPOINT
@given(draws.together())
def test_several_at_once(shots):
    note(play(*shots))


@draws.ENDPOINT
@given(draws.sound)
def test_what_is_sound_is_accepted(shot):
    (client,) = play(shot)
    check_accepted(client)
    note([client])


@pytest.mark.parametrize("options", MODES[1:], ids=str)
@draws.ENDPOINT
@given(shots=st.lists(draws.any_body() | draws.any_head() | draws.interrupted(), min_size=1, max_size=3))
def test_other_kinds_of_endpoint(options, shots):
    note(play(*shots, options=options))


@pytest.mark.parametrize("low", [False, True])
@draws.ENDPOINT
@given(shot=draws.any_call_of_2026())
def test_any_call_of_a_tool_with_headers_of_its_own(low, shot):
    note(play(shot, low=low))
