"""What the tests of the command line share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# The HTTP client of the SDK leaves its generators to the garbage collector where a response is not read to its end.
LEFT_BEHIND = pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2|mcp)\.:ResourceWarning")


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(LEFT_BEHIND)


@pytest.fixture
def clean_imports():
    """Forget the modules and the places to look for modules that a test brings in."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def demo_target(tmp_path):
    """A file with one small server."""
    file = tmp_path / "small.py"
    file.write_text(SMALL)
    return str(file)


SMALL = """
import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("small")


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
async def work(ctx: Context, clean_up: float = 0) -> str:
    try:
        for step in range(1, 10_000):
            await ctx.report_progress(step)
            await trio.sleep(0.05)
        return "done"
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(clean_up)
"""
