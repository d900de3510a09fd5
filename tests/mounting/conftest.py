"""What every test of a mounted endpoint holds besides its own: see tests/mcp/conftest.py."""

from __future__ import annotations

from pathlib import Path

from tests.mcp.conftest import LEFT_BEHIND, _nothing_logged

__all__ = ["_nothing_logged"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(LEFT_BEHIND)
