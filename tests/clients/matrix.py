"""Runs real clients against ``streamscope serve``, and prints what works: ``python -m tests.clients.matrix``.

Each client has a server of its own and, before it, a proxy, which keeps what
passes and cuts connections. A driver in ``drivers/`` does the operations with
the client, and prints a line of JSON for each; some are judged in ``_run.py``,
because only the wire or the server tells. The Python clients need what
``requirements.txt`` names; those of Node.js need ``--npm``, a directory in which
``package.json`` is installed. ``nox -s clients`` sees to both.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from tests.clients._operations import CLIENTS, Client, Run
from tests.clients._run import HERE, run_client
from tests.clients._table import as_rst, as_text

AT_ONCE: Final = min(os.cpu_count() or 1, 4)
_TABLES: Final = re.compile(r"(?<=\.\. The tables begin\.\n\n).*(?=\.\. The tables end\.\n)", re.DOTALL)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="matrix", description="Run real clients against streamscope serve.")
    parser.add_argument(
        "clients", nargs="*", metavar="CLIENT", help=f"run only these: {', '.join(c.key for c in CLIENTS)}"
    )
    parser.add_argument("--npm", type=Path, metavar="DIRECTORY", help="where package.json is installed")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into this page")
    parser.add_argument("--wire", type=Path, metavar="DIRECTORY", help="keep what passed, of each client")
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="COUNT", help=f"run so many at the same time (here: {AT_ONCE})"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.clients if not _select([name])]
    if unknown:
        parser.error(f"there is no client {', '.join(unknown)}")
    if options.npm is None and any(client.needs_node for client in _select(options.clients)):
        parser.error("clients of Node.js need --npm")
    return options


def _select(names: Sequence[str]) -> list[Client]:
    return [client for client in CLIENTS if not names or client.key in names or client.name in names]


async def run_all(clients: Sequence[Client], npm: Path | None, at_once: int = AT_ONCE) -> list[Run]:
    """Run clients, each with a server of its own.

    Args:
        clients: The clients.
        npm: Where ``package.json`` is installed; clients that run on Node.js need it.
        at_once: How many may run at the same time.
    """
    limiter = trio.CapacityLimiter(at_once)
    runs: dict[str, Run] = {}

    async def run(client: Client, home: str) -> None:
        if client.needs_node:
            # Node.js looks for packages beside the script that imports them.
            command = [shutil.which("node") or "node", str((npm or HERE) / client.driver)]
        else:
            command = [sys.executable, "-m", f"tests.clients.drivers.{client.driver}"]
        async with limiter:
            runs[client.key] = await run_client(client, command, {**os.environ, "HOME": home})

    with tempfile.TemporaryDirectory() as home:
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(run, client, home)
    return [runs[client.key] for client in clients]


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(text + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; 1 if something failed."""
    options = parse(arguments)
    if options.npm is not None:
        for script in (HERE / "drivers").glob("*.mjs"):
            shutil.copy(script, options.npm)
    runs = trio.run(run_all, _select(options.clients), options.npm, options.at_once)
    say(as_text(runs))
    if options.page is not None:
        page = options.page.read_text()
        options.page.write_text(_TABLES.sub(lambda _: as_rst(runs), page))
    failed = [run for run in runs if run.failures]
    kept = runs if options.wire else failed
    if kept:
        directory = options.wire or Path(tempfile.mkdtemp(prefix="clients-"))
        directory.mkdir(parents=True, exist_ok=True)
        for run in kept:
            (directory / f"{run.client.key}.wire").write_text(run.wire)
            (directory / f"{run.client.key}.log").write_text(run.log)
        say(f"\nWhat passed is in {directory}.")
    for run in failed:
        for name, detail in run.failures.items():
            say(f"FAILED {run.client.key}, {name}: {detail}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
