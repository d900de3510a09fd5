"""What an event log keeps, in plain lists, and stories to compare logs by."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from typing import Any

import attrs
import pytest
import trio
from hypothesis import strategies as st

from streamscope import (
    EventLogStatistics,
    EventsExpiredError,
    EventTooLargeError,
    SessionId,
    StreamClosedError,
    StreamId,
    UnknownStreamError,
)
from streamscope.abc import EventLog, StreamLog

S1, S2 = SessionId("s1"), SessionId("s2")


@attrs.define(eq=False)
class ModelStream:
    stream_id: StreamId
    session_id: SessionId
    handles: list[StreamLog]
    """One of each log."""
    kept: bool = True
    finished_at: float | None = None
    dropped: int = 0
    appended: list[bytes] = attrs.Factory(list)

    @property
    def events(self) -> list[bytes]:
        return self.appended[self.dropped :]

    @property
    def size(self) -> int:
        return sum(map(len, self.events))


class Model:
    """What the docstring says, in plain lists that are searched as a whole."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.streams: list[ModelStream] = []
        self.by_append: list[ModelStream] = []
        self.by_end: list[ModelStream] = []

    @property
    def kept(self) -> list[ModelStream]:
        return [stream for stream in self.streams if stream.kept]

    @property
    def finished(self) -> list[ModelStream]:
        return [stream for stream in self.by_end if stream.kept]

    @property
    def size(self) -> int:
        return sum(stream.size for stream in self.kept)

    def first_after(self, stream: ModelStream, size: int) -> int:
        """What would be the oldest event after an append: a copy of everything takes it."""
        if stream.finished_at is not None or size > self.options["max_stream_bytes"]:
            return stream.dropped + 1
        copy = deepcopy(self, {id(handle): handle for each in self.streams for handle in each.handles})
        taker = copy.streams[self.streams.index(stream)]
        copy.append(taker, bytes(size))
        return taker.dropped + 1

    def expire(self, now: float) -> None:
        for stream in self.finished:
            assert stream.finished_at is not None
            if now - stream.finished_at >= self.options["resume_window"]:
                stream.kept = False

    def append(self, stream: ModelStream, data: bytes) -> None:
        stream.appended.append(data)
        while len(stream.events) > self.options["max_events"] or stream.size > self.options["max_stream_bytes"]:
            stream.dropped += 1
        if stream.kept:
            self.by_append = [other for other in self.by_append if other is not stream] + [stream]
            while self.size > self.options["max_bytes"]:
                self.make_room(stream)

    def make_room(self, stream: ModelStream) -> None:
        if self.finished:
            self.finished[0].kept = False
        elif len(stream.events) > 1:
            stream.dropped += 1
        else:
            silent = next(other for other in self.by_append if other.kept and other.events)
            silent.dropped += 1

    def finish(self, stream: ModelStream, now: float) -> None:
        if stream.finished_at is None:
            stream.finished_at = now
            if stream.kept:
                self.by_end.append(stream)
                if len(self.finished) > self.options["max_finished"]:
                    self.finished[0].kept = False
                self.expire(now)


number = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("open"), st.sampled_from([S1, S2])),
    st.tuples(st.just("append"), number, st.integers(0, 9), st.booleans()),
    st.tuples(st.just("append"), number, st.integers(0, 9), st.just(False)),
    st.tuples(st.just("finish"), number),
    st.tuples(st.just("discard"), number),
    st.tuples(st.just("discard session"), st.sampled_from([S1, S2])),
    st.tuples(st.just("find"), number, st.sampled_from([S1, S2])),
    st.tuples(st.just("sleep"), st.sampled_from([1.0, 4.0])),
)
options = st.fixed_dictionaries(
    {
        "max_events": st.integers(1, 4),
        "max_stream_bytes": st.integers(1, 12),
        "max_bytes": st.integers(12, 30),
        "max_finished": st.integers(1, 3),
        "resume_window": st.sampled_from([0.5, 5.0, math.inf]),
    }
)


class Agreement:
    """Tells the same story to several logs and to the model, and asks whether they agree.

    Args:
        logs: The logs.
        options: Their bounds.
        sleep: Lets time pass.
    """

    def __init__(
        self, logs: Sequence[EventLog], options: dict[str, Any], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.logs = logs
        self.model = Model(options)
        self._sleep = sleep

    async def take(self, step: tuple[Any, ...]) -> None:
        model = self.model
        match step:
            case "open", session_id:
                stream_id = StreamId.new()
                handles = [log.open_stream(session_id, stream_id) for log in self.logs]
                model.streams.append(ModelStream(stream_id, session_id, handles))
                model.expire(trio.current_time())
            case "discard session", session_id:
                for log in self.logs:
                    log.discard_session(session_id)
                for stream in model.kept:
                    stream.kept = stream.session_id != session_id
            case "sleep", seconds:
                await self._sleep(seconds)
            case name, which, *rest if model.streams:
                # The newest streams, so that a story has more to tell of each of them.
                await self.take_with_stream(name, model.streams[-1 - which % len(model.streams)], rest)

    async def take_with_stream(self, name: str, stream: ModelStream, rest: list[Any]) -> None:
        model = self.model
        match name, *rest:
            case "append", size, last:
                await self.append(stream, bytes(size), last=last)
            case ("finish",):
                for handle in stream.handles:
                    handle.finish()
                model.finish(stream, trio.current_time())
            case ("discard",):
                for handle in stream.handles:
                    handle.discard()
                stream.kept = False
            case "find", session_id:
                model.expire(trio.current_time())
                for log, handle in zip(self.logs, stream.handles, strict=True):
                    if stream.kept and stream.session_id == session_id:
                        assert await log.find_stream(session_id, stream.stream_id) is handle
                    else:
                        with pytest.raises(UnknownStreamError):
                            await log.find_stream(session_id, stream.stream_id)

    async def append(self, stream: ModelStream, data: bytes, *, last: bool) -> None:
        refusal: type[Exception] | None = None
        first_after = self.model.first_after(stream, len(data))
        if stream.finished_at is not None:
            refusal = StreamClosedError
        elif len(data) > self.model.options["max_stream_bytes"]:
            refusal = EventTooLargeError
        else:
            self.model.append(stream, data)
            if last:
                self.model.finish(stream, trio.current_time())
        for handle in stream.handles:
            # Which ones go before those that come is known before the first log takes it.
            assert handle.first_after(len(data)) == first_after
            if refusal is None:
                assert handle.append_nowait(data, last=last) == len(stream.appended)
            else:
                with pytest.raises(refusal):
                    handle.append_nowait(data, last=last)
                with pytest.raises(refusal):
                    await handle.append(data, last=last)

    async def check(self) -> None:
        model = self.model
        for stream in model.streams:
            for handle in stream.handles:
                assert (handle.first, handle.last) == (stream.dropped + 1, len(stream.appended))
                assert handle.finished is (stream.finished_at is not None)
                batch = await handle.read(stream.dropped, 10_000)
                assert [event.data for event in batch.events] == stream.events
                assert batch.finished is handle.finished
                if stream.dropped:
                    with pytest.raises(EventsExpiredError):
                        await handle.read(stream.dropped - 1, 1)
        for log in self.logs:
            assert log.statistics() == EventLogStatistics(
                streams=len(model.kept),
                finished_streams=len(model.finished),
                events=sum(len(stream.events) for stream in model.kept),
                bytes=model.size,
            )
