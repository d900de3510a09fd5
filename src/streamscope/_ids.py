"""The three kinds of identifier: of a session, of a stream, of an event."""

from __future__ import annotations

import os
import re
import secrets
import sys
import uuid
from typing import Any, ClassVar, Final, NoReturn, Self, final

import attrs

from ._util import shorten

_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_UUID4_VERSION: Final = 4
_UUID4_VARIANT: Final = "89ab"
_BATCH: Final = 256
_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]{1,128}")
_SESSION_ID_BYTES: Final = 24
_SEQ: Final = re.compile(r"0|[1-9][0-9]{0,17}")


# Sixteen random bytes each, as hexadecimal digits. To ask the operating system each time costs more than all the
# rest. A list is taken from by several threads without a lock.
_random: list[str] = []

# Two processes must not make the same identifiers.
if sys.platform != "win32":  # pragma: no branch - which has no fork()
    os.register_at_fork(after_in_child=_random.clear)


def _next_random() -> str:
    try:
        return _random.pop()
    except IndexError:
        digits = os.urandom(16 * _BATCH).hex()
        _random.extend(digits[at : at + 32] for at in range(32, len(digits), 32))
        return digits[:32]


class _Id:
    """An immutable identifier that is its text, but not a string.

    A plain ``str`` would let a session's id pass for a stream's. pydantic finds
    its hook on the class; cattrs is told by `configure_converter`. Neither is
    imported before it is used.
    """

    __slots__ = ("_text",)
    _text: str
    _expected: ClassVar[str]
    _pattern: ClassVar[re.Pattern[str]]

    @classmethod
    def _of(cls, text: str) -> Self:
        self = object.__new__(cls)
        object.__setattr__(self, "_text", text)
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an identifier back from its text.

        Args:
            text: What ``str()`` of an identifier gave.

        Returns:
            An identifier equal to that one.

        Raises:
            ValueError: The text is no such identifier. The message quotes it, shortened.
        """
        if cls._pattern.fullmatch(text) is None:
            raise ValueError(f"not a {cls.__name__}: {shorten(text)} (expected {cls._expected})")
        return cls._of(text)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is immutable")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, type(self)) else NotImplemented

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (type(self).parse, (self._text,))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # noqa: PLC0415 - pydantic is there when it calls this

        return core_schema.no_info_before_validator_function(
            lambda value: str(value) if isinstance(value, cls) else value,
            core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema(strict=True)),
            serialization=core_schema.to_string_ser_schema(),
        )


@final
class StreamId(_Id):
    """The identifier of a stream: a random (version 4) UUID.

    Make one with `StreamId.new`, from a `uuid.UUID`, or from text with
    `StreamId.parse`. It is hashable, immutable, can be copied and pickled, and
    ``str()`` gives the text to put into JSON. Identifiers have no order.

    Args:
        value: A version 4 UUID.

    Raises:
        ValueError: The UUID is of another version, hence perhaps not random.
    """

    __slots__ = ()
    _expected = "a version 4 UUID, such as 3f0c8c1e-5d0e-4a0b-9c39-0f6a4b1f2d77"
    _pattern = _UUID4

    def __new__(cls, value: uuid.UUID) -> Self:
        if value.version != _UUID4_VERSION:
            raise ValueError(f"a StreamId must be a version 4 UUID, not version {value.version}: {value}")
        return cls._of(str(value))

    def __init__(self, value: uuid.UUID) -> None:
        """All is done in ``__new__``; this one tells type checkers what it takes."""

    @classmethod
    def new(cls) -> Self:
        """Make a new identifier from the operating system's randomness."""
        h = _next_random()
        variant = _UUID4_VARIANT[int(h[16], 16) & 3]
        return cls._of(f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")

    @property
    def uuid(self) -> uuid.UUID:
        """The identifier as a `uuid.UUID`."""
        return uuid.UUID(self._text)


@final
class SessionId(_Id):
    """The identifier of a session: 1 to 128 visible ASCII characters.

    Whoever knows it may use the session (within what its principal allows), so
    `SessionId.new` takes 192 bits from `secrets`, and ``repr()`` shows the
    first four characters alone. The alphabet is the one that
    the MCP specification demands of ``Mcp-Session-Id`` (2025-11-25, Streamable
    HTTP, "Session Management").

    Args:
        value: The text of the identifier. Use this only for identifiers that
            come from elsewhere and cannot be guessed.

    Raises:
        ValueError: The text is empty, too long or has other characters.
    """

    __slots__ = ()
    _expected = "1 to 128 visible ASCII characters"
    _pattern = _VISIBLE_ASCII

    def __repr__(self) -> str:
        # What is logged must not give the session away; ``str()`` has all of it.
        return f"SessionId({self._text[:4] + '…'!r})"

    def __new__(cls, value: str) -> Self:
        return cls.parse(value)

    def __init__(self, value: str) -> None:
        """All is done in ``__new__``; this one tells type checkers what it takes."""

    @classmethod
    def new(cls) -> Self:
        """Make a new identifier that nobody can guess."""
        return cls._of(secrets.token_urlsafe(_SESSION_ID_BYTES))


@final
@attrs.frozen
class EventId:
    """The identifier of an event, and so a position in a stream.

    Args:
        stream_id: The stream.
        seq: The event's number within its stream: 1, 2, 3, …. 0 is the position before the first.
    """

    stream_id: StreamId
    seq: int

    def __str__(self) -> str:
        return f"{self.stream_id}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read an event's identifier back from its text, as a client sends it in ``Last-Event-ID``.

        Raises:
            ValueError: The text is no event's identifier. The message quotes it, shortened.
        """
        stream, _, seq = text.rpartition(".")
        if _UUID4.fullmatch(stream) is None or _SEQ.fullmatch(seq) is None:
            raise ValueError(f"not an EventId: {shorten(text)} (expected a StreamId, a dot and a number)")
        return cls(StreamId.parse(stream), int(seq))


def configure_converter(converter: Any) -> None:
    """Teach a cattrs converter to read and write the identifiers as text.

    Args:
        converter: A ``cattrs.Converter``.
    """
    for cls in (StreamId, SessionId, EventId):
        converter.register_unstructure_hook(cls, str)
        converter.register_structure_hook(cls, _structure)


def _structure(value: str, to: type[Any]) -> Any:
    return to.parse(value)
