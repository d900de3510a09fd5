from __future__ import annotations

import math

import pytest

from streamscope import EventLogStatistics
from streamscope.log import open_sqlite_log
from streamscope.testing import check_event_log


@pytest.mark.parametrize(
    ("options", "overflow", "too_large"),
    [
        ({"max_events": 40}, [b"x"] * 41, None),
        ({"max_stream_bytes": 2048}, [bytes(1000)] * 3, bytes(2049)),
        ({"max_bytes": 65536, "max_stream_bytes": 65536}, [bytes(30_000)] * 3, bytes(65537)),
        ({"max_events": math.inf, "max_stream_bytes": math.inf, "max_bytes": math.inf}, [], None),
        ({"max_recent_bytes": 1, "max_pending": 8, "max_events": 40}, [b"x"] * 41, None),
    ],
    ids=["count", "stream bytes", "bytes", "unbounded", "nothing in memory"],
)
async def test_is_an_event_log(tmp_path, options, overflow, too_large):
    async with open_sqlite_log(tmp_path / "log.db", **options) as log:
        await check_event_log(lambda: log, overflow=overflow, too_large=too_large)
        assert log.statistics() == EventLogStatistics(streams=0, finished_streams=0, events=0, bytes=0)
