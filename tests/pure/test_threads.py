"""Reading from any thread, changing from one: the registry, by itself and below a StreamManager."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio

from streamscope import (
    CloseReason,
    Limits,
    SessionId,
    State,
    StreamId,
    StreamManager,
    StreamMetadata,
    WrongThreadError,
)
from streamscope._records import StreamRecord
from streamscope._registry import Registry

SESSIONS = [SessionId(f"s{number}") for number in range(4)]
READERS = 3
SECONDS = 0.3


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Let threads take turns a thousand times as often, so that they meet in more places."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def check_metadata(metadata: StreamMetadata) -> None:
    assert metadata.session_id in SESSIONS
    assert metadata.kind == "stream"
    # A stream that ends between the listing and the snapshot is shown as it ended.
    assert (metadata.state is State.OPEN) is (metadata.reason is None)
    assert metadata.age >= 0
    assert metadata.idle >= 0
    # Each stream sends one event of 3 bytes at most.
    assert metadata.event_count in {0, 1}
    assert metadata.byte_count in {0, 3}


class Reader:
    """Lists and looks up in a thread of its own, until told to stop."""

    def __init__(self, streams: StreamManager, permanent: dict[SessionId, StreamId], ever: list[StreamId]) -> None:
        self.streams = streams
        self.permanent = permanent
        self.ever = ever
        self.rounds = 0
        self.seen: set[StreamId] = set()

    def run(self, stop: threading.Event) -> None:
        choose = random.Random(self.rounds)
        while not stop.is_set():
            self.list_and_look_up(choose)
            self.rounds += 1

    def list_and_look_up(self, choose: random.Random) -> None:
        streams = self.streams
        session_id = choose.choice(SESSIONS)
        lasting = self.permanent[session_id]

        ids = streams.get_session_streams(session_id)
        # The permanent stream was there first, and a session's streams are listed in order.
        assert ids[0] == lasting
        assert len(ids) == len(set(ids))
        assert all(type(stream_id) is StreamId for stream_id in ids)

        listed = streams.list_streams()
        for metadata in listed:
            check_metadata(metadata)
        listed_ids = [metadata.stream_id for metadata in listed]
        assert listed_ids[: len(SESSIONS)] == list(self.permanent.values())
        assert len(listed_ids) == len(set(listed_ids))
        self.seen.update(listed_ids)

        assert streams.is_stream_active(lasting)
        lasting_metadata = streams.get_metadata(lasting)
        assert lasting_metadata is not None
        check_metadata(lasting_metadata)
        assert lasting_metadata.state is State.OPEN
        assert streams.get_stream(lasting) is None

        stream_id = choose.choice(self.ever)
        found = streams.get_metadata(stream_id)
        if found is None:
            # What has ended never comes back.
            assert not streams.is_stream_active(stream_id)
        else:
            check_metadata(found)
            assert found.stream_id == stream_id
        assert not streams.is_stream_active(StreamId.new())

        before = streams.statistics()
        after = streams.statistics()
        assert after.opened_streams >= before.opened_streams >= before.open_streams >= len(SESSIONS)
        assert sum(after.closed_streams.values()) >= sum(before.closed_streams.values())


async def test_readers_in_threads_while_streams_come_and_go(frequent_switches, mock_clock):
    # The clock moves by a second each round, so that it is certain what a clean-up finds, on a busy machine too.
    streams = StreamManager()
    permanent = {session_id: streams.register_stream(session_id) for session_id in SESSIONS}
    ever = list(permanent.values())
    readers = [Reader(streams, permanent, ever) for _ in range(READERS)]
    stop = threading.Event()
    choose = random.Random(0)
    open_now: list[tuple[SessionId, StreamId]] = []

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(trio.to_thread.run_sync, reader.run, stop)
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                session_id = choose.choice(SESSIONS)
                open_now.append((session_id, streams.register_stream(session_id)))
                ever.append(open_now[-1][1])
                record = streams._registry.streams[open_now[-1][1]]
                streams._registry.record_event(record, 3, trio.current_time())
                if len(open_now) > 10:
                    streams.unregister_stream(*open_now.pop(choose.randrange(len(open_now))))
                async with streams.open_stream(session_id) as stream:
                    stream.send_nowait(b"abc")
                mock_clock.jump(1.0)
                for stream_id in permanent.values():
                    streams._registry.touch(streams._registry.streams[stream_id], trio.current_time())
                ended = streams.cleanup_inactive_streams(15.0)
                assert set(ended) <= {stream_id for _, stream_id in open_now}
                open_now = [pair for pair in open_now if pair[1] not in ended]
        finally:
            stop.set()

    for reader in readers:
        assert reader.rounds > 0
        assert len(reader.seen) > len(permanent), "no stream came or went while this reader looked"


CHANGES: dict[str, Callable[[StreamManager, StreamId], object]] = {
    "register": lambda streams, stream_id: streams.register_stream(SESSIONS[0]),
    "unregister": lambda streams, stream_id: streams.unregister_stream(SESSIONS[0], stream_id),
    "cancel": lambda streams, stream_id: streams.cancel_stream(SESSIONS[0], stream_id),
    "cleanup": lambda streams, stream_id: streams.cleanup_inactive_streams(0.0),
    "claim": lambda streams, stream_id: streams._registry.claim(),
}


def in_a_plain_thread(change: Callable[[], object]) -> None:
    change()


def in_a_thread_with_its_own_trio(change: Callable[[], object]) -> None:
    async def main() -> None:
        change()

    trio.run(main)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("run", [in_a_plain_thread, in_a_thread_with_its_own_trio])
async def test_changing_from_another_thread_names_the_way_back(change, run):
    streams = StreamManager()
    stream_id = streams.register_stream(SESSIONS[0])
    before = streams.statistics()

    with pytest.raises(WrongThreadError, match=r"trio\.from_thread\.run_sync"):
        await trio.to_thread.run_sync(run, lambda: CHANGES[change](streams, stream_id))

    assert streams.statistics() == before
    assert streams.get_session_streams(SESSIONS[0]) == [stream_id]


async def test_the_way_back_works():
    streams = StreamManager()
    streams.register_stream(SESSIONS[0])

    def in_thread() -> StreamId:
        return trio.from_thread.run_sync(streams.register_stream, SESSIONS[1])

    stream_id = await trio.to_thread.run_sync(in_thread)
    assert streams.get_session_streams(SESSIONS[1]) == [stream_id]


async def test_an_empty_manager_may_go_to_another_trio_thread():
    streams = StreamManager()
    streams.unregister_stream(SESSIONS[0], streams.register_stream(SESSIONS[0]))

    def in_thread() -> None:
        in_a_thread_with_its_own_trio(lambda: streams.register_stream(SESSIONS[0]))

    await trio.to_thread.run_sync(in_thread)
    with pytest.raises(WrongThreadError):
        streams.register_stream(SESSIONS[0])


# What a thread may find in between


@pytest.fixture
def stream() -> StreamRecord:
    return Registry(Limits()).admit_stream(SESSIONS[0], now=10.0, wall=0.0)


def test_a_snapshot_of_what_was_active_since_the_clock_was_read(stream):
    stream.last_activity = stream.session.last_activity = 11.5
    for record in (stream, stream.session):
        snapshot = record.snapshot(11.0)
        assert (snapshot.age, snapshot.idle) == (1.0, 0.0)


def test_a_snapshot_between_the_state_and_its_reason(stream):
    for record in (stream, stream.session):
        record.state = State.CLOSING
        snapshot = record.snapshot(11.0)
        assert (snapshot.state, snapshot.reason) == (State.OPEN, None)
        record.reason = CloseReason.KILLED
        snapshot = record.snapshot(11.0)
        assert (snapshot.state, snapshot.reason) == (State.CLOSING, CloseReason.KILLED)
