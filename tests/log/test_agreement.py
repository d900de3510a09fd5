"""All logs, and plain lists, agree about the same story."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from streamscope import MemoryEventLog
from streamscope.log import open_sqlite_log
from tests import event_logs
from tests.event_logs import S1, Agreement
from tests.log.helpers import settle

SMALL = {"max_events": 2, "max_stream_bytes": 12, "max_bytes": 12, "max_finished": 2, "resume_window": 5.0}
OPEN, APPEND, END = ("open", S1), ("append", 0, 5, False), ("append", 0, 5, True)


def play(options: dict[str, Any], recent: int, story: list[tuple[Any, ...]]) -> None:
    clock = MockClock()

    async def sleep(seconds: float) -> None:  # noqa: ASYNC124 - passes in virtual time alone
        clock.jump(seconds)

    async def main(path: Path) -> None:
        async with open_sqlite_log(path, max_recent_bytes=recent, **options) as sqlite:
            agreement = Agreement([MemoryEventLog(**options), sqlite], options, sleep)
            for step in story:
                await agreement.take(step)
                # What is stored later counts later, so the clock stands still until then.
                await settle(sqlite)
            await agreement.check()

    with tempfile.TemporaryDirectory() as directory:
        trio.run(main, Path(directory) / "log.db", clock=clock)


@settings(max_examples=25)
@given(event_logs.options, st.sampled_from([1, 10, 1000]), st.lists(event_logs.steps, max_size=25))
@example(SMALL, 1, [OPEN, END, ("sleep", 4.0), ("sleep", 1.0), OPEN, APPEND])
@example(SMALL, 1, [OPEN, APPEND, OPEN, APPEND, APPEND, APPEND, ("discard", 0), APPEND, ("discard session", S1)])
def test_all_logs_agree(options, recent, story):
    play(options, recent, story)


@pytest.mark.parametrize("recent", [1, 2**20])
def test_all_logs_agree_about_many_events(recent):
    # More than are dropped from the database at once.
    options = {**SMALL, "max_events": 50, "max_stream_bytes": 2000, "max_bytes": 4000}
    play(options, recent, [OPEN, *[APPEND] * 20, OPEN, *[("append", which % 2, 5, False) for which in range(230)]])
