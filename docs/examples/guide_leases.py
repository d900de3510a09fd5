"""What keeps a session alive, and what does not."""

import trio
import trio.testing

import streamscope
from streamscope import Session, SessionManager, Stream


async def sleep(_: Stream, seconds: float) -> None:
    await trio.sleep(seconds)


async def held_by_work(session: Session) -> None:
    await session.start_stream(sleep, 100)


async def held_by_a_reader(session: Session) -> None:
    # It is there for its readers, and should not keep a session alive by itself.
    stream = await session.start_stream(sleep, 1000, holds_session=False)
    async with session.open_reader(stream.id):
        await trio.sleep(100)
    # It has left before the end, as one does that was cut off.


async def touched(session: Session) -> None:
    await trio.sleep(20)
    session.touch()


async def left_alone(session: Session) -> None:
    pass


async def show(sessions: SessionManager) -> None:
    for what in (held_by_work, held_by_a_reader, touched, left_alone):
        session = await sessions.start_session()
        began = trio.current_time()
        await what(session)
        await session.wait_closed()
        seconds = trio.current_time() - began
        print(f"{what.__name__}: {session.reason} after {seconds:g} s")


async def main() -> None:
    async with streamscope.open_session_manager(idle_timeout=30, lost_after=10) as sessions:
        await show(sessions)


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
