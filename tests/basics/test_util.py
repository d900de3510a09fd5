from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope._util import check_count, check_seconds, repair_module_names, shorten


def test_shorten_quotes_what_is_short_whole():
    assert shorten("a 'quoted' text\n") == repr("a 'quoted' text\n")
    assert shorten("x" * 48) == repr("x" * 48)


def test_shorten_cuts_what_is_long():
    assert shorten("x" * 49) == repr("x" * 47) + "…"
    assert shorten("abcdef", limit=4) == "'abc'…"


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_shorten_shows_the_beginning_and_never_a_control_character(text, limit):
    shown = shorten(text, limit)
    assert shown.isprintable()
    assert len(shown.removesuffix("…")) <= len(repr(text))
    if len(text) > limit:
        assert shown == repr(text[: limit - 1]) + "…"


@pytest.mark.parametrize("value", [0.001, 1, 30.0, math.inf])
def test_usable_seconds_are_returned(value):
    assert check_seconds("idle_timeout", value) == value


@pytest.mark.parametrize("value", [0, 0.0, -0.0, -1, -math.inf, math.nan])
def test_other_seconds_are_refused_by_name(value):
    with pytest.raises(ValueError, match="idle_timeout must be more than 0 seconds") as caught:
        check_seconds("idle_timeout", value)
    assert "math.inf" in str(caught.value)
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize("value", [1, 1.0, 10_000, 2.0**40, math.inf])
def test_usable_counts_are_returned(value):
    assert check_count("max_sessions", value) == value


@pytest.mark.parametrize("value", [0, 0.5, 1.5, -1, -math.inf, math.nan])
def test_other_counts_are_refused_by_name(value):
    with pytest.raises(ValueError, match="max_sessions must be a whole number of at least 1") as caught:
        check_count("max_sessions", value)
    assert "math.inf" in str(caught.value)
    assert str(caught.value).endswith(repr(value))


def test_public_names_say_where_they_are_imported_from():
    class Public: ...

    class Foreign: ...

    def function() -> None: ...

    Public.__module__ = "package._private"
    function.__module__ = "package._deep._private"
    Foreign.__module__ = "packages._private"
    namespace = {"__name__": "package", "P": Public, "F": Foreign, "f": function, "ALIAS": int | str, "left": Public}

    repair_module_names(namespace, ["P", "F", "f", "ALIAS"])

    assert Public.__module__ == "package"
    assert function.__module__ == "package"
    assert Foreign.__module__ == "packages._private"


def test_only_the_names_given_are_repaired():
    class Public: ...

    Public.__module__ = "package._private"
    repair_module_names({"__name__": "package", "P": Public}, [])
    assert Public.__module__ == "package._private"
