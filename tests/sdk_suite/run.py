"""Runs the SDK's own tests against our drop-in for its session manager.

The tests come with the source distribution of the SDK that is installed. What
counts are those that use the manager; `excluded.toml` names those of them that
may fail, and must. With ``--manager sdk`` the SDK's own class is used, so that it
can be seen what passes without us.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import attrs
from rich.console import Console

HERE: Final = Path(__file__).parent
FEWEST: Final = 500
"""Tests that use the manager and must pass, at least. Fewer, and it was not swapped in everywhere."""

# All that use it, by whatever way. (`test_sse_security.py` is of another transport, and flaky on Trio.)
TESTS: Final = [
    "tests/client/test_client.py",
    "tests/client/test_client_caching.py",
    "tests/client/test_http_unicode.py",
    "tests/client/test_notification_response.py",
    "tests/client/test_session_group.py",
    "tests/client/test_streamable_http.py",
    "tests/client/test_transport_stream_cleanup.py",
    "tests/docs_src/test_asgi.py",
    "tests/docs_src/test_authorization.py",
    "tests/docs_src/test_cancellation.py",
    "tests/docs_src/test_client_transports.py",
    "tests/docs_src/test_deploy.py",
    "tests/docs_src/test_header_parameters.py",
    "tests/docs_src/test_identity_assertion.py",
    "tests/docs_src/test_legacy_clients.py",
    "tests/docs_src/test_troubleshooting.py",
    "tests/interaction",
    "tests/issues/test_1363_race_condition_streamable_http.py",
    "tests/server/mcpserver/test_server.py",
    "tests/server/test_lowlevel_exception_handling.py",
    "tests/server/test_streamable_http_manager.py",
    "tests/server/test_streamable_http_modern.py",
    "tests/server/test_streamable_http_router.py",
    "tests/server/test_streamable_http_security.py",
    "tests/shared/test_streamable_http.py",
]
OPTIONS: Final = [
    # In place of the suite's own, which are for a terminal.
    "--override-ini=addopts=",
    "--override-ini=log_cli=false",
    # What hangs where it cannot be ended from within ends the run, and is shown.
    "--override-ini=faulthandler_timeout=60",
    "--override-ini=faulthandler_exit_on_timeout=true",
    # The SDK's client, on Trio, leaves generators of its HTTP library to the garbage collector.
    "-Wignore:Async generator:ResourceWarning",
    # The verdicts are ours.
    "-qq",
    "--tb=short",
    "--show-capture=no",
    "--no-summary",
    "-psdk_suite.plugin",
]


@attrs.frozen
class Outcome:
    """What became of one test."""

    test: str
    used: bool
    """Whether it has used the manager."""
    failure: str | None
    """Why it failed, if it did."""
    excluded: str | None = None
    """Why it may, if it may."""

    @property
    def names(self) -> tuple[str, str]:
        """By what it can be excluded: its own name, and that of the test of which it is a case."""
        return self.test, self.test.partition("[")[0]

    @property
    def verdict(self) -> str:
        """Whether that is as it should be."""
        if self.excluded is None:
            return "passed" if self.failure is None else "failed"
        return "passed, though excluded" if self.failure is None else "excluded"


def unpack(directory: Path) -> Path:
    """Download the sources of the SDK that is installed, unless they are there, and return where they are."""
    name = f"mcp-{version('mcp')}"
    archive = directory / f"{name}.tar.gz"
    if not archive.exists():
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary=mcp", f"--dest={directory}"]
        command = [sys.executable, "-m", "pip", "download", *options, f"mcp=={version('mcp')}"]
        subprocess.run(command, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    return directory / name


def run_tests(sources: Path, options: list[str]) -> list[Outcome]:
    """Run the tests, and say what became of each."""
    written = sources.parent / "outcomes.json"
    written.unlink(missing_ok=True)
    # Their package has the name of ours, so ours is not to be seen from there.
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--outcomes={written}", *options]
    done = subprocess.run(command, cwd=sources, env=environment, check=False)
    if not written.exists():
        sys.exit(f"The tests could not be run (pytest ended with {done.returncode}).")
    return [Outcome(**fields) for fields in json.loads(written.read_text())]


def exclusions() -> Iterator[tuple[str, str]]:
    """Give each excluded test, or all cases of one, and the reason."""
    for group in tomllib.loads((HERE / "excluded.toml").read_text())["excluded"]:
        for test in group["tests"]:
            yield test, group["reason"]


def judge(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Tell which tests are excluded."""
    reasons = dict(exclusions())
    return [
        attrs.evolve(one, excluded=next((reasons[name] for name in one.names if name in reasons), None))
        for one in outcomes
    ]


def tell(console: Console, outcomes: list[Outcome]) -> None:
    """Print what became of the tests, by module and by reason."""
    verdicts = ["passed", "excluded", "failed", "passed, though excluded"]
    counts = Counter((one.test.partition("::")[0], one.verdict) for one in outcomes)
    totals = Counter(one.verdict for one in outcomes)
    modules = sorted({module for module, _ in counts})
    rows = [(module, [counts[module, verdict] for verdict in verdicts]) for module in modules]
    rows.append((f"{len(outcomes)} tests that use the manager", [totals[verdict] for verdict in verdicts]))
    width = max(len(name) for name, _ in rows)
    console.print(f"\n{'':{width}}", *verdicts, sep="  ")
    for name, numbers in rows:
        console.print(
            f"{name:{width}}",
            *(f"{number or '-':>{len(verdict)}}" for number, verdict in zip(numbers, verdicts, strict=True)),
            sep="  ",
        )
    console.print()
    for reason, count in Counter(one.excluded for one in outcomes if one.excluded).most_common():
        console.print(f"{count:4}  {reason}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the tests are, or are to be, unpacked")
    parser.add_argument("--manager", choices=["streamscope", "sdk"], default="streamscope")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    options, further = parser.parse_known_args()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    swapped = options.manager == "streamscope"
    outcomes = run_tests(
        unpack(options.directory.resolve()),
        [f"--manager={options.manager}", f"--backend={options.backend}", *(further or TESTS)],
    )
    outcomes = judge(outcomes) if swapped else outcomes
    used = [one for one in outcomes if one.used]
    tell(console, used)
    wrong = [one for one in outcomes if one.verdict not in {"passed", "excluded"}]
    for one in wrong:
        console.print(f"\n{one.test}: {one.verdict}", one.failure or one.excluded, sep="\n")
    if further:
        sys.exit(bool(wrong))
    if swapped and (unknown := {test for test, _ in exclusions()} - {name for one in used for name in one.names}):
        sys.exit(f"Excluded, but there are no such tests that use the manager: {', '.join(sorted(unknown))}.")
    passed = sum(one.verdict == "passed" for one in used)
    if wrong or passed < FEWEST:
        sys.exit(f"{passed} have passed, of at least {FEWEST}; {len(wrong)} did not do what they should.")


if __name__ == "__main__":
    main()
