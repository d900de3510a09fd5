from __future__ import annotations

import math

import attrs
import pytest

from streamscope import SlowReaders


def test_by_default_nobody_waits_and_nothing_is_skipped():
    assert SlowReaders() == SlowReaders(wait=0, skip=False)


@pytest.mark.parametrize("wait", [0, 0.5, 30, math.inf])
def test_how_long_to_wait(wait):
    assert SlowReaders(wait=wait).wait == wait


@pytest.mark.parametrize("wait", [-1, -math.inf, math.nan])
def test_what_is_no_time_to_wait(wait):
    with pytest.raises(ValueError, match=r"wait must be at least 0 seconds"):
        SlowReaders(wait=wait)


def test_it_is_a_value():
    policy = SlowReaders(wait=1, skip=True)
    assert hash(policy) == hash(SlowReaders(wait=1, skip=True))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.skip = False  # type: ignore[misc]
