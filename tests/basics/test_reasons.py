from __future__ import annotations

import json

import pytest

from streamscope import CloseReason, State
from streamscope._reasons import TRANSITIONS


def test_the_reasons_and_their_texts_are_part_of_the_interface():
    # They are in logs, in metrics and in JSON: to rename one is to break somebody's dashboard.
    assert [reason.value for reason in CloseReason] == [
        "completed",
        "cancelled",
        "failed",
        "disconnected",
        "idle",
        "expired",
        "superseded",
        "slow_reader",
        "evicted",
        "terminated",
        "killed",
        "shutdown",
    ]


@pytest.mark.parametrize("reason", CloseReason)
def test_a_reason_is_its_text(reason):
    assert reason == reason.value
    assert str(reason) == f"{reason}" == reason.value
    # What formats the old way asks for the text, too.
    assert "%s" % reason == reason.value  # noqa: UP031
    assert json.loads(json.dumps({"reason": reason})) == {"reason": reason.value}
    assert CloseReason(reason.value) is reason


def test_every_state_says_what_may_follow():
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.OPEN] == {State.CLOSING, State.CLOSED}
    assert TRANSITIONS[State.CLOSING] == {State.CLOSED}
    assert TRANSITIONS[State.CLOSED] == frozenset()


def test_no_way_leads_back():
    order = list(State)
    assert all(order.index(after) > order.index(before) for before in State for after in TRANSITIONS[before])


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        TRANSITIONS[State.CLOSED] = frozenset({State.OPEN})  # type: ignore[index]
