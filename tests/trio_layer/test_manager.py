from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from streamscope import (
    Change,
    ChangesMissed,
    CloseReason,
    ManagerClosedError,
    MemoryEventLog,
    Session,
    SessionClosed,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    SessionManager,
    SessionOpened,
    State,
    Stream,
    StreamClosed,
    StreamManager,
    StreamOpened,
    UnknownSessionError,
    open_session_manager,
)
from streamscope.abc import Instrument
from tests.helpers import (
    Boom,
    Reaction,
    Recorder,
    check_nothing_left,
    check_session_closed,
    refused,
    serve,
    sleep_shielded,
    takes,
    unwind_slowly,
)

S1 = SessionId("s1")


# Making one


async def test_a_given_stream_manager_is_used_and_its_bounds_are_kept() -> None:
    log = MemoryEventLog()
    streams = StreamManager(log=log, max_streams_per_session=7)
    async with trio.open_nursery() as nursery:
        sessions = SessionManager(nursery, streams=streams, max_sessions=3)
        assert sessions.streams is streams
        assert (sessions.limits.max_streams_per_session, sessions.limits.max_sessions) == (7, 3)
        async with sessions.open_session() as session, session.open_stream() as stream:
            assert streams.get_session_streams(session.id) == [stream.id]
            await stream.send(b"a")
            assert log.statistics().events == 1
        overridden = SessionManager(nursery, streams=StreamManager(), max_streams_per_session=2)
        assert overridden.limits.max_streams_per_session == 2


async def test_a_given_log_is_used() -> None:
    log = MemoryEventLog()
    async with trio.open_nursery() as nursery:
        assert SessionManager(nursery, log=log).streams.log is log


async def test_a_stream_manager_has_one_owner_and_no_streams_yet() -> None:
    async with trio.open_nursery() as nursery:
        streams = StreamManager()
        stream_id = streams.register_stream(S1)
        with pytest.raises(ValueError, match="in use"):
            SessionManager(nursery, streams=streams)
        streams.unregister_stream(S1, stream_id)
        with pytest.raises(ValueError, match="log"):
            SessionManager(nursery, streams=streams, log=MemoryEventLog())
        for wrong in ({"max_age": 0}, {"idle_timeout": math.nan}, {"max_sessions": 1.5}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                SessionManager(nursery, streams=streams, **wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            SessionManager(nursery, streams=streams, no_such_limit=1)  # type: ignore[call-arg]
        # Whatever was refused has changed nothing.
        streams.unregister_stream(S1, streams.register_stream(S1))
        SessionManager(nursery, streams=streams)
        with pytest.raises(ValueError, match="in use"):
            SessionManager(nursery, streams=streams)


# Opening


async def test_a_name_can_be_used_by_one_session_at_a_time() -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session(session_id=S1) as session:
            assert session.id == S1
            await refused(ValueError, sessions.open_session(session_id=S1).__aenter__)
            assert sessions.get_session(S1) is session
        async with sessions.open_session(session_id=S1):
            pass
    check_nothing_left(sessions)


async def test_names_that_are_made_up_differ() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as one, sessions.open_session() as two:
        assert one.id != two.id


async def test_limits_on_sessions() -> None:
    async with open_session_manager(max_sessions=3, max_sessions_per_principal=1, evict_idle=False) as sessions:
        async with sessions.open_session(principal="alice"), sessions.open_session():
            exc = await refused(SessionLimitError, sessions.open_session(principal="alice").__aenter__)
            assert isinstance(exc, SessionLimitError)
            assert (exc.limit, exc.value) == ("max_sessions_per_principal", 1)
            # Those of nobody in particular are not one principal's.
            async with sessions.open_session():
                exc = await refused(SessionLimitError, sessions.open_session(principal="bob").__aenter__)
                assert isinstance(exc, SessionLimitError)
                assert (exc.limit, exc.value) == ("max_sessions", 3)
        async with sessions.open_session(principal="alice"):
            pass
        assert sessions.statistics().opened_sessions == 4


async def test_a_loop_that_tries_again_lets_others_run() -> None:
    async with open_session_manager(max_sessions=1, evict_idle=False) as sessions, trio.open_nursery() as nursery:

        async def hold() -> None:
            async with sessions.open_session():
                for _ in range(10):
                    await trio.lowlevel.checkpoint()

        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        while True:
            try:
                async with sessions.open_session():
                    break
            except SessionLimitError:
                continue


# Finding


async def test_what_is_not_yours_does_not_exist() -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session(principal="alice") as session, sessions.open_session() as nobodys:
            assert sessions.get_session(session.id, principal="alice") is session
            assert sessions.get_session(nobodys.id) is nobodys
            errors = []
            for session_id, principal in (
                (session.id, "bob"),
                (session.id, None),
                (nobodys.id, "alice"),
                (SessionId.new(), "alice"),
            ):
                with pytest.raises(UnknownSessionError) as caught:
                    sessions.get_session(session_id, principal=principal)
                errors.append(str(caught.value))
            # Nothing tells somebody else's session from none.
            assert len(set(errors)) == 1
            assert str(session.id) not in errors[0]
            session.close()
            with pytest.raises(SessionClosedError, match="cancelled"):
                sessions.get_session(session.id, principal="alice")
            with pytest.raises(UnknownSessionError):
                sessions.get_session(session.id, principal="bob")


async def test_listing_by_principal() -> None:
    async with (
        open_session_manager() as sessions,
        sessions.open_session(principal="alice") as one,
        sessions.open_session(principal="bob") as two,
        sessions.open_session(principal="alice") as three,
        sessions.open_session() as four,
    ):

        def ids(principal: str | None = None) -> list[SessionId]:
            return [metadata.session_id for metadata in sessions.list_sessions(principal=principal)]

        assert ids() == [one.id, two.id, three.id, four.id]
        assert ids("alice") == [one.id, three.id]
        assert ids("bob") == [two.id]
        assert ids("carol") == []
        assert await trio.to_thread.run_sync(ids, "alice") == [one.id, three.id]


async def test_statistics_and_the_recently_closed() -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session(principal="alice") as session:
            async with session.open_stream() as stream:
                await stream.send(b"123")
            with pytest.raises(Boom):
                async with session.open_stream():
                    raise Boom
            async with session.open_stream(), sessions.open_session() as closed:
                statistics = sessions.statistics()
                assert (statistics.open_sessions, statistics.opened_sessions) == (2, 2)
                assert statistics.closed_sessions == {}
                assert (statistics.streams.open_streams, statistics.streams.opened_streams) == (1, 3)
                assert statistics.streams.closed_streams == {CloseReason.COMPLETED: 1, CloseReason.FAILED: 1}
                assert (statistics.streams.sent_events, statistics.streams.sent_bytes) == (1, 3)
                closed.close(CloseReason.EVICTED)
        assert sessions.statistics().closed_sessions == {CloseReason.COMPLETED: 1, CloseReason.EVICTED: 1}
        assert [
            (change.session.session_id, change.session.principal, change.reason)
            for change in sessions.recently_closed()
        ] == [
            (closed.id, None, CloseReason.EVICTED),
            (session.id, "alice", CloseReason.COMPLETED),
        ]
        assert [change.session.state for change in sessions.recently_closed()] == [State.CLOSED] * 2
        sessions.recently_closed().clear()
        assert len(sessions.recently_closed()) == 2


async def test_the_recently_closed_are_the_last_thousand() -> None:
    async with open_session_manager() as sessions:
        for number in range(1002):
            async with sessions.open_session(session_id=SessionId(f"s{number}")):
                pass
        recent = sessions.recently_closed()
        assert [recent[0].session.session_id, recent[-1].session.session_id] == [SessionId("s2"), SessionId("s1001")]
        assert len(recent) == 1000


# Closing


async def test_closing_ends_every_session_and_opens_no_more(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        started = [await sessions.start_session() for _ in range(2)]
        await started[0].start_stream(unwind_slowly, 3)
        await wait_all_tasks_blocked()
        async with sessions.open_session() as own:
            with assert_no_checkpoints():
                sessions.close(CloseReason.KILLED)
                sessions.close(CloseReason.SHUTDOWN)
            assert {session.reason for session in (own, *started)} == {CloseReason.KILLED}
            await trio.sleep_forever()
        await refused(ManagerClosedError, sessions.open_session().__aenter__)
        with takes(3):
            await sessions.wait_closed()
        with assert_checkpoints():
            await sessions.wait_closed()
    check_nothing_left(sessions)
    assert sessions.statistics().closed_sessions == {CloseReason.KILLED: 3}


async def test_one_without_sessions_closes_at_once() -> None:
    async with open_session_manager() as sessions:
        sessions.close()
        with assert_checkpoints():
            await sessions.wait_closed()


async def test_one_that_was_not_closed_is_not_closed_when_its_last_session_ends(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        async with sessions.open_session():
            pass
        with trio.move_on_after(1) as scope:
            await sessions.wait_closed()
        assert scope.cancelled_caught


async def test_closing_in_the_middle_of_a_refusal(autojump_clock: MockClock) -> None:
    # The entry is a checkpoint first, so whoever is about to enter is refused all the same.
    async with open_session_manager() as sessions, trio.open_nursery() as nursery:
        nursery.start_soon(refused, ManagerClosedError, sessions.open_session().__aenter__)
        nursery.start_soon(refused, ManagerClosedError, sessions.start_session)
        sessions.close()


# Draining


async def test_draining_lets_running_work_finish_and_ends_listeners_then(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session, idle = await sessions.start_session(), await sessions.start_session()
        work = await session.start_stream(serve, 5)
        listener = await session.start_stream(serve, holds_session=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sessions.drain, 100)
            await trio.sleep(1)
            await refused(ManagerClosedError, sessions.open_session().__aenter__)
            # What is there goes on, and may do more of the same.
            assert sessions.get_session(session.id) is session
            more = await session.start_stream(serve, 9)
        assert trio.current_time() == 10
        assert work.reason is more.reason is CloseReason.COMPLETED
        assert listener.reason is session.reason is idle.reason is CloseReason.SHUTDOWN


async def test_draining_ends_what_takes_too_long(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        work = await session.start_stream(unwind_slowly, 2)
        with takes(10 + 2), assert_checkpoints():
            await sessions.drain(10)
        assert work.reason is CloseReason.SHUTDOWN
        check_nothing_left(sessions)
        with takes(0), assert_checkpoints():
            await sessions.drain(10)


@pytest.mark.parametrize("grace", [0, math.inf])
async def test_draining_takes_any_grace(autojump_clock: MockClock, grace: float) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        work = await session.start_stream(serve, 7)
        with takes(min(grace, 7)):
            await sessions.drain(grace)
        assert work.reason is (CloseReason.COMPLETED if grace else CloseReason.SHUTDOWN)


async def test_draining_without_work_does_not_wait_for_it(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        listener = await session.start_stream(serve, holds_session=False)
        async with session.open_reader(listener.id):
            with takes(0):
                await sessions.drain(100)
        assert listener.reason is CloseReason.SHUTDOWN


async def test_several_may_drain_and_the_shortest_grace_counts(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.start_stream(serve, 5)

        async def drain(grace: float, seconds: float) -> None:
            with takes(seconds):
                await sessions.drain(grace)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, 100, 5)
            nursery.start_soon(drain, 50, 5)
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.start_stream(serve)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, 100, 7)
            nursery.start_soon(drain, 7, 7)


async def test_a_drain_that_is_cancelled_leaves_it_stopped_and_its_sessions_open(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.start_stream(serve)
        with trio.move_on_after(1):
            await sessions.drain(100)
        assert session.reason is None
        await refused(ManagerClosedError, sessions.start_session)
        with takes(0):
            await sessions.drain(0)


async def test_work_that_fails_is_over_as_well(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(stream: Stream) -> None:
        await trio.sleep(2)
        raise Boom

    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        await session.start_stream(fail)
        registered = sessions.streams.register_stream(session.id)

        async def unregister() -> None:
            await trio.sleep(3)
            sessions.streams.unregister_stream(session.id, registered)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(unregister)
            with takes(3):
                await sessions.drain(100)
    assert len(caplog.records) == 1


# Watching


async def test_watching() -> None:
    async with open_session_manager() as sessions:
        async with sessions.watch() as watcher:
            async with sessions.open_session() as session, session.open_stream() as stream:
                pass
            changes = [await watcher.receive() for _ in range(4)]
        assert [type(change) for change in changes] == [SessionOpened, StreamOpened, StreamClosed, SessionClosed]
        opened, _, stream_closed, closed = changes
        assert isinstance(opened, SessionOpened)
        assert (opened.session.session_id, opened.session.state) == (session.id, State.OPEN)
        assert isinstance(stream_closed, StreamClosed)
        assert (stream_closed.stream.stream_id, stream_closed.stream.state) == (stream.id, State.CLOSED)
        assert isinstance(closed, SessionClosed)
        assert (closed.session.stream_count, closed.reason) == (0, CloseReason.COMPLETED)


async def test_a_watcher_sees_the_end_when_the_last_session_has_ended(autojump_clock: MockClock) -> None:
    async def watch() -> None:
        async for change in watcher:
            seen.append(type(change))
        assert trio.current_time() == 2
        done.append(sessions.statistics().open_sessions)

    seen: list[type[Change]] = []
    done: list[int] = []
    async with trio.open_nursery() as nursery, open_session_manager() as sessions:
        watcher = sessions.watch()
        nursery.start_soon(watch)
        session = await sessions.start_session()
        await session.start_stream(unwind_slowly, 2)
        await wait_all_tasks_blocked()
    assert seen == [SessionOpened, StreamOpened, StreamClosed, SessionClosed]
    assert done == [0]
    # Whoever comes later sees the end at once.
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await sessions.watch().receive()


async def test_a_slow_watcher_is_told_how_much_it_missed() -> None:
    async with open_session_manager() as sessions:
        watcher = sessions.watch(buffer=2)
        for _ in range(3):
            async with sessions.open_session():
                pass
    assert [type(change) for change in [await watcher.receive(), await watcher.receive()]] == [
        SessionOpened,
        SessionClosed,
    ]
    assert await watcher.receive() == ChangesMissed(4)
    with pytest.raises(trio.EndOfChannel):
        await watcher.receive()


async def test_nobody_keeps_a_watcher_that_was_closed() -> None:
    import gc
    import weakref

    async with open_session_manager() as sessions:
        watcher = sessions.watch()
        gone = weakref.ref(watcher)
        watcher.close()
        del watcher
        gc.collect()
        assert gone() is None


async def test_instruments_come_and_go() -> None:
    first, second = Recorder(), Recorder()
    async with open_session_manager(instruments=(first,)) as sessions:
        sessions.add_instrument(second)
        async with sessions.open_session():
            pass
        sessions.remove_instrument(first)
        sessions.remove_instrument(first)
        async with sessions.open_session():
            pass
    assert first.names == ["SessionOpened", "SessionClosed"]
    assert second.names == ["SessionOpened", "SessionClosed"] * 2


@pytest.mark.parametrize("kind", [SessionOpened, StreamOpened, StreamClosed, SessionClosed])
async def test_an_instrument_that_raises_hurts_nobody(kind: type[Change], caplog: pytest.LogCaptureFixture) -> None:
    def fail(change: Change) -> None:
        raise Boom

    recorder = Recorder()
    async with open_session_manager(instruments=(Reaction(kind, fail), recorder)) as sessions:
        for _ in range(2):
            async with sessions.open_session() as session, session.open_stream():
                pass
    assert recorder.names == ["SessionOpened", "StreamOpened", "StreamClosed", "SessionClosed"] * 2
    # It is switched off, so it is heard of once.
    (record,) = caplog.records
    assert "switched off" in record.getMessage()
    check_nothing_left(sessions, recorder)


async def test_what_an_instrument_changes_is_told_to_all_in_the_same_order() -> None:
    before, after = Recorder(), Recorder()
    async with open_session_manager(instruments=(before,)) as sessions:
        sessions.add_instrument(
            Reaction(
                StreamOpened,
                lambda change: sessions.streams.cancel_stream(change.stream.session_id, change.stream.stream_id),
            )
        )
        sessions.add_instrument(after)
        async with sessions.open_session() as session:
            # It is over before the next instrument is told that it has begun.
            sessions.streams.register_stream(session.id)
    assert before.changes == after.changes
    assert before.names == ["SessionOpened", "StreamOpened", "StreamClosed", "SessionClosed"]


# Orderly ends


async def test_goodbyes_are_said_when_the_manager_closes(autojump_clock: MockClock) -> None:
    async def say_goodbye(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            await sleep_shielded(1)  # noqa: ASYNC102 - it is shielded
            stream.send_nowait(f"goodbye: {stream.reason}".encode())

    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(say_goodbye)
        async with session.open_reader(stream.id) as reader:
            sessions.close()
            assert [event.data async for event in reader] == [b"goodbye: shutdown"]


async def test_a_session_run_elsewhere_is_ended_from_the_manager(autojump_clock: MockClock) -> None:
    outcomes: list[CloseReason | None] = []

    async def run(body: Callable[[Session], trio.abc.AsyncResource] | None = None) -> None:
        async with sessions.open_session() as session:
            await trio.sleep_forever()
        outcomes.append(session.reason)

    async with trio.open_nursery() as nursery:
        sessions = SessionManager(nursery)
        for _ in range(3):
            nursery.start_soon(run)
        await wait_all_tasks_blocked()
        sessions.close(CloseReason.KILLED)
        await sessions.wait_closed()
    assert outcomes == [CloseReason.KILLED] * 3


class Meddler(Instrument):
    """Closes the manager at the n-th change, whatever it is."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.sessions: SessionManager | None = None

    def changed(self, change: Change) -> None:
        self.left -= 1
        if self.left == 0 and self.sessions is not None:
            self.sessions.close(CloseReason.KILLED)


@pytest.mark.parametrize("at", range(1, 12))
async def test_the_manager_may_be_closed_by_an_observer_at_any_change(autojump_clock: MockClock, at: int) -> None:
    meddler, recorder = Meddler(at), Recorder()
    async with open_session_manager(instruments=(meddler, recorder)) as sessions:
        meddler.sessions = sessions
        try:
            async with sessions.open_session() as session:
                await session.start_stream(serve, 1)
                other = await sessions.start_session()
                sessions.streams.register_stream(other.id)
                async with other.open_stream(), session.open_reader(session.streams[0]):
                    await trio.sleep(2)
        except (SessionClosedError, ManagerClosedError, IndexError):
            # Whichever it met first; a list of streams may be empty by then.
            pass
    check_nothing_left(sessions, recorder)


async def test_sessions_end_with_the_reason_of_the_manager() -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        with pytest.raises(SessionClosedError) as caught:
            async with session.open_stream():
                sessions.close(CloseReason.EVICTED)
                await trio.sleep_forever()
        check_session_closed(caught.value, session.id, CloseReason.EVICTED)
