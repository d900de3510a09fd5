from __future__ import annotations

import math
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    MemoryEventLog,
    Session,
    SessionClosed,
    SessionManager,
    StreamManager,
    open_session_manager,
)
from tests.helpers import Boom, Recorder, check_nothing_left, serve, sleep_shielded, takes, unwind_slowly


async def test_it_passes_everything_on() -> None:
    log, recorder = MemoryEventLog(), Recorder()
    async with open_session_manager(
        log=log, instruments=(recorder,), max_age=5, max_age_jitter=0, max_sessions=2
    ) as sessions:
        assert isinstance(sessions, SessionManager)
        assert sessions.streams.log is log
        assert (sessions.limits.max_age, sessions.limits.max_sessions) == (5, 2)
        async with sessions.open_session():
            assert recorder.names == ["SessionOpened"]
    streams = StreamManager()
    async with open_session_manager(streams=streams) as sessions:
        assert sessions.streams is streams


async def test_entry_and_exit_are_checkpoints() -> None:
    opening = open_session_manager()
    with assert_checkpoints():
        await opening.__aenter__()
    with pytest.raises(RuntimeError, match="only once"):
        await opening.__aenter__()
    with assert_checkpoints():
        await opening.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="only once"):
        await opening.__aenter__()


async def test_one_that_is_refused_leaves_the_task_whole() -> None:
    used = StreamManager()
    async with open_session_manager(streams=used):
        pass
    with trio.CancelScope() as scope:
        for opening in (
            open_session_manager(max_age=-1),
            open_session_manager(streams=used),
            open_session_manager(streams=StreamManager(), log=MemoryEventLog()),
        ):
            # Bare, though there was a nursery for a moment.
            with assert_checkpoints(), pytest.raises(ValueError, match=r"max_age|in use|log"):
                await opening.__aenter__()
        scope.cancel()
        # Trio would complain here if a nursery were still open.
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_one_whose_entry_is_cancelled_was_never_there() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_session_manager():
            pytest.fail("it was cancelled before")
    assert scope.cancelled_caught


async def test_leaving_ends_all_sessions_and_waits_for_them(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    with takes(3):
        async with open_session_manager(instruments=(recorder,)) as sessions:
            session = await sessions.start_session()
            await session.start_stream(unwind_slowly, 3)
            await wait_all_tasks_blocked()
    assert [change.reason for change in recorder.of(SessionClosed)] == [CloseReason.SHUTDOWN]
    check_nothing_left(sessions, recorder)


async def test_it_waits_also_for_sessions_that_other_tasks_run(autojump_clock: MockClock) -> None:
    async def run() -> None:
        async with sessions.open_session():
            try:
                await trio.sleep_forever()
            finally:
                await sleep_shielded(2)  # noqa: ASYNC102 - it is shielded

    async with trio.open_nursery() as nursery:
        with takes(2):
            async with open_session_manager() as sessions:
                nursery.start_soon(run)
                await wait_all_tasks_blocked()
        check_nothing_left(sessions)


async def test_for_those_it_waits_only_so_long(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with sessions.open_session():
            try:
                await trio.sleep_forever()
            finally:
                await sleep_shielded(10)  # noqa: ASYNC102 - it is shielded

    async with trio.open_nursery() as nursery:
        # Shielded, as the wait for streams is.
        with takes(4), trio.CancelScope() as scope:
            async with open_session_manager(drain_timeout=4) as sessions:
                nursery.start_soon(run)
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert [record.getMessage() for record in caplog.records] == [
            "1 sessions still run 4 seconds after the end of their manager"
        ]
        assert sessions.statistics().open_sessions == 1
    check_nothing_left(sessions)


async def test_an_exception_comes_out_in_a_group_as_of_every_nursery(autojump_clock: MockClock) -> None:
    error = Boom()
    with takes(3), pytest.RaisesGroup(Boom) as caught:
        async with open_session_manager() as sessions:
            session = await sessions.start_session()
            await session.start_stream(unwind_slowly, 3)
            await wait_all_tasks_blocked()
            raise error
    assert caught.value.exceptions == (error,)
    assert session.reason is CloseReason.SHUTDOWN
    check_nothing_left(sessions)


async def test_a_cancellation_from_outside_passes(autojump_clock: MockClock) -> None:
    with takes(5), trio.move_on_after(2) as scope:
        async with open_session_manager() as sessions:
            session = await sessions.start_session()
            await session.start_stream(unwind_slowly, 3)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    check_nothing_left(sessions)


async def test_leaving_it_with_a_session_of_the_same_task_open_is_an_error_and_no_deadlock(
    autojump_clock: MockClock,
) -> None:
    with takes(0), pytest.raises(RuntimeError, match="scope"):
        async with AsyncExitStack() as stack, open_session_manager(drain_timeout=math.inf) as sessions:
            session = await stack.enter_async_context(sessions.open_session())
            await session.start_stream(serve)
    check_nothing_left(sessions)


async def test_one_of_an_exit_stack(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(open_session_manager())
        session: Session = await stack.enter_async_context(sessions.open_session())
        stream = await stack.enter_async_context(session.open_stream())
        await stream.send(b"a")
    assert (stream.reason, session.reason) == (CloseReason.COMPLETED, CloseReason.COMPLETED)
    check_nothing_left(sessions)
