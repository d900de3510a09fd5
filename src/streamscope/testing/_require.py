"""Assertions that ``python -O`` does not take away."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar, final

E = TypeVar("E", bound=Exception)


def require(condition: object, message: str) -> None:
    """Raise `AssertionError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AssertionError(message)


def require_equal(what: str, is_now: object, should_be: object) -> None:
    """Raise `AssertionError` unless two values are equal."""
    if is_now != should_be:
        raise AssertionError(f"{what} is {is_now!r}; it should be {should_be!r}")


@final
class Refusal(Generic[E]):
    """Requires that its block raises an error of the given class, and keeps it.

    Args:
        what: What the block does.
        error: What it must raise.
    """

    def __init__(self, what: str, error: type[E]) -> None:
        self._what = what
        self._expected = error
        self.errors: list[E] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        should = f"{self._what} should raise {self._expected.__name__}"
        require(exc is not None, f"{should}, and raises nothing")
        if isinstance(exc, self._expected):
            self.errors.append(exc)
            return True
        # What is no Exception is a cancellation, or Ctrl-C, and passes.
        require(not isinstance(exc, Exception), f"{should}, not {exc!r}")
        return False

    @property
    def error(self) -> E:
        """What was raised."""
        return self.errors[0]
