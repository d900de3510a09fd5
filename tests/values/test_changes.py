from __future__ import annotations

import ast
import typing
from pathlib import Path

import attrs
import pytest

from streamscope import (
    Change,
    ChangesMissed,
    CloseReason,
    EventId,
    ReaderAttached,
    ReaderDetached,
    SessionClosed,
    SessionOpened,
    StreamClosed,
    StreamId,
    StreamOpened,
    _changes,
)
from tests.values.samples import SESSION, STREAM

POSITION = EventId(StreamId.new(), 0)
MAKE = {
    SessionOpened: lambda: SessionOpened(SESSION),
    SessionClosed: lambda: SessionClosed(SESSION, CloseReason.IDLE),
    StreamOpened: lambda: StreamOpened(STREAM),
    StreamClosed: lambda: StreamClosed(STREAM, CloseReason.COMPLETED),
    ReaderAttached: lambda: ReaderAttached(SESSION, POSITION),
    ReaderDetached: lambda: ReaderDetached(SESSION, POSITION, CloseReason.SUPERSEDED),
    ChangesMissed: lambda: ChangesMissed(3),
}


def test_change_is_the_union_of_them_all():
    # The classes say that they come from the package, so only the source tells which are defined there.
    source = ast.parse(Path(_changes.__file__).read_text(encoding="utf-8"))
    defined = {getattr(_changes, node.name) for node in source.body if isinstance(node, ast.ClassDef)}
    assert set(typing.get_args(Change)) == defined == set(MAKE)


@pytest.mark.parametrize("kind", MAKE)
def test_a_change_is_a_value(kind):
    change, same = MAKE[kind](), MAKE[kind]()
    assert change == same
    assert hash(change) == hash(same)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(change, attrs.fields(kind)[0].name, None)


def test_changes_of_different_kinds_differ():
    assert SessionOpened(SESSION) != StreamOpened(SESSION)  # type: ignore[arg-type]
    assert StreamClosed(STREAM, CloseReason.IDLE) != StreamClosed(STREAM, CloseReason.KILLED)


def test_a_change_can_be_matched_by_position():
    match MAKE[StreamClosed]():
        case StreamClosed(metadata, CloseReason.COMPLETED):
            assert metadata == STREAM
        case other:
            pytest.fail(f"not matched: {other}")
