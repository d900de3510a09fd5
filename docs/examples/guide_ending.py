"""How a stream ends, and what the block that is the stream sees of it."""

import trio

from streamscope import (
    CloseReason,
    Session,
    SessionClosedError,
    Stream,
    open_session_manager,
)


async def sleep(stream: Stream) -> None:
    await stream.send(b"good night")
    await trio.sleep(3600)


async def crash(stream: Stream) -> None:
    await stream.send(b"good bye")
    raise OSError("the disk is gone")


async def run_to_the_end(session: Session) -> None:
    async with session.open_stream() as stream:
        await stream.send(b"done")
    print("after the block:", stream.reason)


async def raise_an_exception(session: Session) -> None:
    try:
        async with session.open_stream() as stream:
            await crash(stream)
    except OSError as exc:
        print("what was raised:", exc)


async def be_cancelled(session: Session) -> None:
    async with session.open_stream() as stream:
        stream.cancel(CloseReason.KILLED)
        await sleep(stream)
    print("after the block:", stream.reason)


async def time_out(session: Session) -> None:
    with trio.move_on_after(0.1):
        async with session.open_stream() as stream:
            await sleep(stream)
        print("not reached")
    print("after the outer scope:", stream.reason)


async def lose_the_session(session: Session, opened: trio.Event) -> None:
    try:
        async with session.open_stream() as stream:
            opened.set()
            try:
                await sleep(stream)
            finally:
                stream.send_nowait(b"good bye")  # Readers still get this one.
    except SessionClosedError as exc:
        print("what was raised:", exc)


async def main() -> None:
    async with open_session_manager() as sessions, trio.open_nursery() as nursery:
        async with sessions.open_session() as session:
            for way in (run_to_the_end, raise_an_exception, be_cancelled, time_out):
                print(f"-- {way.__name__}")
                await way(session)
            print("-- lose_the_session")
            opened = trio.Event()
            # This task is outside of the session's block.
            nursery.start_soon(lose_the_session, session, opened)  # noqa: ASYNC111
            await opened.wait()
            session.close(CloseReason.TERMINATED)
            await trio.sleep(3600)
        print("after the session's own block:", session.reason)


if __name__ == "__main__":
    trio.run(main)
