from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from streamscope import Change, ChangesMissed, Watcher
from streamscope._feed import Feed
from streamscope.abc import Instrument
from tests.helpers import Recorder

# What the changes are does not matter to the feed.
A, B, C, D = (ChangesMissed(-number) for number in range(1, 5))


class Awkward(Instrument):
    """Raises at each change."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def changed(self, change: Change) -> None:
        self.calls += 1
        raise self.error


# Fanning out


def test_every_instrument_is_told_in_order() -> None:
    first, second = Recorder(), Recorder()
    feed = Feed([first])
    feed.publish(A)
    feed.add(second)
    feed.publish(B)
    feed.remove(first)
    feed.remove(first)
    feed.publish(C)
    assert first.changes == [A, B]
    assert second.changes == [B, C]


def test_an_instrument_is_told_once_however_often_it_is_added() -> None:
    recorder = Recorder()
    feed = Feed([recorder, recorder])
    feed.add(recorder)
    feed.publish(A)
    assert recorder.changes == [A]


def test_a_feed_knows_whether_anybody_listens() -> None:
    recorder = Recorder()
    feed = Feed([])
    assert not feed
    feed.add(recorder)
    assert feed
    feed.remove(recorder)
    assert not feed


def test_one_that_raises_is_logged_and_switched_off_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    before, awkward, after = Recorder(), Awkward(ZeroDivisionError("observed")), Recorder()
    feed = Feed([before, awkward, after])
    feed.publish(A)
    feed.publish(B)
    assert awkward.calls == 1
    assert before.changes == after.changes == [A, B]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("streamscope", logging.ERROR)
    assert repr(awkward) in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is awkward.error


def test_what_is_no_error_passes_and_the_feed_goes_on() -> None:
    awkward, after = Awkward(SystemExit()), Recorder()
    feed = Feed([awkward, after])
    with pytest.raises(SystemExit):
        feed.publish(A)
    feed.remove(awkward)
    feed.publish(B)
    assert after.changes == [B]


def test_what_an_instrument_changes_is_told_to_all_afterwards() -> None:
    class Chatty(Instrument):
        def changed(self, change: Change) -> None:
            if change is A:
                feed.publish(B)
                feed.publish(C)
            elif change is B:
                feed.publish(D)

    before, after = Recorder(), Recorder()
    feed = Feed([before, Chatty(), after])
    feed.publish(A)
    # Both see the same order, and each cause before its effect.
    assert before.changes == after.changes == [A, B, C, D]


def test_one_that_is_removed_by_the_one_before_it_is_told_no_more() -> None:
    class Remover(Instrument):
        def changed(self, change: Change) -> None:
            feed.remove(recorder)

    recorder = Recorder()
    feed = Feed([Remover(), recorder])
    feed.publish(A)
    assert recorder.changes == []


def test_one_that_is_added_during_a_change_is_told_from_the_next_on() -> None:
    class Adder(Instrument):
        def changed(self, change: Change) -> None:
            feed.add(recorder)

    recorder = Recorder()
    feed = Feed([Adder()])
    feed.publish(A)
    feed.publish(B)
    assert recorder.changes == [B]


# Watching


async def test_a_watcher_receives_from_the_moment_it_was_made() -> None:
    feed = Feed([])
    feed.publish(A)
    watcher = Watcher(feed, 10)
    feed.publish(B)
    feed.publish(C)
    with assert_checkpoints():
        assert await watcher.receive() is B
    assert await watcher.receive() is C


async def test_a_watcher_waits_for_a_change() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 10)
    received: list[Change] = []

    async def watch() -> None:
        received.append(await watcher.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        assert received == []
        feed.publish(A)
    assert received == [A]


async def test_two_tasks_may_share_a_watcher() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 10)
    received: list[Change] = []

    async def watch() -> None:
        received.append(await watcher.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        feed.publish(A)
        feed.publish(B)
    assert set(received) == {A, B}


async def test_one_that_does_not_keep_up_is_told_how_much_it_missed_and_where() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 2)
    for change in (A, B, C, D):
        feed.publish(change)
    assert await watcher.receive() is A
    # Two places would be needed: one for the gap, one for the change after it.
    feed.publish(A)
    assert await watcher.receive() is B
    assert await watcher.receive() == ChangesMissed(2)
    assert await watcher.receive() == ChangesMissed(1)
    feed.publish(C)
    assert await watcher.receive() is C


async def test_it_is_told_at_once_what_it_missed_when_it_has_caught_up() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 1)
    feed.publish(A)
    feed.publish(B)
    assert await watcher.receive() is A
    # No change need follow for this one to come.
    with assert_checkpoints():
        assert await watcher.receive() == ChangesMissed(1)


async def test_without_a_buffer_it_receives_only_while_it_waits() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 0)
    feed.publish(A)
    assert await watcher.receive() == ChangesMissed(1)
    received: list[Change] = []

    async def watch() -> None:
        received.append(await watcher.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        feed.publish(B)
        feed.publish(C)
    assert received == [B]
    assert await watcher.receive() == ChangesMissed(1)


async def test_when_the_feed_ends_a_watcher_receives_what_is_left_and_then_the_end() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 1)
    feed.publish(A)
    feed.publish(B)
    feed.finish()
    feed.finish()
    assert [change async for change in watcher] == [A, ChangesMissed(1)]
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await watcher.receive()


async def test_the_end_of_the_feed_is_not_told_to_others() -> None:
    recorder = Recorder()
    feed = Feed([recorder])
    feed.finish()
    feed.publish(A)
    assert recorder.changes == [A]


async def test_a_feed_that_ends_while_it_publishes_publishes_that_to_all_first() -> None:
    class Ender(Instrument):
        def changed(self, change: Change) -> None:
            feed.finish()

    feed = Feed([Ender()])
    watcher = Watcher(feed, 10)
    feed.publish(A)
    assert [change async for change in watcher] == [A]


async def test_a_waiting_watcher_is_told_of_the_end() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 1)

    async def watch() -> None:
        with pytest.raises(trio.EndOfChannel):
            await watcher.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        feed.finish()


async def test_a_watcher_that_was_closed_is_told_no_more() -> None:
    feed = Feed([])
    async with Watcher(feed, 1) as watcher:
        feed.publish(A)
        feed.publish(B)
    watcher.close()
    assert not feed
    feed.publish(C)
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await watcher.receive()


async def test_closing_wakes_whoever_waits() -> None:
    watcher = Watcher(Feed([]), 1)

    async def watch() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await watcher.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        watcher.close()


async def test_aclose_is_a_checkpoint_and_closes_also_where_that_is_cancelled() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 1)
    with assert_checkpoints():
        await watcher.aclose()
    another = Watcher(feed, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await another.aclose()
    assert scope.cancelled_caught
    assert not feed


async def test_a_cancelled_receive_takes_nothing() -> None:
    feed = Feed([])
    watcher = Watcher(feed, 1)
    feed.publish(A)
    feed.publish(B)
    with trio.CancelScope() as scope:
        scope.cancel()
        await watcher.receive()
    assert [await watcher.receive(), await watcher.receive()] == [A, ChangesMissed(1)]


async def test_an_instrument_that_closes_a_watcher_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class Closer(Instrument):
        def changed(self, change: Change) -> None:
            watcher.close()

    feed = Feed([Closer()])
    watcher = Watcher(feed, 1)
    feed.publish(A)
    assert not caplog.records
