"""An event log of one's own, as plain as it can be, and the check that it must pass."""

from collections.abc import Callable, Sequence

import trio

from streamscope import (
    Event,
    EventLogStatistics,
    SessionId,
    StreamClosedError,
    StreamId,
    UnknownStreamError,
)
from streamscope.abc import Batch, EventLog, SavedSession, StreamLog
from streamscope.testing import check_event_log


class ListEventLog(EventLog):
    """Keeps all events until their session is over. It has no bounds: do not run it."""

    def __init__(self) -> None:
        self._sessions: dict[SessionId, dict[StreamId, ListStreamLog]] = {}

    @property
    def durable(self) -> bool:
        return False

    def open_stream(self, session_id: SessionId, stream_id: StreamId) -> StreamLog:
        streams = self._sessions.setdefault(session_id, {})
        if stream_id in streams:
            raise ValueError(f"the log has stream {stream_id} already")
        stream = streams[stream_id] = ListStreamLog(stream_id, streams)
        return stream

    async def find_stream(
        self,
        session_id: SessionId,
        stream_id: StreamId,
    ) -> StreamLog:
        await trio.lowlevel.checkpoint()
        try:
            return self._sessions[session_id][stream_id]
        except KeyError:
            raise UnknownStreamError(stream_id) from None

    def discard_session(self, session_id: SessionId) -> None:
        self._sessions.pop(session_id, None)

    def save_session(self, session: SavedSession) -> None:
        """Do nothing: a log in memory has nothing to restore a session from."""

    async def find_session(self, session_id: SessionId) -> SavedSession | None:
        await trio.lowlevel.checkpoint()
        return None

    def statistics(self) -> EventLogStatistics:
        sessions = self._sessions.values()
        streams = [stream for session in sessions for stream in session.values()]
        return EventLogStatistics(
            streams=len(streams),
            finished_streams=sum(stream.finished for stream in streams),
            events=sum(stream.last for stream in streams),
            bytes=sum(stream.size for stream in streams),
        )


class ListStreamLog(StreamLog):
    """One stream's events, in a list that only grows."""

    def __init__(
        self,
        stream_id: StreamId,
        siblings: dict[StreamId, "ListStreamLog"],
    ) -> None:
        self._stream_id = stream_id
        self._siblings = siblings
        self._events: list[bytes] = []
        self._finished = False
        self._wakes: set[Callable[[], None]] = set()

    @property
    def first(self) -> int:
        return 1

    @property
    def last(self) -> int:
        return len(self._events)

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def size(self) -> int:
        return sum(len(data) for data in self._events)

    def first_after(self, size: int) -> int:
        return 1

    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        if self._finished:
            raise StreamClosedError(self._stream_id)
        self._events.append(data)
        self._finished = last
        self._wake()
        return self.last

    async def append(self, data: bytes, *, last: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        return self.append_nowait(data, last=last)

    def finish(self) -> None:
        self._finished = True
        self._wake()

    def discard(self) -> None:
        self._siblings.pop(self._stream_id, None)

    def set_will(self, events: Sequence[bytes]) -> None:
        """Do nothing: a log in memory ends with the process."""

    async def read(self, after: int, limit: int) -> Batch:
        await trio.lowlevel.checkpoint()
        return self.read_nowait(after, limit)

    def read_nowait(self, after: int, limit: int) -> Batch:
        data = self._events[after : after + limit]
        events = [Event(seq, one) for seq, one in enumerate(data, after + 1)]
        return Batch(events, self._finished and after + len(events) == self.last)

    def attach(self, wake: Callable[[], None]) -> None:
        self._wakes.add(wake)

    def detach(self, wake: Callable[[], None]) -> None:
        self._wakes.discard(wake)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()


async def test_list_event_log() -> None:
    await check_event_log(ListEventLog)


if __name__ == "__main__":
    trio.run(test_list_event_log)
    print("passed: test_list_event_log")
