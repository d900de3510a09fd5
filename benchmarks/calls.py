"""What a tool call costs the server, and a session, beside the official SDK's own server and others.

Each server is a process on a core of its own, with the same tool, which adds two
numbers. The load is a process on the other core: 32 connections that are kept
open, each with one request at a time. All take turns, round by round.

The figure is the server's CPU time for one operation. A call is one POST; in the
handshake era (2025-11-25) each connection has a session, in 2026-07-28 there are
none. A session is ``initialize``, ``notifications/initialized`` and DELETE.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from _load import SATURATED, Kind, Measurement, measure, measure_kernel
from _messages import HANDSHAKE, MODERN
from _report import Promise, Results, arguments, parse, ratio, take_rounds
from _servers import PEERS, present, serving
from _svg import bars

CONNECTIONS: Final = 32
KINDS: Final[dict[Kind, str]] = {
    "handshake": f"One tool call, {HANDSHAKE}",
    "modern": f"One tool call, {MODERN}",
    "sessions": "One session: initialize, initialized, DELETE",
}
ERAS: Final[dict[Kind, str]] = {"handshake": HANDSHAKE, "modern": MODERN}
KERNEL: Final = "the SDK's kernel alone, no transport"

BOUNDS: Final[Sequence[tuple[Kind, str, str, float]]] = (
    ("handshake", "streamscope", "sdk-sse", 1 / 12),
    ("handshake", "streamscope", "sdk-json", 1 / 5),
    ("handshake", "streamscope-sse", "sdk-sse", 1 / 7),
    ("modern", "streamscope", "sdk-sse", 1 / 5),
    ("modern", "streamscope", "sdk-json", 1 / 2.5),
    ("sessions", "streamscope", "sdk-sse", 1 / 7),
)
"""What costs at most so many times as much as what."""

SHARE_BOUND: Final = 3.0
"""How many times the cost of a fixed answer a call may cost beyond the SDK's kernel."""

Measured = Mapping[Kind, Mapping[str, Sequence[Measurement]]]
Kernel = Mapping[Kind, Sequence[float]]


def measure_all(names: Sequence[str], kinds: Sequence[Kind], rounds: int, seconds: float) -> tuple[Measured, Kernel]:
    """Measure these servers, and the SDK's kernel by itself."""
    measured: dict[Kind, dict[str, list[Measurement]]] = {}
    kernel: dict[Kind, list[float]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name)) for name in names}
        for kind in kinds:
            subjects: dict[str, Callable[[], Measurement | float]] = {
                name: partial(measure, server, kind, CONNECTIONS, seconds)
                for name, server in servers.items()
                # A floor has no sessions, and says the same three times.
                if kind in ERAS or not PEERS[name].floor
            }
            if kind in ERAS and "streamscope" in names:
                subjects[KERNEL] = partial(measure_kernel, ERAS[kind], seconds / 2)
            taken = take_rounds(KINDS[kind], subjects, rounds)
            kernel[kind] = [one for one in taken.pop(KERNEL, []) if isinstance(one, float)]
            measured[kind] = {
                name: [one for one in results if isinstance(one, Measurement)] for name, results in taken.items()
            }
    return measured, kernel


def costs(results: Sequence[Measurement]) -> list[float]:
    """Return each round's cost."""
    return [one.cost for one in results]


def row(name: str, results: Sequence[Measurement], ours: Sequence[Measurement] | None) -> list[str]:
    """Return a server's row of a table."""
    busy = statistics.median(one.busy for one in results)
    return [
        PEERS[name].title,
        f"{statistics.median(costs(results)) * 1e6:,.0f}",
        f"{ratio(costs(results), costs(ours)):.2f}" if ours else "",
        f"{statistics.median(one.rate for one in results):,.0f}",
        f"{statistics.median(one.p50 for one in results) * 1e3:.2f}",
        f"{statistics.median(one.p99 for one in results) * 1e3:.2f}",
        "yes" if busy >= SATURATED else f"no: {busy:.0%}",
    ]


HEADER: Final = ("server", "CPU µs", "ratio", "per second", "p50 ms", "p99 ms", "saturated")


def show(report: Results, kind: Kind, results: Mapping[str, Sequence[Measurement]], kernel: Sequence[float]) -> None:
    """Print and write the table and the plot of one kind of load."""
    rows = [row(name, taken, results.get("streamscope")) for name, taken in results.items()]
    values = {PEERS[name].title: statistics.median(costs(taken)) * 1e6 for name, taken in results.items()}
    if kernel:
        values[KERNEL] = statistics.median(kernel) * 1e6
        rows.append([KERNEL, f"{values[KERNEL]:,.0f}", "", "", "", "", ""])
    report.table(kind, f"{KINDS[kind]}; {CONNECTIONS} connections", HEADER, rows)
    report.plot(kind, bars(KINDS[kind], f"µs of the server's CPU time; {CONNECTIONS} connections", values))


def promises(measured: Measured, kernel: Kernel) -> list[Promise]:
    """Return what is promised, as far as it was measured."""
    kept = []
    for kind, ours, theirs, bound in BOUNDS:
        results = measured.get(kind, {})
        if ours in results and theirs in results:
            text = f"{KINDS[kind]}: {PEERS[ours].title} / {PEERS[theirs].title}"
            kept.append(Promise(text, ratio(costs(results[ours]), costs(results[theirs])), bound))
    for kind in ERAS:
        results = measured.get(kind, {})
        if "streamscope" in results and "fixed" in results:
            shares = [call - alone for call, alone in zip(costs(results["streamscope"]), kernel[kind], strict=True)]
            text = f"{KINDS[kind]}: all but the SDK's kernel / fixed answer"
            kept.append(Promise(text, ratio(shares, costs(results["fixed"])), SHARE_BOUND))
    return kept


def main() -> None:
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--kinds", type=lambda kinds: kinds.split(","), default=list(KINDS), help=", ".join(KINDS))
    options = parse(parser)
    names = present(options.only or [name for name, peer in PEERS.items() if not peer.special])
    measured, kernel = measure_all(names, options.kinds, options.rounds, options.seconds)
    report = Results(options.output, "calls")
    report.figures(options, {"measured": measured, "kernel": kernel})
    for kind, results in measured.items():
        show(report, kind, results, kernel[kind])
    sys.exit(not report.promises(promises(measured, kernel)))


if __name__ == "__main__":
    main()
