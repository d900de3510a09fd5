"""What it costs the server to tell its clients something, beside the official SDK's own server.

First, a tool that reports its progress a hundred times before it answers; 32
connections call it, each one call at a time, and the call's cost counts with
its messages. Then a change that many clients are told of at once: by the GET
streams of their sessions (2025-11-25), and by ``subscriptions/listen``
(2026-07-28). Both servers stream events, and run the same tools.

The figure is the server's CPU time for one message to one client.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from _connections import Connections, Talk
from _fan_out import FAN_OUTS, Audience
from _listeners import descriptors
from _load import Measurement, Window, check, open_session
from _messages import HANDSHAKE, MODERN, call
from _report import Promise, Results, arguments, parse, ratio, take_rounds
from _servers import LOAD_CORE, PEERS, Server, present, serving
from _svg import bars

MESSAGES: Final = 100
CONNECTIONS: Final = 32
BOUND: Final = 1 / 5
"""How many times the SDK's cost."""

OURS: Final = "streamscope"
THEIRS: Final = "sdk-sse"
SERVERS: Final = (OURS, THEIRS)

REPORTS: Final = {
    "handshake": f"progress of a call, {HANDSHAKE}",
    "modern": f"progress of a call, {MODERN}",
}
HEADER: Final = ("server", "CPU µs", "ratio")

# -- A tool that reports ----------------------------------------------------------------------------


def call_and_listen(window: Window, session: str | None) -> Talk:
    """Call the tool over and over while the window is open, and count what it says."""
    request = call("report", {"count": MESSAGES}, session, {"progressToken": 1})
    while window.open:
        begin = time.perf_counter()
        answer = yield request
        check(answer, 200)
        if (count := answer.body.count(b"notifications/progress")) != MESSAGES:
            raise RuntimeError(f"{count} messages came of {MESSAGES}")
        window.finished(begin)


def measure_reports(server: Server, seconds: float, *, modern: bool) -> Measurement:
    """Measure calls of the tool."""
    connections = Connections(server.port, CONNECTIONS)
    names: list[str | None] = [None] * CONNECTIONS
    if not modern:
        opened: list[str] = []
        connections.run(open_session(opened) for _ in range(CONNECTIONS))
        names = [*opened]
    window = Window(server.pid, seconds, CONNECTIONS)
    connections.run(call_and_listen(window, name) for name in names)
    return window.measurement()


def measure_all_reports(names: Sequence[str], rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return the seconds that a message takes, for each era and server, in each round."""
    taken: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name)) for name in names}
        for era, what in REPORTS.items():
            subjects: dict[str, Callable[[], Measurement]] = {
                name: partial(measure_reports, server, seconds, modern=era == "modern")
                for name, server in servers.items()
            }
            taken[era] = {
                name: [one.cost / MESSAGES for one in results]
                for name, results in take_rounds(what, subjects, rounds).items()
            }
    return taken


# -- A change that all are told of ------------------------------------------------------------------


def measure_fan_outs(names: Sequence[str], rounds: int, listeners: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds that a delivery takes, for each kind of stream and server, in each round."""
    taken: dict[str, dict[str, list[float]]] = {}
    for kind, fan_out in FAN_OUTS.items():
        with ExitStack() as stack:
            audiences = {
                name: stack.enter_context(Audience(stack.enter_context(serving(name)), {kind: listeners}))
                for name in names
            }
            subjects: dict[str, Callable[[], float]] = {
                name: partial(audience.tell, kind) for name, audience in audiences.items()
            }
            taken[kind] = take_rounds(fan_out.title, subjects, rounds)
    return taken


# -- All of it --------------------------------------------------------------------------------------


def show(report: Results, kind: str, title: str, taken: Mapping[str, Sequence[float]]) -> None:
    """Print and write the table and the plot of one kind of message."""
    medians = {name: statistics.median(costs) * 1e6 for name, costs in taken.items()}
    rows = [
        (PEERS[name].title, f"{medians[name]:.1f}", f"{ratio(costs, taken[OURS]):.2f}" if OURS in taken else "")
        for name, costs in taken.items()
    ]
    report.table(kind, title[0].upper() + title[1:], HEADER, rows)
    values = {PEERS[name].title: cost for name, cost in medians.items()}
    report.plot(kind, bars(title[0].upper() + title[1:], "µs of the server's CPU time for each message", values))


def main() -> None:
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--sessions", type=int, default=1000, help="how many clients are told of a change")
    options = parse(parser)
    names = present(options.only or list(SERVERS))
    os.sched_setaffinity(0, {LOAD_CORE})
    listeners = min(options.sessions, descriptors())
    taken = measure_all_reports(names, options.rounds, options.seconds)
    taken |= measure_fan_outs(names, options.rounds, listeners)
    titles = REPORTS | {kind: f"{fan_out.title}, to {listeners:,}" for kind, fan_out in FAN_OUTS.items()}
    report = Results(options.output, "streams")
    report.figures(options, {"seconds_per_message": taken})
    for kind, costs in taken.items():
        show(report, kind, titles[kind], costs)
    promises = [
        Promise(
            f"{titles[kind]}: {PEERS[OURS].title} / {PEERS[THEIRS].title}", ratio(costs[OURS], costs[THEIRS]), BOUND
        )
        for kind, costs in taken.items()
        if {OURS, THEIRS} <= set(costs)
    ]
    sys.exit(not report.promises(promises))


if __name__ == "__main__":
    main()
