"""The outcomes as tables: for a terminal, and in reStructuredText for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.clients._operations import OPERATIONS, Run


def _rows(runs: Sequence[Run], operations: dict[str, str]) -> tuple[list[list[str]], list[str]]:
    """Return a row for each operation, and the reasons that its cells refer to."""
    notes: list[str] = []
    rows: list[list[str]] = []
    for name in dict.fromkeys([*operations, *(name for run in runs for name in run.outcomes)]):
        row = [operations.get(name, name)]
        for run in runs:
            outcome = run.outcomes.get(name)
            if outcome is None:
                row.append("")
            elif outcome.status == "n.a.":
                note = f"{run.client.name}: {outcome.detail}"
                if note not in notes:
                    notes.append(note)
                row.append(f"n.a. ({notes.index(note) + 1})")
            else:
                row.append({"pass": "yes", "fail": "FAILED"}[outcome.status])
        rows.append(row)
    return rows, notes


def _by_era(runs: Iterable[Run]) -> dict[str, list[Run]]:
    eras: dict[str, list[Run]] = {}
    for run in runs:
        eras.setdefault(run.client.era, []).append(run)
    return eras


def _title(era: str, runs: Sequence[Run]) -> str:
    if era == "handshake":
        return f"With a handshake ({', '.join(sorted({run.protocol for run in runs}))})"
    return f"Revision {era}"


def as_text(runs: Sequence[Run]) -> str:
    """Write the tables for a terminal."""
    lines: list[str] = []
    for era, of_era in _by_era(runs).items():
        rows, notes = _rows(of_era, OPERATIONS[era])
        table = [[_title(era, of_era), *(run.client.name for run in of_era)], *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        lines += [f"  ({number}) {note}" for number, note in enumerate(notes, 1)]
        lines.append("")
    lines += [f"{run.client.key}: {run.about}, {run.runtime}, {run.protocol}" for run in runs]
    return "\n".join(lines)


def as_rst(runs: Sequence[Run]) -> str:
    """Write the tables for the documentation."""
    lines = ["Versions", "--------", ""]
    versions = dict.fromkeys((run.client.name, run.about, run.runtime) for run in runs)
    lines += _list_table([("", "client", "runs on"), *versions], "20 45 35")
    for era, of_era in _by_era(runs).items():
        rows, notes = _rows(of_era, OPERATIONS[era])
        title = _title(era, of_era)
        lines += [title, "-" * len(title), ""]
        widths = " ".join(["28", *["12"] * len(of_era)])
        lines += _list_table([["", *(run.client.name for run in of_era)], *rows], widths)
        lines += [f"{number}. {note}" for number, note in enumerate(notes, 1)]
        lines += [""] if notes else []
    return "\n".join(lines) + "\n"


def _list_table(rows: Sequence[Sequence[str]], widths: str) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", f"   :widths: {widths}", ""]
    for row in rows:
        lines += [f"   {' ' if index else '*'} - {cell}".rstrip() for index, cell in enumerate(row)]
    return [*lines, ""]
