"""What is told of a run: tables, and the page of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

from tests.conformance.suite import EXCLUDED, NEWEST, PREVIEW, Case, Outcome, release

Results: TypeAlias = Mapping[Case, Mapping[str, Outcome]]
"""The outcomes of each case, by the names of the servers."""

REMARKS: Final = {
    (NEWEST, "server-sse-polling"): "This release names revision 2025-03-26 in a session of 2025-11-25; the SDK goes "
    "by the request, streamscope by the session.",
}
"""What is to be known of a scenario that fails, by the suite and its name."""

HEAD: Final = """\
===========
Conformance
===========

.. Written by ``nox -s conformance -- --write``.

The `official conformance suite <https://github.com/modelcontextprotocol/conformance>`_ is run against a
server that has all that its scenarios ask for (``tests/conformance``). There are two releases: the
newest, and the newest that tests revision 2026-07-28. All of their server scenarios are run, each at
every revision of the specification that it is for, and each against:

* ``JSON``: ``streamscope serve``, which answers in JSON where nothing else was said before the answer;
* ``SSE``: the same with ``sse_delay=0``, so that all answers are streamed where clients can resume;
* ``SDK``: the same server served by the SDK itself (mcp {mcp}, on uvicorn with h11), for comparison.

A cell tells how many of a scenario's checks have passed. What the suite skips, or only takes note of, has
not passed; nor has a warning. Where the revision is missing, the suite has chosen it."""


def _cell(outcome: Outcome) -> str:
    return outcome.counts if outcome.good else f"**{outcome.counts}**"


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Write a table, whose first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    # In such a table, an empty first column would continue the row above; any other may be empty.
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    yield from (rule, lines[0], rule, *lines[1:], rule)


def tables(directory: Path, names: list[str], results: Results) -> Iterator[str]:
    """Write a table for each release."""
    for suite in (PREVIEW, NEWEST):
        rows = [
            (case.scenario, case.revision or "", *(_cell(outcomes[name]) for name in names))
            for case, outcomes in sorted(results.items(), key=lambda item: (item[0].scenario, item[0].revision or ""))
            if case.suite == suite
        ]
        if rows:
            title = f"Release {release(directory, suite)}"
            yield from (title, "=" * len(title), "", *_table([("Scenario", "Revision", *names), *rows]), "")


def _failures(directory: Path, names: list[str], results: Results) -> Iterator[str]:
    for case, outcomes in results.items():
        for name in names:
            if problems := outcomes[name].problems:
                what = f"``{case.scenario}`` {case.revision or ''}".strip()
                checks = ", ".join(f"``{check}``" for check in problems)
                remark = REMARKS.get((case.suite, case.scenario), "")
                yield _wrapped(f"* {name}, release {release(directory, case.suite)}, {what}: {checks}. {remark}", "  ")


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text.rstrip(), 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def page(directory: Path, names: list[str], results: Results) -> str:
    """Write the page."""
    lines = [*HEAD.format(mcp=version("mcp")).splitlines(), "", *tables(directory, names, results)]
    lines += [
        "Excluded",
        "========",
        "",
        *(f"``{check}``\n{_wrapped(f'   {reason}', '   ')}" for check, reason in EXCLUDED.items()),
    ]
    if failures := list(_failures(directory, names, results)):
        lines += ["", "Failed", "======", "", *failures]
    return "\n".join(lines) + "\n"
