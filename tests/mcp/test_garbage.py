"""What a call leaves behind goes at once, and needs no garbage collector."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from streamscope import Event, MemoryEventLog, open_session_manager
from streamscope.mcp._nudges import Nudges
from streamscope.mcp._options import split
from streamscope.mcp._response import Response
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


async def test_what_was_sent_is_not_kept_while_the_response_is_open():
    large = 2**20
    options, _ = split({})
    sent = 0

    async def receive():
        await trio.sleep_forever()

    async def send(message):
        nonlocal sent
        await trio.lowlevel.checkpoint()
        sent += len(message.get("body", b""))

    async with (
        open_session_manager(log=MemoryEventLog(max_events=1)) as sessions,
        sessions.open_session() as session,
        session.open_stream() as stream,
        session.open_reader(stream.id) as reader,
        trio.open_nursery() as nursery,
    ):

        async def respond():
            replayed = [Event(seq, bytes(large)) for seq in range(1, 4)]
            await response.events(reader, replayed, resumable=False, primed=False, options=options)

        response = Response(receive, send, Nudges(15))
        tracemalloc.start()
        try:
            nursery.start_soon(respond)
            await wait_all_tasks_blocked()
            await stream.send(bytes(large))
            await wait_all_tasks_blocked()
            # The log keeps one.
            await stream.send(b"small")
            await wait_all_tasks_blocked()
            assert sent > 4 * large
            assert tracemalloc.get_traced_memory()[0] < large
        finally:
            tracemalloc.stop()
        nursery.cancel_scope.cancel()
