"""The suite that every event log must pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..abc import EventLog
from ._bench import Bench
from ._check_appends import APPEND_CHECKS, check_too_large
from ._check_log import LOG_CHECKS
from ._check_reads import READ_CHECKS, check_overflow


async def check_event_log(
    make_log: Callable[[], EventLog],
    *,
    overflow: Sequence[bytes] = (),
    too_large: bytes | None = None,
) -> None:
    """Make sure that an event log keeps what `streamscope.abc.EventLog` and `streamscope.abc.StreamLog` promise.

    Run it under Trio, with a real clock if the log does input or output. It
    takes a few hundred small events; none of its streams has more than 40, of
    2 kB in all, and there are never more than 20 streams at once. The log must
    have room for these. ::

        async def test_my_log():
            await check_event_log(MyLog, overflow=[b"x"] * 101)  # as it keeps 100 per stream

    Args:
        make_log: Called for each check. It may return a new log each time or always the same one:
            the checks use new sessions, and discard them.
        overflow: Events that are more than the log keeps of one stream, so that it drops the oldest of
            them, but not all. Leave it out for a log that drops nothing.
        too_large: An event that is larger than all that the log may keep. Leave it out where there is none.

    Raises:
        AssertionError: The log broke a promise; the message says which.
    """
    for check in (*READ_CHECKS, *APPEND_CHECKS, *LOG_CHECKS):
        with Bench(make_log(), check.__name__) as bench:
            await check(bench)
    if overflow:
        with Bench(make_log(), check_overflow.__name__) as bench:
            await check_overflow(bench, overflow)
    if too_large is not None:
        with Bench(make_log(), check_too_large.__name__) as bench:
            await check_too_large(bench, too_large)
