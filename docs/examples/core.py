"""The library without MCP: sessions and streams as scopes."""

from __future__ import annotations

import trio

import streamscope


async def read(session: streamscope.Session, stream_id: streamscope.StreamId) -> None:
    """Read a stream's events, as a response would."""
    try:
        async with session.open_reader(stream_id) as reader:
            async for event in reader:
                print(f"read event {event.seq}: {event.data.decode()}")
    except streamscope.SessionClosedError as exc:
        print(f"the reader was told: {exc}")


async def work(stream: streamscope.Stream) -> None:
    """The body of a stream that runs in a task of its own, until somebody ends it."""
    try:
        await trio.sleep_forever()
    finally:
        print(f"a {stream.kind} stream cleans up: {stream.reason}")


async def main() -> None:
    async with streamscope.open_session_manager(idle_timeout=1800) as sessions:
        async with sessions.open_session(principal="alice") as session:
            # A stream is registered for the length of a block.
            async with session.open_stream(connection_info="203.0.113.7:50412") as stream:
                await stream.send(b"one")
                await stream.send(b"two")
                print("open:", sessions.streams.is_stream_active(stream.id))
                print("events:", stream.metadata.event_count)
            print("open:", sessions.streams.is_stream_active(stream.id))

            # Its events can be read while it runs, and for a while after that.
            await read(session, stream.id)

            # Or a stream lives as long as a task does. Leaving the session ends the task, and waits for it.
            await session.start_stream(work, kind="background")
            print("streams:", len(sessions.streams.get_session_streams(session.id)))
        print("streams:", len(sessions.streams.get_session_streams(session.id)))
    for closed in sessions.recently_closed():
        print(f"the session of {closed.session.principal} has ended: {closed.reason}")


if __name__ == "__main__":
    trio.run(main)
