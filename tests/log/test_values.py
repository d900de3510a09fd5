"""What the log is made of, without a disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope._window import EventWindow
from streamscope.log._queue import Applicant, Operation, WriteQueue
from streamscope.log._recent import BLOCK, Recent
from streamscope.log._sizes import SizeWindow
from streamscope.log._writes import Writes

# Sizes


@given(st.lists(st.one_of(st.integers(0, 100_000), st.none()), max_size=200))
def test_sizes_count_as_a_window_of_events_does(steps):
    trimmed: dict[int, int] = {}
    sizes, events = SizeWindow(7, trimmed), EventWindow()
    for size in steps:
        if size is not None:
            sizes.append(size)
            events.append(bytes(size))
        elif len(events):
            assert sizes.drop_oldest() == events.drop_oldest()
        assert (sizes.first, sizes.last, len(sizes), sizes.size) == (
            events.first,
            events.last,
            len(events),
            events.size,
        )
        # The newest event stays in the database, even if it is not kept.
        assert trimmed.get(7, 0) <= max(0, min(sizes.first - 1, sizes.last - 1))


def test_events_are_dropped_from_the_database_by_the_hundred():
    trimmed: dict[int, int] = {}
    sizes = SizeWindow(7, trimmed)
    for _ in range(300):
        sizes.append(1)
    for _ in range(99):
        sizes.drop_oldest()
    assert trimmed == {}
    sizes.drop_oldest()
    assert trimmed == {7: 100}
    for _ in range(100):
        sizes.drop_oldest()
    assert trimmed == {7: 200}


def test_large_events_are_dropped_from_the_database_sooner():
    trimmed: dict[int, int] = {}
    sizes = SizeWindow(7, trimmed)
    for size in (10, 70_000, 10):
        sizes.append(size)
    sizes.drop_oldest()
    assert trimmed == {}
    sizes.drop_oldest()
    assert trimmed == {7: 2}


def test_what_ended_counts_as_before():
    sizes = SizeWindow(7, {})
    sizes.append(3)
    sizes.append(4)
    sizes.seal()
    assert (sizes.first, sizes.last, len(sizes), sizes.size) == (1, 2, 2, 7)


# Events in memory


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.booleans()), max_size=60))
def test_memory_is_bounded_and_tells_the_truth(max_bytes, steps):
    recent = Recent(max_bytes)
    stored: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    for row, size, is_new in steps:
        events = stored[row]
        if is_new or not events:
            events.append(bytes([len(events)]) * size)
            recent.append(row, len(events), events[-1])
        else:
            after = size % len(events)
            recent.add_block(row, after, events[after:])
        assert recent.size == sum(window.size for window in recent._windows.values()) <= max_bytes
        for other, events in stored.items():
            for after in range(len(events)):
                found = recent.after(other, after, 3)
                assert [event.data for event in found] in (
                    [],
                    events[after : after + 3],
                    events[after : after + len(found)],
                )
                assert [event.seq for event in found] == list(range(after + 1, after + 1 + len(found)))


def test_what_was_used_least_recently_goes_first():
    recent = Recent(30)
    for row in (1, 2, 3):
        recent.append(row, 1, bytes(10))
    assert recent.after(1, 0, 1)
    recent.append(4, 1, bytes(10))
    assert [bool(recent.after(row, 0, 1)) for row in (1, 2, 3, 4)] == [True, False, True, True]


def test_a_tail_is_bounded_by_itself():
    recent = Recent(2**30)
    for seq in range(1, 2001):
        recent.append(1, seq, b"x")
    assert recent.after(1, 2000 - BLOCK - 1, 1) == []
    assert recent.after(1, 2000 - BLOCK, 1) != []
    for seq in range(1, 5):
        recent.append(2, seq, bytes(2**20))
    assert recent.after(2, 2, 1) == []
    assert recent.after(2, 3, 1) != []


def test_what_is_forgotten_takes_no_room():
    recent = Recent(2**20)
    recent.append(1, 1025, b"tail")
    recent.add_block(1, 511, [b"block"])
    recent.add_block(1, 512, [b"block"])
    recent.append(2, 1, b"other")
    recent.forget(1, 512, 1025)
    assert recent.size == 5
    assert recent.after(2, 0, 1) != []


# The queue


class Item(Applicant):
    def __init__(self, size: int = 1, *, again: bool = False, refuse: bool = False) -> None:
        self._size = size
        self.again = again
        self.refuse = refuse
        self.story: list[str] = []

    @property
    def size(self) -> int:
        return self._size

    def admit(self) -> bool:
        self.story.append("refused" if self.refuse else "admitted")
        return not self.refuse

    def put(self, writes: Writes) -> None:
        raise NotImplementedError

    def stored(self) -> None:
        self.story.append("stored")

    def failed(self, cause: str) -> Operation | None:
        self.story.append(cause)
        return self if self.again else None


def test_there_is_room_for_so_many():
    queue = WriteQueue(2, 100)
    items = [Item() for _ in range(4)]
    for item in items:
        queue.apply(item)
    assert [item.story for item in items] == [["admitted"], ["admitted"], [], []]
    taken = queue.take(1)
    # What is being written takes up room, too.
    assert (taken, queue.count, items[2].story) == ([items[0]], 2, [])
    queue.settle(taken)
    assert [item.story for item in items] == [["admitted", "stored"], ["admitted"], ["admitted"], []]
    queue.withdraw(items[3])
    queue.settle(queue.take(10))
    assert (queue.count, queue.size, len(queue), items[3].story) == (0, 0, 0, [])


def test_who_is_withdrawn_keeps_nobody_waiting():
    queue = WriteQueue(10, 10)
    first, large, small = Item(5), Item(8), Item(1)
    for item in (first, large, small):
        queue.apply(item)
    assert not queue.has_room(0)
    queue.withdraw(large)
    assert small.story == ["admitted"]


def test_who_is_refused_takes_no_room():
    queue = WriteQueue(1, 10)
    items = [Item(), Item(refuse=True), Item()]
    for item in items:
        queue.apply(item)
    queue.settle(queue.take(1))
    assert [item.story for item in items] == [["admitted", "stored"], ["refused"], ["admitted"]]
    assert queue.count == 1


def test_what_fails_takes_those_after_it_along_but_not_those_that_wait():
    queue = WriteQueue(3, 10)
    first, must, second, waiting = Item(), Item(again=True), Item(), Item()
    for item in (first, must, second, waiting):
        queue.apply(item)
    assert queue.fail(queue.take(1), "full")
    assert [item.story[1:] for item in (first, must, second, waiting)] == [["full"], ["full"], ["full"], []]
    assert waiting.story == ["admitted"]
    assert queue.take(10) == [must, waiting]
    assert not queue.fail([], "full")


def test_what_is_abandoned_is_told_so():
    queue = WriteQueue(2, 10)
    items = [Item(again=True), Item(), Item()]
    for item in items:
        queue.apply(item)
    queue.abandon("closed")
    assert [item.story[-1] for item in items] == ["closed"] * 3
    assert (queue.count, queue.size, len(queue)) == (0, 0, 0)


@pytest.mark.parametrize("name", ["max_pending", "max_pending_bytes"])
def test_bounds_of_the_queue_are_checked(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number of at least 1"):
        WriteQueue(**{"max_pending": 1, "max_pending_bytes": 1, name: 0})
