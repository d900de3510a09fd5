"""What it costs to end a session with 10,000 running streams, beside cancelling as many bare tasks.

The session is closed as a DELETE request closes it: `Session.close`, then wait
until it has closed. Each of its streams is a task with a scope of its own; each
is cancelled with a reason, unwinds, is taken out of the registry and of the
event log, and sees `SessionClosedError`. The floor is as many sleeping tasks in
one nursery, ended by cancelling that nursery, once, for all.
"""

from __future__ import annotations

import gc
import sys
import time
from functools import partial

import trio
import trio.testing
from _timing import Subject, judge, print_table, quick, take_turns

from streamscope import CloseReason, SessionManager, Stream, open_session_manager

STREAMS = 10_000
BOUND = 3.0
PAUSED = "gc paused: "


async def end_session(sessions: SessionManager) -> float:
    """Measure streamscope: end a session with its streams."""

    async def body(_: Stream) -> None:
        await trio.sleep_forever()

    session = await sessions.start_session()
    for _ in range(STREAMS):
        await session.start_stream(body)
    await trio.testing.wait_all_tasks_blocked()
    assert sessions.statistics().streams.open_streams == STREAMS
    begin = time.process_time()
    session.close(CloseReason.TERMINATED)
    await session.wait_closed()
    # The session's own task ends right after its streams.
    await trio.testing.wait_all_tasks_blocked()
    taken = time.process_time() - begin
    assert sessions.statistics().streams.open_streams == 0
    assert sessions.statistics().open_sessions == 0
    assert not sessions.nursery.child_tasks
    return taken


async def end_nursery() -> float:
    """Measure the floor: cancel a nursery with its tasks."""
    async with trio.open_nursery() as nursery:
        for _ in range(STREAMS):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        begin = time.process_time()
        nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    return time.process_time() - begin


async def end_scopes() -> float:
    """Measure what of the difference is the price of being able to end each alone: a scope for each task."""

    async def body(scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()

    scopes = [trio.CancelScope() for _ in range(STREAMS)]
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(body, scope)
        await trio.testing.wait_all_tasks_blocked()
        begin = time.process_time()
        for scope in scopes:
            scope.cancel(reason="session ended: terminated")
    await trio.testing.wait_all_tasks_blocked()
    return time.process_time() - begin


def paused(subject: Subject) -> Subject:
    """Return the same subject, with Python's garbage collector paused."""

    async def measure() -> float:
        gc.disable()
        try:
            return await subject()
        finally:
            gc.enable()

    return measure


async def measure(sessions: SessionManager, rounds: int) -> bool:
    subjects: dict[str, Subject] = {
        "tasks in a bare nursery, which is cancelled": end_nursery,
        "tasks in bare scopes, each of which is cancelled": end_scopes,
        "streams of a session, which is closed": partial(end_session, sessions),
    }
    floor, _, streams = subjects
    paused_subjects = {PAUSED + name: paused(subject) for name, subject in subjects.items()}
    taken = await take_turns("ending 10,000 streams", subjects | paused_subjects, rounds)
    print_table(
        f"Ending {STREAMS:,} of them, CPU time in µs for each, and how many times the first line's: "
        f"median of {rounds} rounds",
        ("", "gc running", "ratio", "gc paused", "ratio"),
        [
            (
                name,
                f"{taken.median(name) / STREAMS * 1e6:.1f}",
                f"{taken.ratio(name, floor):.2f}",
                f"{taken.median(PAUSED + name) / STREAMS * 1e6:.1f}",
                f"{taken.ratio(PAUSED + name, PAUSED + floor):.2f}",
            )
            for name in subjects
        ],
    )
    print(
        "\nCancelling makes so many objects at once that Python's garbage collector looks at all that there are, "
        "and finds\nnothing: perhaps not at all, perhaps twice, depending on what was made before. "
        "So the promise is about the rest."
    )
    ratio = taken.ratio(PAUSED + streams, PAUSED + floor)
    print()
    return judge(
        f"ending a stream costs at most {BOUND:g} times as much as cancelling a bare task: {ratio:.2f}",
        ratio <= BOUND,
    )


async def run(rounds: int) -> bool:
    kept = False
    async with open_session_manager() as sessions:
        kept = await measure(sessions, rounds)
    return kept  # noqa: RET504 - a context manager may end its block early, as far as a type checker knows


def main() -> None:
    kept = trio.run(run, 3 if quick(__doc__) else 9)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
