"""What the scripts beside this file share: rounds that take turns, medians, tables, progress.

Figures are the CPU time of the process: a busy machine changes it less than the
time on the wall. It changes it all the same, by a factor of two and more, so
what is compared is measured in turns, round by round, and a ratio is the median
of the rounds' ratios. Only ratios can be compared between two runs.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, final

Subject = Callable[[], Awaitable[float]]
"""Measures something once, and returns seconds of CPU time."""

_PATIENCE: Final = 3.0
"""Seconds until a script says how far it is, and between two such lines."""


def quick(description: str | None) -> bool:
    """Read the command line; return whether a short run is wanted, which shows the same with less certainty."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="measure less, in a few seconds")
    return bool(parser.parse_args().quick)


@final
class Progress:
    """Says on stderr how far a part of a script is, if that takes longer than a few seconds.

    Args:
        what: The part.
        total: Its steps.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._said = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Count steps as done."""
        self._done += steps
        if time.monotonic() - self._said > _PATIENCE:
            self._said = time.monotonic()
            print(f"{self._what}: {self._done:,} of {self._total:,}", file=sys.stderr, flush=True)


@final
class Rounds:
    """The seconds that each subject took, round by round.

    Args:
        seconds: For each subject, one figure per round.
    """

    def __init__(self, seconds: Mapping[str, Sequence[float]]) -> None:
        self._seconds = seconds

    def median(self, name: str) -> float:
        """Return a subject's median."""
        return statistics.median(self._seconds[name])

    def worst(self, name: str) -> float:
        """Return a subject's largest figure."""
        return max(self._seconds[name])

    def ratio(self, name: str, floor: str) -> float:
        """Return how many times as much one subject took as another, as the median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self._seconds[name], self._seconds[floor], strict=True))


async def take_turns(what: str, subjects: Mapping[str, Subject], rounds: int, *, collect: bool = True) -> Rounds:
    """Measure each subject once in each round, after one round that does not count.

    Args:
        what: The name of it all, for whoever waits.
        subjects: What is measured, by name.
        rounds: How often.
        collect: Whether garbage is collected before each, so that none pays for another's.
    """
    progress = Progress(what, rounds)
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        await subject()
    for turn in range(rounds):
        # What runs first in a round may run better or worse for it, so that changes too.
        names = list(subjects)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        for name in names:
            if collect:
                gc.collect()
            seconds[name].append(await subjects[name]())
        progress.advance()
    return Rounds(seconds)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    print(f"\n{title}\n")
    print(line(header))
    print(line(["-" * width for width in widths]))
    for row in rows:
        print(line(row))


def judge(promise: str, kept: bool) -> bool:  # noqa: FBT001 - it is what is judged
    """Print whether a promise was kept, and return it."""
    print(f"{'Kept' if kept else 'BROKEN'}: {promise}", flush=True)
    return kept
