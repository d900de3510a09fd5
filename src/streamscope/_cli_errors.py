"""What can keep a command from running, and what it then says and exits with."""

from __future__ import annotations

import importlib
import sys
import traceback
from types import ModuleType, TracebackType
from typing import Final, cast, final

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
# What stands between a command and the code of others that it runs.
_BETWEEN: Final = frozenset(
    {"anyio", "contextlib", "hypercorn", "importlib", "mcp", "outcome", "socket", "streamscope", "trio"}
)


@final
class CannotStartError(Exception):
    """The command cannot begin. The message is one line for whoever typed it."""


@final
class TargetRaisedError(Exception):
    """The module that was to be served raised an exception of its own.

    Args:
        error: The exception.
        summary: What has become of the module, for the last line.
    """

    def __init__(self, error: BaseException, summary: str) -> None:
        super().__init__(error, summary)
        self._error = error
        self._summary = summary

    def show(self) -> None:
        """Print the traceback, from the module on, and the summary."""
        traceback.print_exception(self._error.with_traceback(foreign_part(self._error)))
        print(f"streamscope: error: {self._summary}; see above", file=sys.stderr)


def foreign_part(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame on that is neither ours nor of a library that we call."""
    part = error.__traceback__
    while part is not None and str(part.tb_frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        part = part.tb_next
    return part


def import_extra(module: str, extra: str) -> ModuleType:
    """Import something that an extra brings in.

    Args:
        module: Its full name.
        extra: The name of the extra.

    Raises:
        CannotStartError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        missing = exc.name or "something"
        if missing.partition(".")[0] == "streamscope":
            raise
        raise CannotStartError(
            f'{missing} is not installed; this command needs streamscope with its "{extra}" extra'
        ) from None


def leaves(exc: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, or the exception itself."""
    if not isinstance(exc, BaseExceptionGroup):
        return [exc]
    group = cast("BaseExceptionGroup[BaseException]", exc)
    return [leaf for inner in group.exceptions for leaf in leaves(inner)]


def only_interrupts(exc: BaseException) -> bool:
    """Tell whether this is Ctrl-C and nothing else, however deep in nurseries it was raised."""
    return all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves(exc))
