"""Small helpers that know nothing of sessions or streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs


def shorten(text: str, limit: int = 48) -> str:
    """Quote ``text`` for an error message, cut to ``limit`` characters."""
    return repr(text) if len(text) <= limit else f"{text[: limit - 1]!r}…"


def check_seconds(name: str, value: float) -> float:
    """Return ``value`` if it is a usable time-out: more than 0 seconds, `math.inf` allowed.

    Raises:
        ValueError: It is zero, negative or not a number.
    """
    if math.isnan(value) or value <= 0:
        raise ValueError(f"{name} must be more than 0 seconds (math.inf for no limit), not {value!r}")
    return value


def check_delay(name: str, value: float) -> float:
    """Return ``value`` if it is a usable number of seconds to wait: at least 0, `math.inf` for no end.

    Raises:
        ValueError: It is negative or not a number.
    """
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must be at least 0 seconds (math.inf for no limit), not {value!r}")
    return value


def check_fraction(name: str, value: float) -> float:
    """Return ``value`` if it is from 0 to 1.

    Raises:
        ValueError: It is not.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {value!r}")
    return value


def check_count(name: str, value: float) -> float:
    """Return ``value`` if it is a usable bound: at least 1, `math.inf` for no bound.

    Raises:
        ValueError: It is below 1, or neither whole nor infinite.
    """
    if math.isnan(value) or value < 1 or (value != math.inf and value != int(value)):
        raise ValueError(f"{name} must be a whole number of at least 1 (math.inf for no limit), not {value!r}")
    return value


def _validator(check: Callable[[str, float], float]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        check(attribute.name, value)

    return validate


# The same, for the fields of attrs classes.
validate_seconds: Final = _validator(check_seconds)
validate_delay: Final = _validator(check_delay)
validate_fraction: Final = _validator(check_fraction)
validate_count: Final = _validator(check_count)


def repair_module_names(namespace: Mapping[str, Any], names: Iterable[str]) -> None:
    """Let public classes and functions say where they are imported from.

    Tracebacks, ``repr`` and pickles then show ``streamscope.Stream`` instead of
    the private module that happens to hold it.
    """
    module = namespace["__name__"]
    for name in names:
        obj = namespace[name]
        if getattr(obj, "__module__", "").startswith(f"{module}._"):
            obj.__module__ = module
