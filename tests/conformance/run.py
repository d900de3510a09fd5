"""Runs the official conformance suite against the server in `everything`.

Every server scenario of both releases in ``package.json`` is run, at every
revision of the specification that it is for, one after the other, against each
way of serving. There is no list of failures that are expected: what does not
pass fails the run, but for the checks in `suite.EXCLUDED`, each with its reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import trio
from rich.console import Console

from tests.conformance.report import page, tables
from tests.conformance.suite import NODE, Batch, Case, Outcome, find_batches, install, judge, program

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.rst"
SERVERS: Final = {
    "JSON": ["streamscope", "serve", "tests.conformance.everything:server", "--port", "0", "--log-level", "error"],
    "SSE": ["tests.conformance.serving", "streamed"],
    "SDK": ["tests.conformance.serving", "sdk"],
}
OURS: Final = ["JSON", "SSE"]
TIME_LIMIT: Final = 60.0
"""Seconds that a server may take to start, and a scenario to run."""

Tell: TypeAlias = Callable[[Case, Outcome], None]


async def start(name: str, directory: Path) -> tuple[trio.Process, str]:
    """Start a server, and say where it is."""
    log = directory / f"{name}.log"
    with log.open("w") as stderr:
        # Warnings are for whoever writes such a server, not for whoever tests it.
        command = [sys.executable, "-W", "ignore", "-m", *SERVERS[name]]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=stderr)
    assert process.stdout is not None
    said = b""
    with trio.move_on_after(TIME_LIMIT):
        while True:
            chunk = await process.stdout.receive_some()
            said += chunk
            if not chunk or chunk.endswith(b"\n"):
                break
    if not said.endswith(b"\n"):
        process.kill()
        sys.exit(f"The server ({name}) did not start; {log} may say why.")
    return process, said.decode().strip()


async def run_batch(directory: Path, batch: Batch, url: str, tell: Tell) -> None:
    """Run scenarios against a server, and tell of each as soon as it is over."""
    cases = {case.scenario: case for case in batch.cases}
    with tempfile.TemporaryDirectory() as results:
        command: list[str | Path] = [NODE, program(directory, batch.cases[0].suite), "server", "--url", url]
        command += [*batch.options, "--output-dir", results]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        said = b""
        try:
            with trio.move_on_after(TIME_LIMIT * len(cases)):
                while chunk := await process.stdout.receive_some():
                    said += chunk
                    # All that were begun, but for the last one, are over.
                    for scenario in re.findall(r"=== Running scenario: (\S+) ===", said.decode(errors="replace"))[:-1]:
                        if scenario in cases:
                            case = cases.pop(scenario)
                            tell(case, judge(Path(results), case))
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        for case in cases.values():
            tell(case, judge(Path(results), case))


async def run(
    directory: Path, names: list[str], scenarios: list[str], console: Console
) -> dict[Case, dict[str, Outcome]]:
    """Run all cases, against all servers at once."""
    batches = await find_batches(directory, scenarios)
    results: dict[Case, dict[str, Outcome]] = {case: {} for batch in batches for case in batch.cases}
    processes: list[trio.Process] = []
    begin = trio.current_time()

    async def run_all(name: str, url: str) -> None:
        def tell(case: Case, outcome: Outcome) -> None:
            results[case][name] = outcome
            count = sum(name in outcomes for outcomes in results.values())
            what = f"{case.scenario} {case.revision or ''}"
            console.print(
                f"{trio.current_time() - begin:5.0f} s  {name:<4}  {count:>3} of {len(results)}  "
                f"{outcome.counts:<8}  {what}"
            )
            for check, problem in outcome.problems.items():
                console.print(f"{'':25}{check}: {problem}", style="red" if name in OURS else "yellow")

        for batch in batches:
            await run_batch(directory, batch, url, tell)

    urls: dict[str, str] = {}
    try:
        for name in names:
            process, urls[name] = await start(name, directory)
            processes.append(process)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(run_all, name, urls[name])
    finally:
        for process in processes:
            process.terminate()
            with trio.move_on_after(TIME_LIMIT, shield=True):
                await process.wait()
    return results


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the suite is, or is to be, installed")
    parser.add_argument("scenarios", nargs="*", help="the scenarios to run; without any, all of them")
    parser.add_argument("--compare", action="store_true", help="also run the suite against the SDK's own server")
    parser.add_argument("--write", action="store_true", help=f"compare, and write docs/{PAGE.name}")
    options = parser.parse_intermixed_args()
    if options.write and options.scenarios:
        parser.error("the page tells of all scenarios; write it without naming any")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    install(options.directory)
    names = [*OURS, "SDK"] if options.compare or options.write else OURS
    results = trio.run(run, options.directory, names, options.scenarios, console)
    console.print("", *tables(options.directory, names, results), sep="\n")
    if options.write:
        PAGE.write_text(page(options.directory, names, results))
    bad = [case for case, outcomes in results.items() if not all(outcomes[name].good for name in OURS)]
    if bad or not results:
        sys.exit(f"{len(bad)} of {len(results)} cases did not pass.")
    console.print(f"All {len(results)} cases have passed.")


if __name__ == "__main__":
    main()
