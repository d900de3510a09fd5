"""A log that passes everything on is a log."""

from __future__ import annotations

from streamscope import MemoryEventLog, SessionId, StreamId
from streamscope._forward import ForwardingEventLog
from streamscope.testing import check_event_log


async def test_it_is_one():
    await check_event_log(lambda: ForwardingEventLog(MemoryEventLog()))


async def test_it_is_as_durable_and_hands_out_what_the_other_has():
    inner = MemoryEventLog()
    outer = ForwardingEventLog(inner)
    assert outer.durable is inner.durable is False
    session_id, stream_id = SessionId("s1"), StreamId.new()
    stream = outer.open_stream(session_id, stream_id)
    assert await inner.find_stream(session_id, stream_id) is stream
    outer.discard_session(session_id)
    assert inner.statistics().streams == 0
