"""What a call leaves behind goes at once, and needs no garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.mcp.demo import Demo
from tests.mcp.helpers import call, talking


@contextmanager
def finding_garbage(found: list[str]) -> Iterator[None]:
    """Find the types of our own objects that are left to the garbage collector in a block."""
    gc.collect()
    enabled, flags = gc.isenabled(), gc.get_debug()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        types = [type(each) for each in gc.garbage]
        found += sorted({cls.__qualname__ for cls in types if cls.__module__.startswith("streamscope")})
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        if enabled:
            gc.enable()


def test_garbage_is_found():
    class Cycle:
        pass

    Cycle.__module__ = "streamscope.tests"
    found: list[str] = []
    with finding_garbage(found):
        cycle = Cycle()
        cycle.itself = cycle
        del cycle
    assert found == ["test_garbage_is_found.<locals>.Cycle"]


@pytest.mark.parametrize("delay", [20, 0])
async def test_a_call_leaves_none(delay):
    found: list[str] = []
    async with talking(Demo().server, sse_delay=delay) as (_, peer):
        for _ in range(2):
            await peer.post(call("add", {"a": 1, "b": 2}))
        with finding_garbage(found):
            for _ in range(5):
                response = await peer.post(call("add", {"a": 1, "b": 2}))
                assert response.status_code == 200
    assert found == []
