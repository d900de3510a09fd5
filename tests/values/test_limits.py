from __future__ import annotations

import math

import attrs
import pytest

from streamscope import Limits
from streamscope._limits import LimitOptions

COUNTS = ["max_sessions", "max_sessions_per_principal", "max_streams_per_session"]
TIMES = ["idle_timeout", "lost_after", "max_age", "drain_timeout"]


def test_the_defaults_are_part_of_the_interface():
    assert attrs.asdict(Limits()) == {
        "max_sessions": 10_000,
        "max_sessions_per_principal": math.inf,
        "max_streams_per_session": 10_000,
        "idle_timeout": 1800,
        "lost_after": 300,
        "max_age": math.inf,
        "max_age_jitter": 0.1,
        "drain_timeout": 5,
        "evict_idle": True,
    }


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    for value in (1, 7.0, math.inf):
        assert getattr(Limits(**{name: value}), name) == value
    for value in (0, 1.5, -1, math.nan):
        with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1"):
            Limits(**{name: value})


@pytest.mark.parametrize("name", TIMES)
def test_times(name):
    for value in (0.5, 1, math.inf):
        assert getattr(Limits(**{name: value}), name) == value
    for value in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"^{name} must be more than 0 seconds"):
            Limits(**{name: value})


def test_a_changed_copy_is_checked_too():
    limits = attrs.evolve(Limits(max_sessions=3), idle_timeout=9)
    assert (limits.max_sessions, limits.idle_timeout) == (3, 9)
    with pytest.raises(ValueError, match="max_age"):
        attrs.evolve(limits, max_age=0)


def test_frozen_and_by_keyword_only():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().max_sessions = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg]


def test_a_fraction():
    for value in (0, 0.5, 1):
        assert Limits(max_age_jitter=value).max_age_jitter == value
    for value in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^max_age_jitter must be from 0 to 1"):
            Limits(max_age_jitter=value)


def test_other_constructors_take_the_same_options():
    names = [field.name for field in attrs.fields(Limits)]
    assert list(LimitOptions.__annotations__) == names
    assert LimitOptions.__optional_keys__ == set(names)
    assert set(names) == {*COUNTS, *TIMES, "max_age_jitter", "evict_idle"}
