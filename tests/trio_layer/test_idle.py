from __future__ import annotations

import math

import trio
from trio.testing import MockClock

from streamscope import CloseReason
from streamscope._idle import IdleDeadline


async def test_the_time_out_counts_from_the_last_touch(mock_clock: MockClock) -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, 10)
    idle.touch(trio.current_time())
    assert scope.deadline == 10
    mock_clock.jump(4)
    idle.touch(trio.current_time())
    assert scope.deadline == 14


async def test_while_it_is_held_only_the_maximum_age_counts(mock_clock: MockClock) -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, 10, expires=100)
    idle.touch(trio.current_time())
    idle.hold(trio.current_time())
    assert scope.deadline == 100
    idle.hold(trio.current_time())
    mock_clock.jump(1)
    idle.release(trio.current_time())
    idle.touch(trio.current_time())
    assert scope.deadline == 100
    idle.release(trio.current_time())
    assert scope.deadline == 11


async def test_the_time_out_does_not_reach_beyond_the_maximum_age(mock_clock: MockClock) -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, 10, expires=12)
    mock_clock.jump(5)
    idle.touch(trio.current_time())
    assert scope.deadline == 12


async def test_without_limits_there_is_no_deadline() -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, math.inf)
    idle.touch(trio.current_time())
    idle.hold(trio.current_time())
    idle.release(trio.current_time())
    assert scope.deadline == math.inf


async def test_it_says_which_of_the_two_deadlines_has_passed(mock_clock: MockClock) -> None:
    aged, idled, both = trio.CancelScope(), trio.CancelScope(), trio.CancelScope()
    by_age = IdleDeadline(aged, 10, expires=5)
    by_idleness = IdleDeadline(idled, 5, expires=10)
    by_both = IdleDeadline(both, 5, expires=5)
    for idle in (by_age, by_idleness, by_both):
        idle.touch(trio.current_time())
    mock_clock.jump(20)
    assert by_age.reason is CloseReason.EXPIRED
    # It had been idle for long when it came of age.
    assert by_idleness.reason is CloseReason.IDLE
    assert by_both.reason is CloseReason.EXPIRED


async def test_where_a_hold_was_lost_another_time_out_counts(mock_clock: MockClock) -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, 10, lost_timeout=3)
    idle.hold(trio.current_time())
    idle.note(trio.current_time(), lost=True)
    assert scope.deadline == math.inf
    idle.release(trio.current_time())
    assert (scope.deadline, idle.reason) == (3, CloseReason.DISCONNECTED)
    mock_clock.jump(1)
    idle.touch(trio.current_time())
    assert (scope.deadline, idle.reason) == (4, CloseReason.DISCONNECTED)
    # A sign of life.
    idle.note(trio.current_time(), lost=False)
    idle.touch(trio.current_time())
    assert (scope.deadline, idle.reason) == (11, CloseReason.IDLE)


async def test_where_it_makes_no_difference_a_lost_hold_is_one_like_others(mock_clock: MockClock) -> None:
    for lost_timeout in (10, 20, math.inf):
        scope = trio.CancelScope()
        idle = IdleDeadline(scope, 10, lost_timeout)
        idle.hold(trio.current_time())
        idle.note(trio.current_time(), lost=True)
        idle.release(trio.current_time())
        assert (scope.deadline, idle.reason) == (10, CloseReason.IDLE)


async def test_a_deadline_that_has_passed_is_not_taken_back(mock_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        idle = IdleDeadline(scope, 10)
        idle.touch(trio.current_time())
        # Trio has not looked at the clock since, so the scope is not cancelled yet. Others were told already.
        mock_clock.jump(10)
        idle.touch(trio.current_time())
        idle.hold(trio.current_time())
        idle.release(trio.current_time())
        assert scope.deadline == 10
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_it_ends_the_scope(autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        idle = IdleDeadline(scope, 10)
        idle.hold(trio.current_time())
        await trio.sleep(100)
        idle.release(trio.current_time())
        await trio.sleep_forever()
    assert trio.current_time() == 110


async def test_what_comes_when_the_time_is_over_is_too_late_for_the_reason(mock_clock: MockClock) -> None:
    scope = trio.CancelScope()
    idle = IdleDeadline(scope, 10, lost_timeout=3)
    idle.touch(trio.current_time())
    mock_clock.jump(10)
    idle.hold(trio.current_time())
    idle.note(trio.current_time(), lost=True)
    idle.release(trio.current_time())
    assert (scope.deadline, idle.reason) == (10, CloseReason.IDLE)
