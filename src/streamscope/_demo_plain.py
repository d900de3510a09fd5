"""The demo's display for a pipe: a line for each thing that happens, and the tree from time to time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import trio

from ._demo_board import Board, Entry, Row
from ._demo_checks import Claim

_POLL: Final = 0.05
_SNAPSHOT_EVERY: Final = 1.5


async def show_plain(board: Board) -> None:
    """Print what happens until the demo has finished."""
    printed, next_snapshot = 0, _SNAPSHOT_EVERY
    while True:
        for entry in board.entries[printed:]:
            print(line(entry), flush=True)
        printed = len(board.entries)
        if board.finished:
            return
        if board.elapsed >= next_snapshot:
            next_snapshot = board.elapsed + _SNAPSHOT_EVERY
            print(*snapshot(board), sep="\n", flush=True)
        await trio.sleep(_POLL)


def line(entry: Entry) -> str:
    """Write an entry as one line."""
    if entry.mark == "act":
        return f"\n{entry.at:6.2f}  {entry.text}\n"
    reason = f": {entry.reason}" if entry.reason else ""
    return f"{entry.at:6.2f}  {entry.mark:6} {entry.text}{reason}"


def snapshot(board: Board) -> Iterator[str]:
    """Write the tree as it is now."""
    header = f"          {'':12} {'what':18} {'age':>6} {'idle':>6} {'events':>6}  {'reader':10} peer"
    yield f"\n{header}"
    yield from (_tree_line(row) for row in board.rows())
    yield ""


def _tree_line(row: Row) -> str:
    events = "" if row.events is None else row.events
    times = f"{row.age:5.1f}s {row.idle:5.1f}s"
    return f"          {row.branch + row.name:12} {row.kind:18} {times} {events:>6}  {row.readers:10} {row.peer}"


def summary(board: Board) -> Iterator[str]:
    """Write what was checked, and what came of it."""
    checks = board.checks
    yield ""
    for claim in Claim:
        outcome = checks.outcomes.get(claim)
        if outcome is None or not outcome.passed:
            yield f"{'NOT CHECKED' if outcome is None else 'FAILED'}: {claim.value}"
        if outcome is not None and not outcome.passed:
            yield f"    got    {outcome.got!r}"
            yield f"    wanted {outcome.wanted!r}"
    seen = board.sessions.statistics()
    yield (
        f"{checks.count} of {len(Claim)} checks passed in {board.elapsed:.1f} s, over {seen.opened_sessions} sessions, "
        f"{seen.streams.opened_streams} streams and {seen.streams.sent_events} events."
    )
