"""What an idle client takes of the server's memory, beside the official SDK's own server.

A client is a session (2025-11-25) that nobody uses, or one whose GET stream is
open, or a ``subscriptions/listen`` stream (2026-07-28). The figure is what the
resident memory of the server's process grows by, divided by how many they are.
Each measurement is of a new process, which has served some clients before.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from _connections import Connections
from _fan_out import Audience, open_sessions
from _listeners import descriptors
from _report import Promise, Results, arguments, parse, ratio
from _servers import LOAD_CORE, PEERS, Server, present, serving
from _svg import bars
from _timing import Progress

OURS: Final = "streamscope"
THEIRS: Final = "sdk-sse"
SERVERS: Final = (OURS, THEIRS)

KINDS: Final = {
    "idle": ("an idle session", 1 / 5),
    "get": ("a session with an open GET stream", 1 / 5),
    "listen": ("a subscriptions/listen stream", 1 / 4),
}
"""What is measured, and how many times the SDK's figure it takes at most."""

HEADER: Final = ("server", "bytes each", "ratio")
WARM_UP: Final = 100
SETTLED: Final = 1.0
"""Seconds after which a server has done what comes of the last client's arrival."""


def grow(server: Server, kind: str, count: int) -> float:
    """Return by how many bytes a server grows for each client."""
    if kind == "idle":
        connections = Connections(server.port, 16)
        open_sessions(connections, WARM_UP, join=False)
        time.sleep(SETTLED)
        before = server.rss()
        open_sessions(connections, count, join=False)
        time.sleep(SETTLED)
        grown = server.rss() - before
        return grown / count
    with Audience(server, {kind: WARM_UP}):
        time.sleep(SETTLED)
        before = server.rss()
        with Audience(server, {kind: count}, join=False):
            time.sleep(SETTLED)
            return (server.rss() - before) / count


def measure(names: Sequence[str], rounds: int, count: int) -> dict[str, dict[str, list[float]]]:
    """Return the bytes that a client takes, for each kind and server, in each round."""
    taken: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in names} for kind in KINDS}
    progress = Progress("measurements", rounds * len(KINDS) * len(names))
    for _ in range(rounds):
        for kind in KINDS:
            for name in names:
                with serving(name) as server:
                    taken[kind][name].append(grow(server, kind, count))
                progress.advance()
    return taken


def show(report: Results, kind: str, count: int, taken: Mapping[str, Sequence[float]]) -> None:
    """Print and write the table and the plot of one kind of client."""
    medians = {name: statistics.median(sizes) for name, sizes in taken.items()}
    rows = [
        (PEERS[name].title, f"{medians[name]:,.0f}", f"{ratio(sizes, taken[OURS]):.2f}" if OURS in taken else "")
        for name, sizes in taken.items()
    ]
    what = f"Memory of {KINDS[kind][0]}; {count:,} of them"
    report.table(kind, what, HEADER, rows)
    report.plot(kind, bars(what, "KB each", {PEERS[name].title: size / 1e3 for name, size in medians.items()}))


def main() -> None:
    parser = arguments(__doc__, seconds=0.0)
    parser.add_argument("--sessions", type=int, default=5000, help="how many clients of each kind there are")
    parser.set_defaults(rounds=3)
    options = parse(parser)
    names = present(options.only or list(SERVERS))
    os.sched_setaffinity(0, {LOAD_CORE})
    count = min(1000 if options.quick else options.sessions, descriptors() - WARM_UP)
    taken = measure(names, options.rounds, count)
    report = Results(options.output, "memory")
    report.figures(options, {"clients": count, "bytes": taken})
    for kind, sizes in taken.items():
        show(report, kind, count, sizes)
    promises = [
        Promise(
            f"{KINDS[kind][0]}: {PEERS[OURS].title} / {PEERS[THEIRS].title}",
            ratio(sizes[OURS], sizes[THEIRS]),
            KINDS[kind][1],
        )
        for kind, sizes in taken.items()
        if {OURS, THEIRS} <= set(sizes)
    ]
    sys.exit(not report.promises(promises, "Memory, as a ratio"))


if __name__ == "__main__":
    main()
