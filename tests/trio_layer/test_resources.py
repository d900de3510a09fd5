"""What a session holds for as long as it lives."""

from __future__ import annotations

import logging
import math
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from streamscope import CloseReason, SessionClosedError, SessionId, State, open_session_manager
from tests.helpers import Boom, refused, serve, sleep_shielded, takes, unwind_slowly

_NAME = SessionId("twice")


class Resource:
    """Notes when it comes and goes, and opens a nursery, so that it must be left by the task that entered it."""

    def __init__(self, name, seen, *, entry=0.0, leave=0.0, shielded=False, error=None):
        self.name = name
        self.seen = seen
        self.entry = entry
        self.leave = leave
        self.shielded = shielded
        self.error = error
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await trio.sleep(self.entry)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(trio.sleep_forever)
        self._stack.callback(nursery.cancel_scope.cancel)
        self.seen.append(f"+{self.name}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._stack.__aexit__(None, None, None)
            if self.shielded:
                await sleep_shielded(self.leave)
            else:
                await trio.sleep(self.leave)
            self.seen.append(f"-{self.name}")
        except BaseException:
            self.seen.append(f"-{self.name} in a hurry")
            raise
        if self.error is not None:
            raise self.error


async def test_the_newest_goes_first_after_the_streams(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        for name in "abc":
            with assert_checkpoints():
                resource = await session.enter_async_context(Resource(name, seen, leave=1))
            assert resource.name == name
        await session.start_stream(unwind_slowly, 2)
        session.close()
        with takes(5):
            await session.wait_closed()
        assert seen == ["+a", "+b", "+c", "-c", "-b", "-a"]


@pytest.mark.parametrize("way", ["close", "idle", "expired", "body", "crash", "manager", "evicted", "cancelled"])
async def test_whichever_way_it_ends(way: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamscope")
    seen: list[str] = []
    done = trio.Event()

    async def body(_: object) -> None:
        await done.wait()
        if way == "crash":
            raise Boom

    with trio.CancelScope() as scope:
        async with open_session_manager(idle_timeout=10, max_age=20, max_age_jitter=0, max_sessions=1) as sessions:
            session = await sessions.start_session(body)
            await session.enter_async_context(Resource("a", seen, leave=1))
            match way:
                case "close":
                    session.close()
                case "idle":
                    await trio.sleep(10)
                case "expired":
                    with session.hold():
                        await trio.sleep(20)
                case "body" | "crash":
                    done.set()
                case "evicted":
                    await sessions.start_session()
                case "cancelled":
                    scope.cancel()
                case _:
                    sessions.close()
            if way != "cancelled":
                await session.wait_closed()
                assert seen == ["+a", "-a"]
    assert seen == ["+a", "-a"]
    assert session.metadata.state is State.CLOSED


async def test_of_a_session_that_is_a_block(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions:
        with pytest.raises(Boom), takes(3):
            async with sessions.open_session() as session:
                await session.enter_async_context(Resource("a", seen, leave=3))
                raise Boom
        assert seen == ["+a", "-a"]
        assert sessions.list_sessions() == []


async def test_while_it_goes_the_session_is_registered(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.enter_async_context(Resource("a", [], leave=2))
        session.close(CloseReason.TERMINATED)
        await trio.sleep(1)
        assert [listed.state for listed in sessions.list_sessions()] == [State.CLOSING]
        await refused(SessionClosedError, lambda: session.enter_async_context(Resource("b", [])))
        await session.wait_closed()
        assert sessions.list_sessions() == []


async def test_one_that_takes_too_long_is_hurried(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    async with open_session_manager(drain_timeout=5) as sessions:
        session = await sessions.start_session()
        await session.enter_async_context(Resource("a", seen, leave=4))
        await session.enter_async_context(Resource("b", seen, leave=100))
        session.close()
        with takes(9):
            await session.wait_closed()
        assert seen[2:] == ["-b in a hurry", "-a"]
    assert [record.getMessage() for record in caplog.records] == [
        "a resource of a session was not released within 5 seconds"
    ]


async def test_streams_that_take_too_long_are_not_waited_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    async with open_session_manager(drain_timeout=5) as sessions:
        session = await sessions.start_session()
        await session.enter_async_context(Resource("a", seen, leave=1))
        await session.start_stream(unwind_slowly, 20)
        session.close()
        await trio.sleep(7)
        assert seen == ["+a", "-a in a hurry"]
        assert sessions.streams.list_streams() != []
        # And closing it again changes nothing.
        session.close()
        with takes(13):
            await session.wait_closed()


async def test_one_that_does_not_let_itself_be_hurried_keeps_the_session_listed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session_manager(drain_timeout=2) as sessions:
        async with sessions.open_session() as session:
            await session.enter_async_context(Resource("a", [], leave=20, shielded=True))
            left_at = trio.current_time()
        # One time-out for the streams, and one for each resource.
        assert trio.current_time() - left_at == 4
        assert session.metadata.state is State.CLOSING
        with takes(16):
            await session.wait_closed()


async def test_what_entering_raises_the_caller_gets_bare(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def failing() -> Any:
        await trio.sleep(1)
        raise Boom
        yield

    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await refused(Boom, lambda: session.enter_async_context(failing()))
        assert session.reason is None
        session.close()
        await session.wait_closed()


async def test_what_comes_later_is_logged(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.enter_async_context(Resource("a", seen))
        await session.enter_async_context(Resource("b", seen, error=Boom()))
        session.close()
        await session.wait_closed()
        assert seen == ["+a", "+b", "-b", "-a"]
    (record,) = caplog.records
    assert record.getMessage() == "a resource of a session raised"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


async def test_one_that_breaks_while_it_is_held(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def breaking() -> Any:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def crash() -> None:
                await trio.sleep(5)
                raise Boom

            yield

    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.enter_async_context(breaking())
        await trio.sleep(6)
        assert session.reason is None
        assert [record.getMessage() for record in caplog.records] == ["a resource of a session raised"]
        session.close()
        await session.wait_closed()


async def test_one_that_breaks_while_a_newer_one_goes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def breaking() -> Any:
        async with trio.open_nursery() as nursery:
            yield nursery

    async def crash() -> None:
        await trio.sleep(2)
        raise Boom

    seen: list[str] = []
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        nursery = await session.enter_async_context(breaking())
        await session.enter_async_context(Resource("newer", seen, leave=3))
        nursery.start_soon(crash)
        session.close()
        with takes(3):
            await session.wait_closed()
        assert seen == ["+newer", "-newer"]
    assert [record.getMessage() for record in caplog.records] == ["a resource of a session raised"]


async def test_the_session_ends_while_one_is_entered(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions, trio.open_nursery() as nursery:
        session = await sessions.start_session()
        asking = Resource("a", seen, entry=5)
        nursery.start_soon(refused, SessionClosedError, lambda: session.enter_async_context(asking))
        await trio.sleep(1)
        session.close()
        await session.wait_closed()
        assert seen == []
        await trio.sleep(10)
        assert seen == ["+a", "-a"]


@pytest.mark.parametrize("entry", [0, 5])
async def test_whoever_asks_is_cancelled(entry: int, autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        for steps in range(8):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.enter_async_context, Resource("a", seen, entry=entry))
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            await wait_all_tasks_blocked()
        kept = seen.count("+a") - sum(name.startswith("-a") for name in seen)
        assert kept == len(session._resources)
        session.close()
        with takes(0):
            await session.wait_closed()
    assert seen.count("+a") == sum(name.startswith("-a") for name in seen)


async def test_an_exit_stack_holds_whatever_else(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stack = await session.enter_async_context(AsyncExitStack())
        stack.callback(seen.append, "called")
        stack.push_async_callback(trio.sleep, 1)
        session.close()
        with takes(1):
            await session.wait_closed()
        assert seen == ["called"]


async def test_a_session_left_open_by_its_own_task_does_not_hang_its_manager(autojump_clock: MockClock) -> None:
    seen: list[str] = []
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError), flatten_subgroups=True, allow_unwrapped=True):
        async with open_session_manager() as sessions:
            session = await sessions.open_session().__aenter__()
            await session.enter_async_context(Resource("a", seen))
    assert seen[0] == "+a"


# Holds, and what the application keeps


async def test_holds(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        with session.hold() as held, session.hold():
            assert held is session
            await trio.sleep(100)
        await trio.sleep(9)
        assert session.reason is None
        await trio.sleep(1)
        assert session.reason is CloseReason.IDLE
        with pytest.raises(SessionClosedError, match="idle"), session.hold():
            pytest.fail("it has ended")


async def test_a_hold_can_be_had_once(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        hold = session.hold()
        with hold:
            pass
        with pytest.raises(RuntimeError, match="again for another"), hold:
            pytest.fail("it has been left")


async def test_a_hold_does_not_keep_a_session_from_being_ended(autojump_clock: MockClock) -> None:
    async with open_session_manager(max_age=5, max_age_jitter=0) as sessions:
        one, two = await sessions.start_session(), await sessions.start_session()
        with one.hold(), two.hold():
            one.close(CloseReason.KILLED)
            await one.wait_closed()
            await trio.sleep(5)
            await two.wait_closed()
        assert (one.reason, two.reason) == (CloseReason.KILLED, CloseReason.EXPIRED)


async def test_times_of_its_own(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10, max_age=100, max_age_jitter=0) as sessions:
        patient = await sessions.start_session(idle_timeout=math.inf, max_age=50)
        async with sessions.open_session(idle_timeout=3) as hasty:
            assert (patient.idle_timeout, hasty.idle_timeout) == (math.inf, 3)
            await trio.sleep_forever()
        assert hasty.reason is CloseReason.IDLE
        await trio.sleep(47)
        assert patient.reason is CloseReason.EXPIRED
        for wrong in ({"idle_timeout": 0}, {"max_age": math.nan}):
            with pytest.raises(ValueError, match="seconds"):
                sessions.open_session(**wrong)


async def test_what_the_application_keeps(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session(principal="alice")
        assert session.value is None
        session.value = {"apples": 3}
        assert sessions.get_session(session.id, principal="alice").value == {"apples": 3}
        await session.start_stream(serve)


async def test_why_one_is_gone_is_told_to_its_owner_only(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session(principal="alice")
        await trio.sleep(11)
        with pytest.raises(SessionClosedError) as caught:
            sessions.get_session(session.id, principal="alice")
        assert caught.value.reason is CloseReason.IDLE
        for principal in ("bob", None):
            with pytest.raises(LookupError):
                sessions.get_session(session.id, principal=principal)
        # The last thousand are remembered, and no more.
        for _ in range(1000):
            async with sessions.open_session(principal="alice"):
                pass
        assert len(sessions.recently_closed()) == 1000
        with pytest.raises(LookupError):
            sessions.get_session(session.id, principal="alice")


async def test_a_name_that_was_used_twice(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        for reason in (CloseReason.KILLED, CloseReason.TERMINATED):
            async with sessions.open_session() as other:
                pass
            async with sessions.open_session(session_id=_NAME) as session:
                session.close(reason)
        assert [closed.reason for closed in sessions.recently_closed()] == [
            CloseReason.COMPLETED,
            CloseReason.COMPLETED,
            CloseReason.TERMINATED,
        ]
        with pytest.raises(SessionClosedError, match="terminated"):
            sessions.get_session(_NAME)
        assert other.id != session.id
