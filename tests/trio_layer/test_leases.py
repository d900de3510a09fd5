"""What becomes of sessions and streams whose client was cut off, and how old they may become."""

from __future__ import annotations

import math
import random

import pytest
import trio
from trio.testing import MockClock

from streamscope import CloseReason, ReaderDetached, Session, Stream, open_session_manager
from tests.helpers import Recorder, serve, takes


async def cut_off(session: Session, stream: Stream, seconds: float = 1) -> None:
    """Read a stream for some time, and leave before its end."""
    async with session.open_reader(stream.id):
        await trio.sleep(seconds)


@pytest.mark.parametrize("idle_timeout", [31, 1000, math.inf])
async def test_a_session_that_was_cut_off_has_another_time_out(idle_timeout: float, autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=idle_timeout, lost_after=30) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, holds_session=False)
        await cut_off(session, stream)
        with takes(30):
            await session.wait_closed()
        assert stream.reason is session.reason is CloseReason.DISCONNECTED


async def test_it_is_never_longer_than_that_of_an_idle_one(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=100, lost_after=30) as sessions:
        session = await sessions.start_session(idle_timeout=10)
        stream = await session.start_stream(serve, holds_session=False)
        await cut_off(session, stream)
        with takes(10):
            await session.wait_closed()
        assert session.reason is CloseReason.IDLE


async def test_running_work_holds_it_all_the_same(autojump_clock: MockClock) -> None:
    async with open_session_manager(lost_after=30) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, 500)
        await cut_off(session, stream)
        with takes(499 + 30):
            await session.wait_closed()
        assert (stream.reason, session.reason) == (CloseReason.COMPLETED, CloseReason.DISCONNECTED)


@pytest.mark.parametrize("sign", ["reader", "touch"])
async def test_a_sign_of_life_makes_it_idle_again(sign: str, autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=100, lost_after=30) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, holds_session=False)
        await cut_off(session, stream)
        await trio.sleep(29)
        if sign == "touch":
            session.touch()
        else:
            async with session.open_reader(stream.id) as reader:
                stream.cancel()
                assert [event async for event in reader] == []
        with takes(100):
            await session.wait_closed()
        assert session.reason is CloseReason.IDLE


async def test_it_is_lost_when_its_last_reader_is(autojump_clock: MockClock) -> None:
    async with open_session_manager(lost_after=30) as sessions, trio.open_nursery() as nursery:
        session = await sessions.start_session()
        one, two = [await session.start_stream(serve, holds_session=False) for _ in range(2)]
        nursery.start_soon(cut_off, session, one, 1)
        nursery.start_soon(cut_off, session, two, 50)
        with takes(80):
            await session.wait_closed()


@pytest.mark.parametrize("how", ["finished", "stopped", "superseded"])
async def test_who_had_all_that_was_for_him_is_not_lost(how: str, autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(idle_timeout=100, lost_after=30, instruments=[recorder]) as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, holds_session=False)
        async with session.open_reader(stream.id) as reader:
            if how == "finished":
                stream.cancel()
                assert [event async for event in reader] == []
            elif how == "stopped":
                await stream.send(b"a")
                reader.stop()
                assert [event.data async for event in reader] == [b"a"]
            else:
                reader.end(CloseReason.SUPERSEDED)
        (detached,) = recorder.of(ReaderDetached)
        assert detached.reason is (CloseReason.SUPERSEDED if how == "superseded" else CloseReason.COMPLETED)
        with takes(100):
            await session.wait_closed()


# Streams


@pytest.mark.parametrize("abandon_after", [0, 5, math.inf])
async def test_a_stream_whose_reader_was_cut_off(abandon_after: float, autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, 60, abandon_after=abandon_after)
        # Nobody has read it yet, so nobody was lost.
        await trio.sleep(10)
        await cut_off(session, stream)
        lasts = min(abandon_after, 49)
        await trio.sleep(max(lasts - 0.5, 0))
        assert stream.reason is None or not lasts
        await trio.sleep(1)
        assert stream.reason is (CloseReason.COMPLETED if abandon_after == math.inf else CloseReason.DISCONNECTED)
        assert session.reason is None


async def test_a_reader_that_comes_back_in_time_saves_it(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, 60, abandon_after=5)
        for _ in range(5):
            await cut_off(session, stream)
            await trio.sleep(4)
        # Of two, one is enough.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_off, session, stream, 1)
            nursery.start_soon(cut_off, session, stream, 20)
        assert stream.reason is None
        await trio.sleep(6)
        assert stream.reason is CloseReason.DISCONNECTED


async def test_one_that_is_idle_is_not_abandoned(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(serve, idle_timeout=20, abandon_after=30)
        await cut_off(session, stream)
        await trio.sleep(21)
        assert stream.reason is CloseReason.IDLE
        with pytest.raises(ValueError, match="abandon_after must be at least 0 seconds"):
            session.open_stream(abandon_after=-1)


# Age


async def test_the_maximum_age_is_spread(autojump_clock: MockClock) -> None:
    random.seed(7)
    async with open_session_manager(max_age=100, max_age_jitter=0.2) as sessions:
        opened = [await sessions.start_session() for _ in range(50)]
        exact = await sessions.start_session(max_age=100)
        await trio.sleep(80)
        assert all(session.reason is None for session in opened)
        await trio.sleep(10)
        assert 0 < sum(session.reason is None for session in opened) < 50
        await trio.sleep(9.9)
        assert exact.reason is None
        await trio.sleep(0.2)
        assert {session.reason for session in [*opened, exact]} == {CloseReason.EXPIRED}
