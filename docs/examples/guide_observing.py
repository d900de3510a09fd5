"""Watching what happens to sessions and streams."""

import json
from collections import Counter

import trio

from streamscope import (
    Change,
    CloseReason,
    SessionManager,
    StreamClosed,
    StreamMetadata,
    Watcher,
    open_session_manager,
)
from streamscope.abc import Instrument


class StreamEnds(Instrument):
    """Counts why streams end."""

    def __init__(self) -> None:
        self.by_reason = Counter[CloseReason]()

    def changed(self, change: Change) -> None:
        if isinstance(change, StreamClosed):
            self.by_reason[change.reason] += 1


async def print_changes(changes: Watcher) -> None:
    """A task of its own, which may take its time."""
    async with changes:
        async for change in changes:
            print("-", type(change).__name__)


async def run_a_session(sessions: SessionManager) -> StreamMetadata:
    async with sessions.open_session(principal="alice") as session:
        async with session.open_stream(kind="post") as stream:
            await stream.send(b"hello")
            snapshot = stream.metadata
        async with session.open_reader(stream.id) as reader:
            await reader.receive()
    return snapshot


async def main() -> None:
    ends = StreamEnds()
    opening = open_session_manager(instruments=(ends,))
    async with opening as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(print_changes, sessions.watch())
        snapshot = await run_a_session(sessions)
        sessions.close()

    whole = snapshot.to_dict()
    shown = {name: whole[name] for name in ("kind", "state", "byte_count")}
    print("the stream as it was:", json.dumps(shown))
    print("streams ended:", json.dumps(ends.by_reason))
    for closed in sessions.recently_closed():
        print("session ended:", closed.session.principal, closed.reason)
    print("events sent:", sessions.statistics().streams.sent_events)


if __name__ == "__main__":
    trio.run(main)
