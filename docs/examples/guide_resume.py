"""What may become of a reader that comes back."""

import trio

from streamscope import (
    EventId,
    EventsExpiredError,
    MemoryEventLog,
    Session,
    StreamId,
    UnknownEventError,
    UnknownStreamError,
    open_session_manager,
)


async def resume(session: Session, last: EventId) -> None:
    """Say what becomes of a reader that has the events up to this one."""
    try:
        async with session.open_reader(last.stream_id, after=last.seq) as reader:
            with trio.move_on_after(0.1):
                async for event in reader:
                    print("  ", event.seq, event.data)
            print("finished" if reader.finished else "resumed")
    except EventsExpiredError as exc:
        print("gap: the oldest event there is number", exc.first)
    except (UnknownStreamError, UnknownEventError) as exc:
        print("unknown:", type(exc).__name__)


async def main() -> None:
    opening = open_session_manager(log=MemoryEventLog(max_events=3))
    async with opening as sessions, sessions.open_session() as session:
        async with session.open_stream() as stream:
            for data in (b"a", b"b", b"c", b"d", b"e"):
                await stream.send(data)
            await resume(session, EventId(stream.id, 3))
        await resume(session, EventId(stream.id, 3))
        await resume(session, EventId(stream.id, 1))
        await resume(session, EventId(stream.id, 6))
        await resume(session, EventId(StreamId.new(), 1))


if __name__ == "__main__":
    trio.run(main)
