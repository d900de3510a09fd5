"""The suite for event logs must pass a good log, and find what is wrong with each bad one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from streamscope import Event, EventTooLargeError, MemoryEventLog, SessionId, StreamClosedError, StreamId
from streamscope._forward import ForwardingEventLog, ForwardingStreamLog
from streamscope.abc import Batch, EventLog, SavedSession, StreamLog
from streamscope.testing import check_event_log


class Handle(ForwardingStreamLog):
    """Passes everything on to a good log; the subclasses below each do one thing wrong."""

    def __init__(self, log: Log, session_id: SessionId, inner: StreamLog) -> None:
        super().__init__(inner)
        self.log = log
        self.session_id = session_id


class Log(ForwardingEventLog):
    handle: type[Handle] = Handle
    inner: MemoryEventLog

    def __init__(self) -> None:
        super().__init__(MemoryEventLog(max_events=40, max_stream_bytes=2048))
        self.handles: dict[StreamId, Handle] = {}

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        inner = self.inner.open_stream(session_id, stream_id)
        handle = self.handles[stream_id] = self.handle(self, session_id, inner)
        return handle

    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await self.inner.find_stream(session_id, stream_id)
        return self.handles[stream_id]


async def check(make_log: Callable[[], EventLog]) -> None:
    await check_event_log(make_log, overflow=[bytes(8)] * 41, too_large=bytes(2049))


async def test_a_log_that_passes_everything_on_is_good(autojump_clock):
    await check(Log)


async def test_a_log_that_stores_later_is_good(autojump_clock):
    await check(LaterLog)


async def test_a_log_that_returns_less_than_it_is_asked_for_is_good(autojump_clock):
    class Stingy(Handle):
        async def read(self, after: int, limit: int) -> Batch:
            return await super().read(after, min(limit, 2))

    await check(log_of(Stingy))


async def test_a_log_that_wakes_too_often_is_good(autojump_clock):
    class Nervous(Handle):
        def attach(self, wake: Callable[[], None]) -> None:
            super().attach(wake)
            wake()

        async def append(self, data: bytes, *, last: bool = False) -> int:
            for wake in list(self.inner._wakes):  # type: ignore[attr-defined]
                wake()
            return await super().append(data, last=last)

    await check(log_of(Nervous))


class Later(Handle):
    """Stores events and the end in a task of its own, so that a reader sees them later."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ended = False
        self.taken = 0
        self.waiting: list[tuple[Callable[[], object], trio.Event]] = []

    @property
    def last(self) -> int:
        return self.taken

    @property
    def finished(self) -> bool:
        return self.ended

    def put(self, store: Callable[[], object]) -> trio.Event:
        if not self.waiting:
            trio.lowlevel.spawn_system_task(self.write)
        stored = trio.Event()
        self.waiting.append((store, stored))
        return stored

    async def write(self) -> None:
        while self.waiting:
            await trio.sleep(0.01)
            store, stored = self.waiting[0]
            store()
            stored.set()
            del self.waiting[0]

    def take(self, data: bytes, *, last: bool) -> trio.Event:
        if self.ended:
            raise StreamClosedError(self.inner.stream_id)  # type: ignore[attr-defined]
        if len(data) > 2048:
            raise EventTooLargeError("max_stream_bytes", 2048)
        self.taken += 1
        self.ended = last
        return self.put(lambda: self.inner.append_nowait(data, last=last))

    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        self.take(data, last=last)
        return self.taken

    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        stored = self.take(data, last=last)
        seq = self.taken
        await stored.wait()
        return seq

    def finish(self) -> None:
        if not self.ended:
            self.ended = True
            self.put(self.inner.finish)


class LaterLog(Log):
    handle = Later


def log_of(handle_class: type[Handle]) -> type[Log]:
    class LogOf(Log):
        handle = handle_class

    LogOf.__name__ = f"{handle_class.__name__}Log"
    return LogOf


# Bad logs. Each class says what it does wrong, and what the suite must say about it.

BAD: dict[str, tuple[type[Log], str]] = {}


def bad(message: str) -> Callable[[type[Any]], type[Any]]:
    def register(cls: type[Any]) -> type[Any]:
        BAD[cls.__name__] = (log_of(cls) if issubclass(cls, Handle) else cls, message)
        return cls

    return register


@bad(r"the number that append\(\) returned is 0; it should be 1")
class CountsFromZero(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        return await super().append(data, last=last) - 1


@bad(r"the number that append\(\) returned is 2; it should be 3")
class LastIsTheNextOne(Handle):
    @property
    def last(self) -> int:
        return self.inner.last and self.inner.last + 1


@bad(r"first_after\(\) while nothing was dropped is 2; it should be 1")
class FirstAfterIsTheNextOne(Handle):
    def first_after(self, size: int) -> int:
        return super().first_after(size) + (self.inner.last == 1)


@bad(r"first_after\(\) before event 41 is 1; it should be 2")
class FirstAfterKnowsNoBounds(Handle):
    def first_after(self, size: int) -> int:
        return self.inner.first


@bad(r"first_after\(\) of an event that is too large is 2; it should be 1")
class FirstAfterTakesWhatIsTooLarge(Handle):
    def first_after(self, size: int) -> int:
        return self.inner.last + 1 if size > 2048 else super().first_after(size)


@bad(r"first_after\(\) of a finished stream is 4; it should be 1")
class FirstAfterTakesWhatComesAfterTheEnd(Handle):
    def first_after(self, size: int) -> int:
        return self.inner.last + 1 if self.inner.finished else super().first_after(size)


@bad(r"first of a new stream is 0; it should be 1")
class FirstIsZero(Handle):
    @property
    def first(self) -> int:
        return 0


@bad(r"first while nothing was dropped is 2; it should be 1")
class FirstGrowsWithTheFirstEvent(Handle):
    @property
    def first(self) -> int:
        return self.inner.first + (self.inner.last > 0)


@bad(r"what can be read after event 2 was appended is \[\]; it should be \[b''\]")
class LosesEmptyEvents(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch([event for event in batch.events if event.data], batch.finished)


@bad(r"read\(0, 1\) returned nothing, though there is more")
class StoresAfterTheReturn(Later):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        return self.append_nowait(data, last=last)


@bad(r"what can be read after event 4 was appended is \[b'\?\?'\]")
class WantsText(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        return await super().append(data.decode("ascii", "replace").encode("ascii", "replace"), last=last)


@bad(r"the numbers of read\(0, 1\) is \[2\]; it should be \[1\]")
class NumbersAreShifted(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch([Event(event.seq + 1, event.data) for event in batch.events], batch.finished)


@bad(r"read\(0, 10\) returned bytearray\(b'one'\)|returned .*bytearray.*, which is not bytes")
class ReturnsByteArrays(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        arrays: list[Any] = [bytearray(event.data) for event in batch.events]
        events = [Event(event.seq, array) for event, array in zip(batch.events, arrays, strict=True)]
        return Batch(events, batch.finished)


@bad(r"which is no streamscope\.Event")
class ReturnsItsOwnEvents(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        own: list[Any] = [SimpleNamespace(seq=event.seq, data=event.data) for event in batch.events]
        return Batch(own, batch.finished)


@bad(r"append_nowait\(\) did not wake who is attached")
class AppendNowaitComesLate(Handle):
    """Keeps what is appended without waiting until the next event."""

    held: bytes | None = None

    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        if not (self.inner.finished or last or self.held):
            self.held = data
            return self.inner.last + 1
        return super().append_nowait(data, last=last)


@bad(r"the number that append_nowait\(\) returned is 0; it should be 1")
class AppendNowaitReturnsNoNumber(Handle):
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        return super().append_nowait(data, last=last) * 0


@bad(r"what a reader got \(.*\) is ")
class AppendOvertakesAppendNowait(Later):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        if self.ended or last or len(data) > 2048:
            return await super().append(data, last=last)
        self.taken += 1
        self.inner.append_nowait(data)
        return self.taken


@bad(r"read\(0, 1\) returned 10 events")
class IgnoresTheLimit(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        return await super().read(after, max(limit, 10))


@bad(r"read_nowait\(0, 1\) returned 10 events")
class ReturnsTooMuchWithoutWaiting(Handle):
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        return super().read_nowait(after, max(limit, 10))


@bad(r"read_nowait\(0, 1\) is \[b'1'\]; it should be \[b'0'\]")
class ReturnsOthersWithoutWaiting(Handle):
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        batch = super().read_nowait(after, limit)
        assert batch is not None
        return Batch([Event(event.seq, b"1") for event in batch.events], batch.finished)


@bad(r"read_nowait\(0, 1\) returned nothing, though there is more")
class SeesNothingWithoutWaiting(Handle):
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        return Batch([], finished=False)


@bad(r"finished of read_nowait\(0, 1000\) of 10 events is False; it should be True")
class SeesNoEndWithoutWaiting(Handle):
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        batch = super().read_nowait(after, limit)
        assert batch is not None
        return Batch(batch.events, finished=False)


@bad(r"read\(1, 1\) returned nothing, though there is more")
class ReturnsNothingNowAndThen(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch([], finished=False) if (after, limit) == (1, 1) and self.inner.last == 10 else batch


@bad(r"after finish\(\), a stream says that it is not finished")
class ForgetsThatItIsFinished(Handle):
    @property
    def finished(self) -> bool:
        return False


@bad(r"a new stream says that it is finished")
class IsFinishedWhileEmpty(Handle):
    @property
    def finished(self) -> bool:
        return self.inner.finished or not self.inner.last


@bad(r"the batch of a new stream is Batch\(events=\[\], finished=True\)")
class EmptyBatchesAreFinished(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch(batch.events, batch.finished or not batch.events)


@bad(r"append_nowait\(\) after finish\(\) should raise StreamClosedError, and raises nothing")
class AcceptsEventsAfterTheEnd(Handle):
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        if self.inner.finished:
            return self.inner.last
        return super().append_nowait(data, last=last)


@bad(r"append\(\) after finish\(\) should raise StreamClosedError, not ValueError")
class RaisesAnotherError(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        try:
            return await super().append(data, last=last)
        except StreamClosedError:
            raise ValueError(data) from None


@bad(r"StreamClosedError\.stream_id is ")
class BlamesAnotherStream(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        try:
            return await super().append(data, last=last)
        except StreamClosedError:
            raise StreamClosedError(StreamId.new()) from None


@bad(r"finished of read\(0, 1\) of 5 events is True; it should be False")
class FinishedAppliesToTheStream(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch(batch.events, self.inner.finished)


@bad(r"finished of read\(\d, \d\) of \d events is False; it should be True")
class FinishedComesInABatchOfItsOwn(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch(batch.events, batch.finished and not batch.events)


@bad(r"after append\(\) of the last event, a stream says that it is not finished")
class IgnoresThatItIsTheLast(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        return await super().append(data)


@bad(r"a reader got the last event before the end that came with it by append\(\)")
class EndsInASecondStep(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        seq = await super().append(data)
        if last:
            self.finish()
        return seq


@bad(r"after append_nowait\(\) of the last event, a stream says that it is not finished")
class IgnoresThatItIsTheLastNowait(Handle):
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        return super().append_nowait(data)


@bad(r"append\(\) did not wake who is attached")
class NeverWakes(Handle):
    def attach(self, wake: Callable[[], None]) -> None:
        pass


@bad(r"who was detached was woken")
class IgnoresDetach(Handle):
    def detach(self, wake: Callable[[], None]) -> None:
        pass


@bad(r"who was detached was woken")
class DetachesByIdentity(Handle):
    """A bound method is a new object each time, and only equal to the one before."""

    def detach(self, wake: Callable[[], None]) -> None:
        if any(known is wake for known in self.inner._wakes):  # type: ignore[attr-defined]
            self.inner.detach(wake)


@bad(r"finish\(\) did not wake who is attached")
class DoesNotWakeAtTheEnd(Handle):
    def finish(self) -> None:
        wakes, self.inner._wakes = self.inner._wakes, {}  # type: ignore[attr-defined]
        self.inner.finish()
        self.inner._wakes = wakes  # type: ignore[attr-defined]


@bad(r"append\(\) is not a checkpoint")
class AppendIsNoCheckpoint(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        return self.append_nowait(data, last=last)


@bad(r"append\(\) that is refused is not a checkpoint")
class RefusedAppendIsNoCheckpoint(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        if self.finished:
            return self.append_nowait(data, last=last)
        return await super().append(data, last=last)


@bad(r"read\(\) with something there is not a checkpoint")
class ReadIsNoCheckpoint(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        window = self.inner.window  # type: ignore[attr-defined]
        if window.last > after >= window.first - 1:
            events = window.after(after, limit)
            return Batch(events, window.finished and events[-1].seq == window.last)
        return await super().read(after, limit)


@bad(r"read\(\) with nothing there is not a checkpoint")
class ReadIsACheckpointOnlyIfThereIsSomething(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        if after == self.inner.last and not self.inner.finished:
            return Batch([], finished=False)
        return await super().read(after, limit)


@bad(r"find_stream\(\) is not a checkpoint")
class FindIsNoCheckpoint(Log):
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        if stream_id in self.inner._kept.sessions.get(session_id, {}):
            return self.handles[stream_id]
        return await super().find_stream(session_id, stream_id)


@bad(r"find_stream\(\) that is refused is not a checkpoint")
class RefusedFindIsNoCheckpoint(Log):
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        if stream_id not in self.inner._kept.sessions.get(session_id, {}):
            raise KeyError(stream_id)
        return await super().find_stream(session_id, stream_id)


@bad(r"after an append\(\) was cancelled|the numbers of|was not woken")
class CancelledAppendLeavesAHole(Handle):
    skipped = 0

    async def append(self, data: bytes, *, last: bool = False) -> int:
        self.skipped += 1
        seq = await super().append(data, last=last)
        self.skipped -= 1
        return seq + self.skipped


@bad(r"after an append\(\) of the last event was cancelled")
class CancelledAppendEndsTheStream(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        try:
            return await super().append(data, last=last)
        except trio.Cancelled:
            if last:
                self.finish()
            raise


@bad(r"two events got number \d+")
class NumbersAreTakenTwice(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        seq = self.inner.last + 1
        await super().append(data, last=last)
        return seq if self.inner.last < seq or self.inner.last < 3 else self.inner.last


@bad(r"two events (got|of one task, )|a stream that many have appended to|the numbers of the events")
class ConcurrentAppendsAreMixedUp(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        before = self.inner.last
        await trio.lowlevel.checkpoint()
        seq = await super().append(data, last=last)
        return seq if seq == before + 1 else 2 * before + 3 - seq


@bad(r"a stream that was finished during appends is")
class RefusesWhatItHasStored(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        seq = await super().append(data, last=last)
        if self.inner.finished and not last:
            raise StreamClosedError(self.inner.stream_id)  # type: ignore[attr-defined]
        return seq


@bad(r"41 events were to be more than the log keeps, but it keeps them all")
class DropsNothing(Log):
    def __init__(self) -> None:
        super().__init__()
        self.inner = MemoryEventLog(max_stream_bytes=2048)


@bad(r"the log keeps none of 41 events, not even the newest")
class DropsAll(Handle):
    @property
    def first(self) -> int:
        return self.inner.last + 1 if self.inner.first > 1 else 1


@bad(r"read\(0, 1\) of a stream whose first event is 2 should raise EventsExpiredError, and raises nothing")
class SkipsWhatWasDropped(Handle):
    async def read(self, after: int, limit: int) -> Batch:
        return await super().read(max(after, self.inner.first - 1), limit)


@bad(r"read_nowait\(0, 1\) of a stream whose first event is 2 has Batch")
class SkipsWhatWasDroppedWithoutWaiting(Handle):
    def read_nowait(self, after: int, limit: int) -> Batch | None:
        return super().read_nowait(max(after, self.inner.first - 1), limit)


@bad(r"append\(\) of an event that is too large should raise EventTooLargeError, and raises nothing")
class AcceptsAnything(Log):
    def __init__(self) -> None:
        super().__init__()
        self.inner = MemoryEventLog(max_events=40)


@bad(r"an event that is too large has ended the stream although it was refused")
class RefusedEventEndsTheStream(Handle):
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        try:
            return super().append_nowait(data, last=last)
        except EventTooLargeError:
            self.finish()
            raise


@bad(r"EventTooLargeError tells a bound of 4096 for an event of 2049 bytes")
class TellsAnotherBound(Handle):
    async def append(self, data: bytes, *, last: bool = False) -> int:
        try:
            return await super().append(data, last=last)
        except EventTooLargeError:
            raise EventTooLargeError("max_stream_bytes", 4096) from None


@bad(r"find_stream\(\) of another session's stream should raise UnknownStreamError, and raises nothing")
class FindsAcrossSessions(Log):
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await trio.lowlevel.checkpoint()
        handle = self.handles.get(stream_id)
        if handle is None or stream_id not in self.inner._kept.sessions.get(handle.session_id, {}):
            return await super().find_stream(session_id, stream_id)
        return handle


@bad(r"should raise UnknownStreamError, not KeyError")
class RaisesKeyError(Log):
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await trio.lowlevel.checkpoint()
        self.inner._kept.sessions[session_id][stream_id]
        return self.handles[stream_id]


@bad(r"open_stream\(\) of an open stream should raise ValueError, and raises nothing")
class OpensTwice(Log):
    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        if stream_id in self.inner._kept.sessions.get(session_id, {}):
            return self.handles[stream_id]
        return super().open_stream(session_id, stream_id)


@bad(r"open_stream\(\) of a stream that has ended should raise ValueError, and raises nothing")
class OpensAgainWhatHasEnded(Log):
    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        if stream_id in self.handles and self.handles[stream_id].finished:
            self.handles[stream_id].discard()
        return super().open_stream(session_id, stream_id)


@bad(r"first, last and finished of a stream that was found is \(1, 0, False\)")
class FindsAFreshHandle(Log):
    async def find_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        await super().find_stream(session_id, stream_id)
        return MemoryEventLog().open_stream(session_id, stream_id)


@bad(r"find_stream\(\) of a stream that was discarded should raise UnknownStreamError, and raises nothing")
class KeepsWhatWasDiscarded(Handle):
    def discard(self) -> None:
        # So that only the finding is wrong, and not the statistics.
        if not self.log.handles.get(self.inner.stream_id):  # type: ignore[attr-defined]
            self.inner.discard()


@bad(r"a stream that was discarded under its reader is \[\]|a reader .* was not woken")
class EmptiesWhatWasDiscarded(Handle):
    gone = False

    def discard(self) -> None:
        self.gone = True
        super().discard()

    async def read(self, after: int, limit: int) -> Batch:
        batch = await super().read(after, limit)
        return Batch([], self.finished) if self.gone else batch


@bad(r"find_stream\(\) of a stream of a session that was discarded should raise UnknownStreamError")
class DiscardsOneStreamOfASession(Log):
    def discard_session(self, session_id: SessionId) -> None:
        for stream in list(self.inner._kept.sessions.get(session_id, {}).values())[:1]:
            stream.discard()


@bad(r"no stream .* in this session")
class DiscardsAllSessions(Log):
    def discard_session(self, session_id: SessionId) -> None:
        for known in list(self.inner._kept.sessions):
            self.inner.discard_session(known)


@bad(r"nobody knows this session")
class DiscardsNoUnknownSession(Log):
    def discard_session(self, session_id: SessionId) -> None:
        if session_id not in {handle.session_id for handle in self.handles.values()}:
            raise RuntimeError("nobody knows this session")
        super().discard_session(session_id)


@bad(r"statistics\(\) of four events in two streams is EventLogStatistics\(")
class CountsNoBytes(Log):
    def statistics(self) -> Any:
        statistics = self.inner.statistics()
        return type(statistics)(
            streams=statistics.streams,
            finished_streams=statistics.finished_streams,
            events=statistics.events,
            bytes=statistics.events,
        )


@bad(r"statistics\(\) after two of three streams have ended is EventLogStatistics\(")
class CountsOpenStreamsOnly(Log):
    def statistics(self) -> Any:
        statistics = self.inner.statistics()
        return type(statistics)(
            streams=statistics.streams - statistics.finished_streams,
            finished_streams=statistics.finished_streams,
            events=statistics.events,
            bytes=statistics.bytes,
        )


@bad(r"a stream with a will that has ended is \[b'will', b'1'")
class AppendsTheWillAtOnce(Handle):
    def set_will(self, events: Sequence[bytes]) -> None:
        for event in events:
            self.inner.append_nowait(event)


@bad(r"a stream that got a will after its end is \[b'1', b'2', b'too late'\]")
class AppendsTheWillAfterTheEnd(Handle):
    def set_will(self, events: Sequence[bytes]) -> None:
        if self.inner.finished:
            self.inner.window.append(events[0])  # type: ignore[attr-defined]


@bad(r"nobody can have a will")
class RefusesWills(Handle):
    def set_will(self, events: Sequence[bytes]) -> None:
        raise RuntimeError("nobody can have a will")


class Saving(Log):
    """A good log that keeps sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[SessionId, SavedSession] = {}

    def save_session(self, session: SavedSession) -> None:
        self.saved[session.session_id] = session

    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        await trio.lowlevel.checkpoint()
        return self.saved.get(session_id)

    def discard_session(self, session_id: SessionId) -> None:
        super().discard_session(session_id)
        self.saved.pop(session_id, None)


async def test_a_log_that_keeps_sessions_is_good(autojump_clock):
    await check(Saving)


@bad(r"find_session\(\) is not a checkpoint")
class FindSessionIsNoCheckpoint(Saving):
    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        return self.saved.get(session_id)


@bad(r"the session that find_session\(\) found is SavedSession\(")
class KeepsTheFirstStateOfASession(Saving):
    def save_session(self, session: SavedSession) -> None:
        self.saved.setdefault(session.session_id, session)


@bad(r"found a session only once of two times that it was saved")
class KeepsASessionOnce(Saving):
    def save_session(self, session: SavedSession) -> None:
        if self.saved.pop(session.session_id, None) is None:
            super().save_session(session)


@bad(r"find_session\(\) found (another session than the one saved|a session that never was)")
class FindsAnySession(Saving):
    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        await super().find_session(session_id)
        return next(iter(self.saved.values()), None)


@bad(r"find_session\(\) found a session that was discarded")
class KeepsDiscardedSessions(Saving):
    def discard_session(self, session_id: SessionId) -> None:
        self.inner.discard_session(session_id)


@bad(r"stream 15 of 16|the number that append\(\) returned is|should be")
class MixesStreams(Log):
    """Has room for fifteen streams, and lets the next ones share the last."""

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        handle = super().open_stream(session_id, stream_id)
        mine = [known for known in self.handles.values() if known.session_id == session_id]
        if len(mine) > 15:
            mine[-1].inner = mine[14].inner
        return handle


@pytest.mark.parametrize("name", BAD)
async def test_what_is_wrong_is_found_and_named(name, autojump_clock):
    make_log, message = BAD[name]
    with pytest.raises((AssertionError, LookupError, RuntimeError), match=message) as caught:
        await check(make_log)
    # Which check it was, and of which log.
    assert any(note.startswith("in check_") and make_log.__name__ in note for note in caught.value.__notes__)


@pytest.mark.parametrize("option", ["overflow", "too_large"])
async def test_options_are_used(option, autojump_clock):
    options: dict[str, Any] = {"overflow": [b"x"]} if option == "overflow" else {"too_large": b"x"}
    with pytest.raises(AssertionError):
        await check_event_log(MemoryEventLog, **options)


def test_it_needs_no_test_runner_and_no_assert_statement():
    program = """
import trio
from streamscope import MemoryEventLog
from streamscope.testing import check_event_log

assert False, "this is to be run with -O"
trio.run(check_event_log, MemoryEventLog)
print("the good one passes")
try:
    trio.run(lambda: check_event_log(MemoryEventLog, too_large=b"x"))
except AssertionError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-O", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "the good one passes",
        "append() of an event that is too large should raise EventTooLargeError, and raises nothing",
    ]
