"""Whether a tool call costs the same however many connections are busy, and however many sessions are idle.

As in ``calls.py``: a server on a core of its own, the same tool, the server's CPU
time for one call of the handshake era. Connections are all busy, each with a
session of its own. Idle sessions have been opened, and then nothing was heard of
them; 32 connections are busy beside them.

With one connection, a server wakes up and goes to sleep for each call; with more
it finds several waiting. So the floor is not flat either, and is shown beside.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, TypeAlias

from _load import Measurement, measure, open_idle_sessions
from _report import Promise, Results, arguments, parse, ratio, take_rounds
from _servers import PEERS, allow_descriptors, present, serving
from _svg import lines

CONNECTIONS: Final = (1, 32, 256, 1_024, 4_096)
IDLE: Final = (0, 1_000, 10_000)
BUSY: Final = 32
SERVERS: Final = ("streamscope", "sdk-sse", "sdk-json", "fixed")
OTHERS_UP_TO: Final = 1_024
"""The largest number that other servers are measured with. Beyond it, one measurement of some takes minutes."""

OPTIONS: Final = {"streamscope": ("max_sessions=20000",)}
BOUND: Final = 1.5
"""By which factor the cost may differ from one point to another."""

Series: TypeAlias = Mapping[tuple[str, int], Sequence[Measurement]]
"""What was measured, by the server's name and the number."""


def measure_connections(names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> Series:
    """Measure with so many connections."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name, *OPTIONS.get(name, ()))) for name in names}
        subjects = {
            # With thousands, each connection should have its turn.
            (name, count): partial(measure, servers[name], "handshake", count, max(seconds, seconds * count / 1_000))
            for name, count in points(names, counts)
        }
        return take_rounds("connections", subjects, rounds)


def measure_idle(names: Sequence[str], counts: Sequence[int], rounds: int, seconds: float) -> Series:
    """Measure beside so many idle sessions."""
    with ExitStack() as stack:
        subjects = {}
        for name, count in points(names, counts):
            server = stack.enter_context(serving(name, *OPTIONS.get(name, ())))
            if count:
                print(f"{PEERS[name].title}: opening {count:,} sessions", file=sys.stderr, flush=True)
                open_idle_sessions(server, count)
            subjects[name, count] = partial(measure, server, "handshake", BUSY, seconds)
        return take_rounds("idle sessions", subjects, rounds)


def points(names: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Return the servers, each with the numbers that it is measured with."""
    return [
        (name, count)
        for name in names
        for count in counts
        if name == "streamscope" or PEERS[name].floor or count <= OTHERS_UP_TO
    ]


def costs(results: Sequence[Measurement]) -> list[float]:
    """Return each round's cost."""
    return [one.cost for one in results]


def show(report: Results, part: str, title: str, across: str, series: Series) -> None:
    """Print and write a table and a plot."""
    names = list(dict.fromkeys(name for name, _ in series))
    counts = sorted({count for _, count in series})
    medians = {key: statistics.median(costs(results)) * 1e6 for key, results in series.items()}
    rows = []
    for name in names:
        cells = [f"{medians[name, count]:,.0f}" if (name, count) in medians else "" for count in counts]
        rows.append([PEERS[name].title, *cells, f"{spread(series, name):.2f}"])
    header = ["CPU µs per call", *(f"{count:,}" for count in counts), "highest / lowest"]
    report.table(part, title, header, rows)
    shown = {
        PEERS[name].title: [(float(count), median) for (server, count), median in medians.items() if server == name]
        for name in names
    }
    report.plot(part, lines(title, "µs of the server's CPU time", across, shown))


def spread(series: Series, name: str) -> float:
    """Return the factor between the highest cost of a server and the lowest."""
    own = [costs(results) for (server, _), results in series.items() if server == name]
    return max(ratio(some, others) for some, others in itertools.product(own, repeat=2))


def main() -> None:
    parser = arguments(__doc__, seconds=1.0)
    for name, default in (("connections", CONNECTIONS), ("idle", IDLE)):
        numbers = ",".join(map(str, default))
        parser.add_argument(f"--{name}", default=numbers, help=f"numbers, with commas, instead of {numbers}")
    options = parse(parser)
    connections, idle = ([int(number) for number in text.split(",")] for text in (options.connections, options.idle))
    allow_descriptors(max(connections) + 1_000)
    names = present(options.only or SERVERS)
    by_connections = measure_connections(names, connections, options.rounds, options.seconds)
    with_sessions = [name for name in names if not PEERS[name].floor]
    by_idle = measure_idle(with_sessions, idle, options.rounds, options.seconds)
    report = Results(options.output, "scaling")
    flat = {
        part: [{"server": name, "count": count, "rounds": taken} for (name, count), taken in series.items()]
        for part, series in (("connections", by_connections), ("idle", by_idle))
    }
    report.figures(options, flat)
    show(report, "connections", "One tool call, by the number of busy connections", "busy connections", by_connections)
    show(report, "idle", "One tool call, by the number of idle sessions", "idle sessions", by_idle)
    kept = [
        Promise(f"{what}: highest / lowest cost", spread(series, "streamscope"), BOUND)
        for what, series in (("from 1 to 4,096 connections", by_connections), ("up to 10,000 idle sessions", by_idle))
        if "streamscope" in names
    ]
    sys.exit(not report.promises(kept))


if __name__ == "__main__":
    main()
