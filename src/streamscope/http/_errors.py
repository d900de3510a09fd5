"""What goes wrong between a server and its clients, and between a server and its application."""

from __future__ import annotations

from typing import final


@final
class RefusedError(Exception):
    """A request is refused, by the server itself.

    Args:
        status: The HTTP status of the answer.
        message: What is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@final
class ClientDisconnectedError(OSError):
    """An application sends to a client that is not there any more.

    It has closed the connection, has not read for longer than ``write_timeout``, or was refused by the
    server while the application was reading its request. ASGI, "HTTP: Disconnected Client - send exception".
    """


@final
class LifespanError(Exception):
    """An application says that it cannot start, or that it could not end in order."""
