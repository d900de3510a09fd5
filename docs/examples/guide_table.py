"""The stream manager on its own: who is streaming, under which name."""

import trio
import trio.testing

from streamscope import SessionId, StreamId, StreamManager


async def serve(streams: StreamManager, session_id: SessionId) -> None:
    """Register whatever this task does as a stream, in five lines of one's own."""
    with trio.CancelScope() as scope:
        stream_id = streams.register_stream(session_id, kind="work", scope=scope)
        try:
            await trio.sleep_forever()
        finally:
            streams.unregister_stream(session_id, stream_id)


async def main() -> None:
    streams = StreamManager()
    alice, bob = SessionId("alice-0001"), SessionId("bob-0001")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, streams, alice)
        nursery.start_soon(serve, streams, alice)
        await trio.testing.wait_all_tasks_blocked()

        # A stream of an open_stream() block has an event log as well.
        async with streams.open_stream(bob, kind="post") as stream:
            await stream.send(b"hello")
            print("alice has", len(streams.get_session_streams(alice)), "streams")
            print("bob has", len(streams.get_session_streams(bob)), "stream")

            await trio.sleep(60)
            stream.touch()
            ended: list[StreamId] = streams.cleanup_inactive_streams(max_age=30)
            print("ended", len(ended), "streams")
            print("still registered:", streams.is_stream_active(ended[0]))
            await trio.testing.wait_all_tasks_blocked()
            print("after it has unwound:", streams.is_stream_active(ended[0]))
    print("bob has", streams.get_session_streams(bob))


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
