"""What may become of a reader that does not keep up."""

import trio

from streamscope import (
    EventsExpiredError,
    MemoryEventLog,
    Session,
    SlowReaders,
    StreamId,
    open_session_manager,
)


async def tell(session: Session, policy: SlowReaders, pause: float) -> None:
    """Send 1 to 6 on a stream that keeps three events, to a reader that takes its time."""
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        async with session.open_stream(slow_readers=policy) as stream:
            # It reads on when the stream has ended.
            nursery.start_soon(read, session, stream.id, pause, ready)  # noqa: ASYNC111
            await ready.wait()
            for number in range(1, 7):
                await stream.send(b"%d" % number)


async def read(session: Session, stream_id: StreamId, pause: float, ready: trio.Event) -> None:
    """Read a stream, but not at once."""
    received: list[int] = []
    async with session.open_reader(stream_id) as reader:
        ready.set()
        try:
            await trio.sleep(pause)
            async for event in reader:
                received.append(event.seq)  # noqa: PERF401 - those before an exception count, too
            print(received, "skipped:", reader.skipped)
        except EventsExpiredError as exc:
            print(received, "overtaken: the oldest event there is number", exc.first)


async def main() -> None:
    opening = open_session_manager(log=MemoryEventLog(max_events=3))
    async with opening as sessions, sessions.open_session() as session:
        await tell(session, SlowReaders(), pause=0.1)
        await tell(session, SlowReaders(skip=True), pause=0.1)
        await tell(session, SlowReaders(wait=5), pause=0.1)
        await tell(session, SlowReaders(wait=0.05), pause=0.2)
    print("producers waited:", sessions.statistics().streams.waited_sends)


if __name__ == "__main__":
    trio.run(main)
