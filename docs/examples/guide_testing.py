"""Tests of code that uses streamscope: no real time passes in them."""

import trio
from trio.testing import MockClock

from streamscope import CloseReason, Session, Stream, open_session_manager
from streamscope.testing import assert_no_leftovers


async def tick(stream: Stream) -> None:
    """What is tested: a stream that says something every minute."""
    while True:
        await stream.send(b"tick")
        await trio.sleep(60)


async def open_ticker(session: Session) -> Stream:
    return await session.start_stream(tick, kind="ticker", holds_session=False)


async def test_ticks_do_not_keep_a_session_alive(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=590) as sessions:
        session = await sessions.start_session()
        ticker = await open_ticker(session)
        await session.wait_closed()
        assert session.reason is CloseReason.IDLE
        assert autojump_clock.current_time() == 590
        assert ticker.metadata.event_count == 10
        assert_no_leftovers(sessions)


async def test_ticks_can_be_read(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        ticker = await open_ticker(session)
        async with session.open_reader(ticker.id) as reader:
            for seq in (1, 2, 3):
                with trio.fail_after(61):
                    assert (await reader.receive()).seq == seq
    assert autojump_clock.current_time() == 120


if __name__ == "__main__":
    for test in (test_ticks_do_not_keep_a_session_alive, test_ticks_can_be_read):
        clock = MockClock(autojump_threshold=0)
        trio.run(test, clock, clock=clock)
        print("passed:", test.__name__)
