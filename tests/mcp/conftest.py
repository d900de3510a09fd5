"""What every test of the endpoint holds besides its own: nothing went wrong behind its back."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WATCHED = ("hypercorn", "streamscope")

# The HTTP client of the SDK leaves its generators to the garbage collector where a response is not read to its end.
LEFT_BEHIND = pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2|mcp)\.:ResourceWarning")


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(LEFT_BEHIND)


@pytest.fixture(autouse=True)
def _nothing_logged(caplog):
    """Fail where the endpoint or the HTTP server logged a warning; a test that expects one clears it."""
    yield
    records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
    bad = [record for record in records if record.levelno >= logging.WARNING and record.name.startswith(WATCHED)]
    assert not bad, "\n".join(logging.Formatter().format(record) for record in bad)
