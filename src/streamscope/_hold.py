"""Holding a session for the length of a block."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Protocol, TypeVar, final

import trio


class Holdable(Protocol):
    """What can be held: a session."""

    def _take_hold(self) -> None: ...
    def _release_hold(self) -> None: ...


H = TypeVar("H", bound=Holdable)


@final
class Hold(Generic[H]):
    """The context manager behind ``Session.hold()``."""

    __slots__ = ("_held", "_of")

    def __init__(self, of: H) -> None:
        self._of = of
        self._held = False

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> H:
        if self._held:
            raise RuntimeError("hold() can be entered only once; call it again for another hold")
        self._of._take_hold()
        self._held = True
        return self._of

    @trio.lowlevel.enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._of._release_hold()
