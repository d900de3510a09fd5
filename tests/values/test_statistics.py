from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

from streamscope import (
    CloseReason,
    EventLogStatistics,
    SessionManagerStatistics,
    StreamManagerStatistics,
    _statistics,
)

STREAMS = {
    "open_streams": 2,
    "opened_streams": 5,
    "closed_streams": {CloseReason.COMPLETED: 3},
    "sent_events": 7,
    "sent_bytes": 70,
    "coalesced_events": 6,
    "waited_sends": 4,
    "skipped_events": 8,
    "slow_readers": 1,
}
CASES: dict[type, dict[str, Any]] = {
    StreamManagerStatistics: STREAMS,
    SessionManagerStatistics: {
        "open_sessions": 1,
        "opened_sessions": 4,
        "closed_sessions": {CloseReason.IDLE: 3},
        "streams": STREAMS,
    },
    EventLogStatistics: {"streams": 3, "finished_streams": 1, "events": 9, "bytes": 90},
}


def make(kind):
    values = dict(CASES[kind])
    if "streams" in values and isinstance(values["streams"], dict):
        values["streams"] = StreamManagerStatistics(**values["streams"])
    return kind(**values)


@pytest.mark.parametrize("kind", CASES)
def test_statistics_are_values(kind):
    statistics = make(kind)
    assert statistics == make(kind)
    # The names are part of the interface: they become names of metrics.
    assert attrs.asdict(statistics) == CASES[kind]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(statistics, next(iter(CASES[kind])), 0)


@pytest.mark.parametrize("kind", CASES)
def test_every_number_is_explained(kind):
    # Whoever reads a snapshot sees names; the strings below the fields say what they count.
    source = ast.parse(Path(_statistics.__file__).read_text(encoding="utf-8"))
    (definition,) = (node for node in source.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    explained = [
        field.target.id
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    ]
    assert explained == [field.name for field in attrs.fields(kind)]


@pytest.mark.parametrize("kind", CASES)
def test_statistics_are_made_by_keyword_only(kind):
    with pytest.raises(TypeError):
        kind(*CASES[kind].values())
