from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope import Event
from streamscope._window import _COMPACT_AT, EventWindow

# Runs, because single steps would rarely drop the 32 events at which the list is compacted.
runs = st.lists(st.tuples(st.sampled_from(["append", "drop"]), st.integers(1, 2 * _COMPACT_AT)), max_size=12)


class Model:
    """The same by a plain list that never forgets."""

    def __init__(self, first: int) -> None:
        self.numbered: list[tuple[int, bytes]] = []
        self.dropped = 0
        self.start = first

    @property
    def kept(self) -> list[tuple[int, bytes]]:
        return self.numbered[self.dropped :]


def check(window: EventWindow, model: Model) -> None:
    kept = model.kept
    assert len(window) == len(kept)
    assert window.size == sum(len(data) for _, data in kept)
    assert window.first == model.start + model.dropped
    assert window.last == model.start + len(model.numbered) - 1
    assert [(event.seq, event.data) for event in window.after(window.first - 1, len(kept) + 1)] == kept


@given(st.integers(1, 10**6), runs, st.data())
def test_against_a_plain_list(first, steps, data):
    window, model = EventWindow(first), Model(first)
    check(window, model)
    for step, times in steps:
        for _ in range(times):
            if step == "append":
                event = bytes(len(model.numbered) % 5)
                model.numbered.append((first + len(model.numbered), event))
                assert window.append(event) == model.numbered[-1][0]
            elif model.kept:
                freed = len(model.kept[0][1])
                model.dropped += 1
                assert window.drop_oldest() == freed
        check(window, model)
        after = data.draw(st.integers(window.first - 1, window.last + 3), label="after")
        limit = data.draw(st.integers(1, 5), label="limit")
        expected = [(seq, event) for seq, event in model.kept if seq > after][:limit]
        assert [(event.seq, event.data) for event in window.after(after, limit)] == expected


def test_a_new_window_is_empty_and_goes_on():
    window = EventWindow()
    assert (len(window), window.first, window.last, window.size, window.finished) == (0, 1, 0, 0, False)
    assert window.after(0, 10) == []


@given(st.integers(0, 200))
def test_the_oldest_of_an_empty_window_cannot_be_dropped(count):
    window = EventWindow()
    for _ in range(count):
        window.append(b"x")
    for _ in range(count):
        window.drop_oldest()
    with pytest.raises(IndexError, match="no event is kept"):
        window.drop_oldest()
    assert (window.first, window.last, len(window), window.size) == (count + 1, count, 0, 0)


def test_the_list_does_not_grow_with_what_was_dropped():
    window = EventWindow()
    for _ in range(10):
        window.append(b"x")
    for _ in range(10_000):
        window.append(b"x")
        window.drop_oldest()
        # The list may hold as many places that are free as places in use, and a few more.
        assert len(window._events) <= 2 * (len(window) + _COMPACT_AT)


def test_what_is_kept_is_rarely_moved():
    window = EventWindow()
    for _ in range(1000):
        window.append(b"x")
    moved = 0
    for _ in range(10_000):
        window.append(b"x")
        window.drop_oldest()
        moved += len(window) if window._start == 0 else 0
    # About once per event on the average, so that a step costs the same however many are kept.
    assert 0 < moved <= 2 * 10_000


def test_what_was_dropped_is_not_kept_alive():
    window = EventWindow()
    window.append(b"large")
    window.append(b"next")
    window.drop_oldest()
    assert b"large" not in window._events


def test_an_event_is_a_value():
    assert Event(1, b"x") == Event(1, b"x")
    assert hash(Event(1, b"x")) == hash(Event(1, b"x"))
    assert Event(1, b"x") != Event(2, b"x")
    with pytest.raises(AttributeError):
        Event(1, b"x").seq = 2  # type: ignore[misc]
