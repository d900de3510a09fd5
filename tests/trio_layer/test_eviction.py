"""Sessions that make room for others."""

from __future__ import annotations

import math

import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamscope import CloseReason, Session, SessionClosed, SessionId, SessionLimitError, open_session_manager
from tests.helpers import Recorder, refused, sleep_shielded, takes


async def start(sessions, *names, **options):
    return [await sessions.start_session(session_id=SessionId(name), **options) for name in names]


def listed(sessions):
    return [str(session.session_id) for session in sessions.list_sessions()]


async def test_the_one_that_would_be_the_first_to_idle_out_goes(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_session_manager(max_sessions=3, idle_timeout=100, instruments=[recorder]) as sessions:
        a, _, c = await start(sessions, "a", "b", "c")
        await trio.sleep(10)
        a.touch()
        with c.hold():
            await trio.sleep(1)
        await start(sessions, "d")
        assert listed(sessions) == ["a", "c", "d"]
        # A shorter time-out counts, not only how long it has been idle.
        c.idle_timeout = 50
        await start(sessions, "e")
        assert listed(sessions) == ["a", "d", "e"]
        assert [(str(gone.session.session_id), gone.reason) for gone in recorder.of(SessionClosed)] == [
            ("b", CloseReason.EVICTED),
            ("c", CloseReason.EVICTED),
        ]


async def test_also_where_none_would_ever_idle_out(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions=2, idle_timeout=math.inf) as sessions:
        first, _ = await start(sessions, "a", "b")
        await trio.sleep(1)
        first.touch()
        await start(sessions, "c")
        assert listed(sessions) == ["a", "c"]


async def test_one_that_is_held_stays(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions=3) as sessions:
        held, streaming, read = await start(sessions, "a", "b", "c")
        async with read.open_stream(holds_session=False) as stream, read.open_reader(stream.id):
            with held.hold():
                async with streaming.open_stream():
                    await refused(SessionLimitError, sessions.open_session().__aenter__)
                await start(sessions, "d")
                assert listed(sessions) == ["a", "c", "d"]
                with sessions.get_session(SessionId("d")).hold():
                    await refused(SessionLimitError, sessions.start_session)
            # The one whose hold was released last is idle since then only.
            await start(sessions, "e")
            assert listed(sessions) == ["a", "c", "e"]


async def test_a_principal_makes_room_among_its_own(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions_per_principal=2) as sessions:
        await start(sessions, "nobodys")
        await start(sessions, "a1", "a2", principal="alice")
        await start(sessions, "b1", principal="bob")
        await trio.sleep(1)
        sessions.get_session(SessionId("a1"), principal="alice").touch()
        await start(sessions, "a3", principal="alice")
        assert listed(sessions) == ["nobodys", "a1", "b1", "a3"]
        one, two = (sessions.get_session(SessionId(name), principal="alice") for name in ("a1", "a3"))
        with one.hold(), two.hold():
            exc = await refused(SessionLimitError, lambda: sessions.start_session(principal="alice"))
            assert "max_sessions_per_principal=2" in str(exc)
        # Nobody in particular has no bound.
        await start(sessions, "nobodys2", "nobodys3")


async def test_both_bounds_at_once(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions=3, max_sessions_per_principal=2) as sessions:
        await start(sessions, "x")
        await start(sessions, "a1", "a2", principal="alice")
        await start(sessions, "a3", principal="alice")
        assert listed(sessions) == ["x", "a2", "a3"]
        await start(sessions, "b", principal="bob")
        assert listed(sessions) == ["a2", "a3", "b"]


async def test_there_are_never_more_than_may_be(autojump_clock: MockClock) -> None:
    async def slow(session: Session) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await sleep_shielded(2)  # noqa: ASYNC102 - it is shielded

    async with open_session_manager(max_sessions=1) as sessions, trio.open_nursery() as nursery:
        await sessions.start_session(slow, session_id=SessionId("a"))
        with takes(2), assert_checkpoints():
            await start(sessions, "b")
        assert listed(sessions) == ["b"]
        # Several at once: each has room in the end, one after the other.
        for name in ("c", "d", "e"):
            nursery.start_soon(start, sessions, name)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            assert len(listed(sessions)) <= 1
        await wait_all_tasks_blocked()
        assert sessions.statistics().closed_sessions == {CloseReason.EVICTED: 4}


async def test_one_that_takes_too_long_to_go_is_not_waited_for(autojump_clock: MockClock) -> None:
    async def slow(session: Session) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await sleep_shielded(20)  # noqa: ASYNC102 - it is shielded

    async with open_session_manager(max_sessions=1, drain_timeout=5) as sessions:
        await sessions.start_session(slow)
        with takes(5):
            await refused(SessionLimitError, sessions.start_session)
        with takes(15):
            await trio.sleep(15)
        await start(sessions, "b")


async def test_none_goes_for_one_that_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_sessions=1) as sessions:
        await start(sessions, "a")
        with trio.CancelScope() as scope:
            scope.cancel()
            await start(sessions, "b")
        assert listed(sessions) == ["a"]
