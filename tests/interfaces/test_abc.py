from __future__ import annotations

import inspect

import attrs
import pytest

from streamscope import Event, abc
from streamscope.abc import Batch, EventLog, Instrument, SavedSession, StreamLog

# To add to these is to break whoever implements them.
TO_IMPLEMENT = {
    StreamLog: {
        "first",
        "last",
        "finished",
        "first_after",
        "append_nowait",
        "append",
        "finish",
        "discard",
        "set_will",
        "read",
        "read_nowait",
        "attach",
        "detach",
    },
    EventLog: {
        "open_stream",
        "find_stream",
        "durable",
        "discard_session",
        "save_session",
        "find_session",
        "statistics",
    },
    Instrument: {"changed"},
}


def test_every_interface_is_listed():
    assert {getattr(abc, name) for name in abc.__all__} == {*TO_IMPLEMENT, Batch, SavedSession}


@pytest.mark.parametrize("interface", TO_IMPLEMENT)
def test_what_is_to_be_implemented(interface):
    assert interface.__abstractmethods__ == TO_IMPLEMENT[interface]
    # Nothing is inherited that would work on state that an implementation does not have.
    own = {name for name in vars(interface) if not name.startswith("_")}
    assert own == TO_IMPLEMENT[interface]


@pytest.mark.parametrize(
    ("interface", "missing"),
    [(interface, name) for interface, names in TO_IMPLEMENT.items() for name in sorted(names)],
)
def test_nothing_of_it_may_be_missing(interface, missing):
    members = {name: lambda self: None for name in TO_IMPLEMENT[interface] - {missing}}
    with pytest.raises(TypeError, match=rf"abstract method '?{missing}'?"):
        type("Incomplete", (interface,), members)()
    type("Complete", (interface,), {**members, missing: lambda self: None})()


@pytest.mark.parametrize("name", ["append", "read"])
def test_what_may_wait(name):
    assert inspect.iscoroutinefunction(getattr(StreamLog, name))


def test_an_implementation_may_have_slots():
    # There may be very many of them.
    members = {name: lambda self: None for name in TO_IMPLEMENT[StreamLog]}
    slotted = type("Slotted", (StreamLog,), {"__slots__": (), **members})()
    assert not hasattr(slotted, "__dict__")


def test_a_batch_is_a_value():
    batch = Batch([Event(1, b"x")], finished=False)
    assert batch == Batch([Event(1, b"x")], finished=False)
    assert batch != Batch([Event(1, b"x")], finished=True)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        batch.finished = True  # type: ignore[misc]
