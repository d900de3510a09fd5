"""Watching what happens to sessions and streams."""

import json
from collections import Counter

import trio

import streamscope
from streamscope import Change, CloseReason, SessionManager, StreamClosed, StreamMetadata, Watcher
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
    async with streamscope.open_session_manager(instruments=(ends,)) as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(print_changes, sessions.watch())
        snapshot = await run_a_session(sessions)
        sessions.close()

    shown = {name: value for name, value in snapshot.to_dict().items() if name in {"kind", "state", "byte_count"}}
    print("the stream as it was:", json.dumps(shown))
    print("streams ended:", {str(reason): count for reason, count in ends.by_reason.items()})
    for closed in sessions.recently_closed():
        print("session ended:", closed.session.principal, closed.reason)
    print("events sent:", sessions.statistics().streams.sent_events)


if __name__ == "__main__":
    trio.run(main)
