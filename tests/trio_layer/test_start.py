from __future__ import annotations

import logging
import math

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from streamscope import (
    CloseReason,
    ManagerClosedError,
    Session,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    SessionManager,
    Stream,
    StreamLimitError,
    StreamOpened,
    UnknownStreamError,
    open_session_manager,
)
from tests.helpers import Boom, Reaction, check_nothing_left, refused, serve, unwind_slowly


def check_logged(caplog: pytest.LogCaptureFixture, error: BaseException) -> None:
    """One record, and the error whole in it."""
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("streamscope", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[1] is error


# What comes of a body


async def test_a_stream_lives_as_long_as_its_body_runs(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with assert_checkpoints():
            stream = await session.start_stream(serve, 5, kind="post", connection_info="[::1]:1", holds_session=False)
        assert (stream.kind, stream.metadata.connection_info) == ("post", "[::1]:1")
        assert session.streams == [stream.id]
        await trio.sleep(6)
        assert session.streams == []
        assert stream.reason is CloseReason.COMPLETED


async def test_a_session_lives_as_long_as_its_body_runs(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:

        async def body(session: Session, seconds: float) -> None:
            assert sessions.get_session(session.id, principal="alice") is session
            await trio.sleep(seconds)

        with assert_checkpoints():
            session = await sessions.start_session(
                body, 5, principal="alice", session_id=SessionId("s1"), connection_info="[::1]:1"
            )
        metadata = session.metadata
        assert (metadata.session_id, metadata.principal, metadata.connection_info) == (
            SessionId("s1"),
            "alice",
            "[::1]:1",
        )
        stream = await session.start_stream(serve)
        await trio.sleep(6)
        assert (session.reason, stream.reason) == (CloseReason.COMPLETED, CloseReason.COMPLETED)
        check_nothing_left(sessions)


async def test_a_session_without_a_body_lives_until_it_is_ended(autojump_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        ended, idle, shut = [await sessions.start_session() for _ in range(3)]
        ended.close(CloseReason.TERMINATED)
        await ended.wait_closed()
        await shut.start_stream(serve)
        await idle.wait_closed()
        assert trio.current_time() == 10
    assert [session.reason for session in (ended, idle, shut)] == [
        CloseReason.TERMINATED,
        CloseReason.IDLE,
        CloseReason.SHUTDOWN,
    ]


async def test_a_stream_whose_body_raises_fails_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    error = Boom()

    async def body(stream: Stream) -> None:
        await trio.sleep(1)
        raise error

    async with open_session_manager() as sessions, sessions.open_session() as session:
        sibling = await session.start_stream(serve, 2)
        stream = await session.start_stream(body)
        await trio.sleep(3)
        assert (stream.reason, sibling.reason, session.reason) == (CloseReason.FAILED, CloseReason.COMPLETED, None)
    check_logged(caplog, error)


async def test_a_session_whose_body_raises_fails_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    error = Boom()

    async def body(session: Session) -> None:
        await session.start_stream(serve, math.inf, ended)
        await trio.sleep(1)
        raise error

    ended: list[BaseException] = []
    async with open_session_manager() as sessions:
        sibling = await sessions.start_session()
        session = await sessions.start_session(body)
        await session.wait_closed()
        assert (session.reason, sibling.reason) == (CloseReason.FAILED, None)
        assert [type(exc) for exc in ended] == [trio.Cancelled]
    check_logged(caplog, error)


async def test_a_body_may_raise_before_its_first_checkpoint(caplog: pytest.LogCaptureFixture) -> None:
    error = Boom()

    async def body(stream: Stream) -> None:
        raise error

    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = await session.start_stream(body)
        await wait_all_tasks_blocked()
        assert stream.reason is CloseReason.FAILED
        assert session.reason is None
    check_logged(caplog, error)


async def test_what_is_no_error_ends_the_manager_as_it_ends_every_nursery(caplog: pytest.LogCaptureFixture) -> None:
    async def body(stream: Stream) -> None:
        raise SystemExit

    with pytest.RaisesGroup(SystemExit):
        async with open_session_manager() as sessions, sessions.open_session() as session:
            stream = await session.start_stream(body)
            await trio.sleep_forever()
    assert stream.reason is CloseReason.FAILED
    assert caplog.records == []
    check_nothing_left(sessions)


async def test_a_group_is_an_error_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    error = Boom()

    async def child() -> None:
        raise error

    async def body(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)

    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = await session.start_stream(body)
        await wait_all_tasks_blocked()
        assert stream.reason is CloseReason.FAILED
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ExceptionGroup)
    assert record.exc_info[1].exceptions == (error,)


async def test_that_its_own_session_has_ended_is_no_failure_of_a_body(caplog: pytest.LogCaptureFixture) -> None:
    async def quiet(stream: Stream) -> None:
        await trio.sleep_forever()

    async def stubborn(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SessionClosedError(session.id, CloseReason.KILLED)

    async def body(session: Session) -> None:
        await session.start_stream(quiet)
        await session.start_stream(stubborn)
        session.close(CloseReason.KILLED)
        async with session.open_stream():
            pytest.fail("it was refused")

    async with open_session_manager() as sessions:
        session = await sessions.start_session(body)
        await session.wait_closed()
    assert caplog.records == []


async def test_that_another_session_has_ended_is_a_failure_of_a_body(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session_manager() as sessions:
        other = await sessions.start_session()
        session = await sessions.start_session()

        async def body(stream: Stream) -> None:
            async with other.open_stream():
                await trio.sleep_forever()

        stream = await session.start_stream(body)
        other.close(CloseReason.KILLED)
        await other.wait_closed()
        assert stream.reason is CloseReason.FAILED
        (record,) = caplog.records
        assert record.exc_info is not None
        assert type(record.exc_info[1]) is SessionClosedError


async def test_a_body_that_is_no_async_function_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = await session.start_stream(lambda stream: None)  # type: ignore[arg-type,return-value]
        await wait_all_tasks_blocked()
        assert stream.reason is CloseReason.FAILED
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TypeError)


# Refusing


async def test_what_the_entry_raises_the_caller_gets_bare() -> None:
    async def body(scope: object) -> None:
        pytest.fail("it was refused")

    async with open_session_manager(max_sessions=1, max_streams_per_session=1, evict_idle=False) as sessions:
        session = await sessions.start_session(session_id=SessionId("s1"))
        await session.start_stream(serve)
        await refused(StreamLimitError, lambda: session.start_stream(body))
        await refused(SessionLimitError, lambda: sessions.start_session(body))
        await refused(ValueError, lambda: sessions.start_session(body, session_id=SessionId("s1")))
        session.close()
        await refused(SessionClosedError, lambda: session.start_stream(body))
        sessions.close()
        await refused(ManagerClosedError, lambda: sessions.start_session(body))


async def test_after_the_manager_has_closed_the_refusal_says_so() -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
    # The nursery is closed, too, but whoever calls need not know that there is one.
    exc = await refused(SessionClosedError, lambda: session.start_stream(serve))
    assert isinstance(exc, SessionClosedError)
    assert exc.reason is CloseReason.SHUTDOWN
    await refused(ManagerClosedError, sessions.start_session)


async def test_a_deadline_may_have_passed_before_the_session_knows(mock_clock: MockClock) -> None:
    async with open_session_manager(idle_timeout=10) as sessions:
        session = await sessions.start_session()
        mock_clock.jump(10)
        exc = await refused(SessionClosedError, lambda: session.start_stream(serve))
        assert isinstance(exc, SessionClosedError)
        assert exc.reason is CloseReason.IDLE


# Cancelling


async def test_a_stream_is_not_cancelled_with_the_task_that_started_it(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        with trio.CancelScope() as scope:
            stream = await session.start_stream(serve, 5)
            scope.cancel()
        await trio.sleep(1)
        assert stream.reason is None
        await trio.sleep(5)
        assert stream.reason is CloseReason.COMPLETED


async def test_a_caller_that_is_cancelled_starts_nothing() -> None:
    async def body(scope: object) -> None:
        pytest.fail("it was cancelled before")

    async with open_session_manager() as sessions, sessions.open_session() as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.start_stream(body)
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await sessions.start_session(body)
        assert scope.cancelled_caught
        assert sessions.statistics().opened_sessions == 1
        assert sessions.statistics().streams.opened_streams == 0


async def test_a_caller_may_be_cancelled_at_the_very_start(autojump_clock: MockClock) -> None:
    # An observer acts between the entry and the return: it is too late to do as if nothing had begun.
    async with open_session_manager() as sessions, sessions.open_session() as session:
        streams: list[Stream] = []
        with trio.CancelScope() as scope:
            sessions.add_instrument(Reaction(StreamOpened, lambda change: scope.cancel()))
            streams.append(await session.start_stream(serve, 5))
            assert session.streams == [stream.id for stream in streams]
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await trio.sleep(6)
        assert [stream.reason for stream in streams] == [CloseReason.COMPLETED]


class CancelAfterStep(trio.abc.Instrument):
    """Cancels the scope of a task at the end of its next step."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope) -> None:
        self.task = task
        self.scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.scope.cancel()


async def test_a_caller_may_be_cancelled_before_the_start() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.start_stream(serve, 5)
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert sessions.statistics().streams.opened_streams == 0


async def test_a_caller_that_is_cancelled_after_the_start_knows_the_stream(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with trio.CancelScope() as scope:
            instrument = CancelAfterStep(trio.lowlevel.current_task(), scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                stream = await session.start_stream(serve, 5)
            finally:
                trio.lowlevel.remove_instrument(instrument)
            assert scope.cancel_called
            assert session.streams == [stream.id]
            await trio.sleep_forever()
        assert scope.cancelled_caught
        await trio.sleep(6)
        assert stream.reason is CloseReason.COMPLETED


# Without a checkpoint


async def test_a_stream_is_started_without_a_checkpoint(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session:
        with assert_no_checkpoints():
            stream = session.start_stream_nowait(serve, 5, kind="post", connection_info="[::1]:1", holds_session=False)
            assert sessions.streams.is_stream_active(stream.id)
            with session.open_reader_nowait(stream) as reader:
                assert session.get_readers(stream.id) == [reader]
        assert (stream.kind, stream.metadata.connection_info) == ("post", "[::1]:1")
        await trio.sleep(6)
        assert stream.reason is CloseReason.COMPLETED


async def test_a_reader_may_be_there_before_the_body_begins() -> None:
    async def talk(stream: Stream) -> None:
        assert [reader.position.seq for reader in session.get_readers(stream.id)] == [0]
        await stream.send(b"1")
        await stream.send(b"2", last=True)

    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = session.start_stream_nowait(talk)
        with session.open_reader_nowait(stream) as reader:
            assert [event.data async for event in reader] == [b"1", b"2"]


async def test_a_reader_is_opened_without_a_checkpoint_only_once() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session, session.open_stream() as stream:
        opening = session.open_reader_nowait(stream)
        with opening, pytest.raises(RuntimeError, match="only once"), opening:
            pass


async def test_one_that_is_ended_before_it_begins_is_cancelled_at_its_first_checkpoint() -> None:
    steps: list[str] = []

    async def body(stream: Stream) -> None:
        steps.append("begun")
        await trio.lowlevel.checkpoint()
        steps.append("not reached")

    async with open_session_manager() as sessions, sessions.open_session() as session:
        stream = session.start_stream_nowait(body)
        stream.cancel(CloseReason.KILLED)
        await wait_all_tasks_blocked()
        assert steps == ["begun"]
        assert stream.reason is CloseReason.KILLED
        assert session.streams == []


async def test_only_open_streams_of_the_session_can_be_read_without_a_checkpoint() -> None:
    async with open_session_manager() as sessions, sessions.open_session() as session, sessions.open_session() as other:
        async with other.open_stream() as foreign:
            with pytest.raises(UnknownStreamError), session.open_reader_nowait(foreign):
                pass
        with pytest.raises(UnknownStreamError), other.open_reader_nowait(foreign):
            pass


async def test_a_start_without_a_checkpoint_is_refused() -> None:
    async with open_session_manager(max_streams_per_session=1) as sessions, sessions.open_session() as session:
        async with session.open_stream():
            with pytest.raises(StreamLimitError):
                session.start_stream_nowait(serve, 5)
        with pytest.raises(ValueError, match="idle_timeout"):
            session.start_stream_nowait(serve, 5, idle_timeout=math.nan)
        session.close()
        with pytest.raises(SessionClosedError):
            session.start_stream_nowait(serve, 5)


async def test_what_cannot_be_started_is_not_left_behind() -> None:
    async with trio.open_nursery() as nursery:
        sessions = SessionManager(nursery)
    async with sessions.open_session() as session:
        with pytest.raises(RuntimeError, match="Nursery is closed"):
            session.start_stream_nowait(serve, 5)
        assert session.streams == []
        assert sessions.statistics().streams.closed_streams == {CloseReason.FAILED: 1}


async def test_into_a_cancelled_nursery(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as outside, trio.open_nursery() as nursery:
        sessions = SessionManager(nursery)
        entered = trio.Event()

        async def own_session() -> None:
            async with sessions.open_session() as session:
                entered.set()
                nursery.cancel_scope.cancel()
                # This one is run elsewhere, so it may go on; what is started in the nursery may not.
                started = await session.start_stream(serve)
                await wait_all_tasks_blocked()
                assert started.reason is CloseReason.CANCELLED
                assert session.reason is None
                another = await sessions.start_session()
                await wait_all_tasks_blocked()
                assert another.reason is CloseReason.CANCELLED

        outside.start_soon(own_session)
        await entered.wait()
        # Keeps the nursery open for as long as the others try to use it.
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
    check_nothing_left(sessions)


async def test_into_a_nursery_that_is_closed() -> None:
    async with trio.open_nursery() as nursery:
        sessions = SessionManager(nursery)
    # Nobody has closed this manager, so the nursery is the caller's business.
    with pytest.raises(RuntimeError, match="closed to new arrivals"):
        await sessions.start_session()
    async with sessions.open_session() as session:
        with pytest.raises(RuntimeError, match="closed to new arrivals"):
            await session.start_stream(serve)
        async with session.open_stream():
            assert len(session.streams) == 1
    check_nothing_left(sessions)


async def test_a_started_stream_may_take_its_time_to_unwind(autojump_clock: MockClock) -> None:
    async with open_session_manager() as sessions:
        session = await sessions.start_session()
        stream = await session.start_stream(unwind_slowly, 3)
        await wait_all_tasks_blocked()
        session.close()
        await session.wait_closed()
        assert trio.current_time() == 3
        assert stream.reason is CloseReason.CANCELLED
