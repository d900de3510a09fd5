"""What every test of the server holds besides its own: nothing went wrong behind its back."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _nothing_logged(caplog):
    """Fail where the server logged a warning; a test that expects one clears it."""
    yield
    bad = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert not bad, "\n".join(logging.Formatter().format(record) for record in bad)
