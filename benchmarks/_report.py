"""What the scripts that compare servers share: their options, their rounds, and the files that hold their results."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeVar, final

import attrs
from _servers import CORES, HERE
from _timing import Progress, print_table

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_PACKAGES: Final = ("streamscope", "trio", "mcp", "httptools", "uvicorn", "uvloop", "hypercorn", "fastmcp")


def arguments(description: str | None, *, seconds: float) -> argparse.ArgumentParser:
    """Return a parser of the options that all of these scripts have.

    Args:
        description: The script's docstring.
        seconds: How long one measurement takes, unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often all are measured in turn")
    parser.add_argument("--seconds", type=float, default=seconds, help="how long one measurement takes")
    parser.add_argument("--only", type=lambda names: names.split(","), help="the servers, by name, with commas")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="where the results are written")
    parser.add_argument("--quick", action="store_true", help="measure less: 2 rounds of half a second")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line."""
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 0.5
    return options


def take_rounds(what: str, subjects: Mapping[K, Callable[[], T]], rounds: int) -> dict[K, list[T]]:
    """Measure each subject once in each round, after one round that does not count.

    Args:
        what: The name of it all, for whoever waits.
        subjects: What is measured, by name.
        rounds: How often.
    """
    progress = Progress(what, (rounds + 1) * len(subjects))
    taken: dict[K, list[T]] = {name: [] for name in subjects}
    for turn in range(rounds + 1):
        # What runs first in a round may run better or worse for it, so that changes.
        names = list(subjects)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        for name in names:
            result = subjects[name]()
            if turn:
                taken[name].append(result)
            progress.advance()
    return taken


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """Return how many times as much the former took as the latter, as the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(some, others, strict=True))


@final
@attrs.frozen
class Promise:
    """A bound on a ratio of two costs, or on something in a unit, and what was measured."""

    text: str
    measured: float
    bound: float
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether it was kept."""
        return self.measured <= self.bound

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of a table."""
        return self.text, self._write(self.bound), self._write(self.measured), "kept" if self.kept else "broken"

    def _write(self, value: float) -> str:
        if self.unit:
            return f"{value:,.3g} {self.unit}"
        return f"1/{1 / value:.3g}" if value < 1 else f"{value:.3g}"


@final
class Results:
    """The files that a script writes: its figures as JSON, its tables as CSV, its plots as SVG.

    Args:
        directory: Where they go.
        name: How their names begin.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        directory.mkdir(parents=True, exist_ok=True)

    def figures(self, options: argparse.Namespace, results: Mapping[str, Any]) -> None:
        """Write all that was measured, and on what."""
        settings = {name: value for name, value in vars(options).items() if name not in {"output", "quick"}}
        whole = {"environment": environment(), "settings": settings, **results}
        self._write("json", json.dumps(whole, indent=1, default=attrs.asdict) + "\n")
        self._write_table("environment", [*environment().items(), ("rounds", options.rounds)])

    def table(self, part: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, and write it."""
        print_table(title, header, rows)
        self._write_table(part, [header, *rows])

    def plot(self, part: str, svg: str) -> None:
        """Write a plot."""
        self._write(f"{part}.svg", svg)

    def promises(self, promises: Sequence[Promise], title: str = "Server CPU time, as a ratio") -> bool:
        """Print and write what was promised; return whether all of it was kept."""
        rows = [promise.cells() for promise in promises]
        if rows:
            self.table("promises", title, ("", "at most", "measured", ""), rows)
        return all(promise.kept for promise in promises)

    def _write_table(self, part: str, rows: Sequence[Sequence[object]]) -> None:
        with self._path(f"{part}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _write(self, part: str, text: str) -> None:
        self._path(part).write_text(text)

    def _path(self, part: str) -> Path:
        separator = "." if part == "json" else "-"
        return self._directory / f"{self._name}{separator}{part}"


def environment() -> dict[str, str]:
    """Describe the machine and what is installed on it."""
    packages = []
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            packages.append(f"{package} {version(package)}")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} on {platform.machine()}, {len(CORES)} cores for the benchmark",
        "processes that ran or wanted to, on average of 5 minutes": f"{os.getloadavg()[1]:.1f}",
        "packages": ", ".join(packages),
    }
