from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamscope._unread import UnreadEvents


def test_an_event_is_found_until_it_is_received_or_dropped():
    unread = UnreadEvents()
    assert unread.find(b"a", 1) is None
    unread.add(b"a", 3)
    assert unread.find(b"a", 1) == unread.find(b"a", 3) == 3
    assert unread.find(b"b", 1) is None
    assert unread.find(b"a", 4) is None
    assert len(unread) == 0


def test_of_equal_events_the_newest_is_found():
    unread = UnreadEvents()
    for data, seq in [(b"a", 1), (b"b", 2), (b"a", 3)]:
        unread.add(data, seq)
    assert (unread.find(b"a", 2), unread.find(b"b", 2)) == (3, 2)


def test_events_may_be_added_out_of_order():
    unread = UnreadEvents()
    for data, seq in [(b"a", 1), (b"c", 3), (b"b", 2)]:
        unread.add(data, seq)
    assert unread.find(b"b", 3) is None
    assert unread.find(b"c", 3) == 3


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 3))))
def test_it_agrees_with_a_list_and_forgets_what_is_over(story):
    unread = UnreadEvents()
    events: list[bytes] = []
    since = 1
    for data, received in story:
        found = [seq for seq, event in enumerate(events, 1) if event == data and seq >= since]
        assert unread.find(data, since) == (found[-1] if found else None)
        assert len(unread) <= len(events) + 1 - since
        if not found:
            events.append(data)
            unread.add(data, len(events))
        since = min(since + received, len(events) + 1)
