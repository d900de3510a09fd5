"""Why a database cannot be opened, named after what is in the way."""

from __future__ import annotations

from typing import final

from .._errors import EventLogError


class EventLogOpenError(EventLogError):
    """A database could not be opened as an event log. Nothing in it was changed.

    Attributes:
        path: The database.
        cause: What is in the way.
    """

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"the event log {self.path!r} cannot be opened: {self.cause}"


@final
class EventLogMissingError(EventLogOpenError):
    """The file cannot be reached: there is no such directory, or no permission, or it is no file."""


@final
class EventLogForeignError(EventLogOpenError):
    """The file is there, but is no event log."""


@final
class EventLogCorruptError(EventLogOpenError):
    """The database is damaged."""


@final
class EventLogBusyError(EventLogOpenError):
    """It is open already, in this process or in another one."""


@final
class EventLogVersionError(EventLogOpenError):
    """It was written by a later version of streamscope."""
