"""Twenty thousand open streams in one process: what they take while nothing happens, and how they end.

Half of them are GET streams of sessions (2025-11-25), half are ``subscriptions/listen``
streams (2026-07-28). They are opened, stay open for a minute, are told of a change,
and then the server is stopped by SIGTERM. Each client is then to see the end of a response
that is complete; and one that listens, before that, the result of its request.

Beside that, streamscope and the official SDK's own server have 5,000 streams of each kind. A
stream is a descriptor, here and in the server: where only fewer may be had, there are fewer streams.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias, final

import attrs
from _fan_out import FAN_OUTS, Audience
from _listeners import Ends, descriptors
from _report import Promise, Results, arguments, parse
from _servers import LOAD_CORE, PEERS, present, serving
from _svg import bars

OURS: Final = "streamscope-large"
THEIRS: Final = "sdk-sse"
SERVERS: Final = (OURS, THEIRS)
FEW: Final = 5000
BOTH: Final = "both"
KINDS: Final = {"get": "GET", "listen": "listen", BOTH: "half and half"}
IDLE_BOUND: Final = 1 / 3
"""How many times the SDK's idle cost of a stream."""

END_BOUND: Final = 1.0
"""Seconds that the end of 5,000 streams may take."""

STOPPED_SOON: Final = 10.0
"""Seconds after the end of the streams that a server may take to end."""

HEADER: Final = (
    "server",
    "kind",
    "streams",
    "open in s",
    "KB each",
    "idle, ms/min each",
    "idle, % of a core",
    "told, µs each",
    "ended in s",
    "complete",
    "result",
    "stopped in s",
)


@final
@attrs.frozen(kw_only=True)
class Life:
    """What the streams of one server have shown, from their opening to their end."""

    streams: int
    listeners: int
    """Those that are to end with a result."""

    opened: float
    """Seconds until all were open."""

    memory: float
    """Bytes for each."""

    idle: float
    """CPU time for each stream and second, while nothing happens."""

    told: float
    """CPU time for telling one stream of a change."""

    ends: Ends
    stopped: float | None
    """Seconds from SIGTERM to the end of the process, if it had ended when its streams had, or soon after."""

    @property
    def without_end(self) -> int:
        """How many clients have not got an orderly end."""
        return max(self.streams - self.ends.complete, self.listeners - self.ends.results)


def live(name: str, counts: Mapping[str, int], seconds: float) -> Life:
    """Have a server with so many streams of each kind, idle for so many seconds."""
    count = sum(counts.values())
    print(f"{PEERS[name].title}: {count:,} streams", file=sys.stderr, flush=True)
    with serving(name) as server:
        memory = server.rss()
        begin = time.monotonic()
        with Audience(server, counts) as audience:
            opened = time.monotonic() - begin
            memory = server.rss() - memory
            before = server.cpu_time()
            begin = time.monotonic()
            audience.listeners.listen(seconds)
            idle = (server.cpu_time() - before) / (time.monotonic() - begin) / count
            told = statistics.mean(audience.tell(kind) for kind in counts)
            begin = time.monotonic()
            ends = audience.listeners.wait_for_end(server.process.terminate)
            try:
                server.process.wait(STOPPED_SOON)
                stopped = time.monotonic() - begin
            except subprocess.TimeoutExpired:
                stopped = None
    return Life(
        streams=count,
        listeners=counts.get("listen", 0),
        opened=opened,
        memory=memory / count,
        idle=idle,
        told=told,
        ends=ends,
        stopped=stopped,
    )


Taken: TypeAlias = Mapping[tuple[str, str], Sequence[Life]]
"""What was measured, by server and kind."""


def measure(names: Sequence[str], many: int, few: int, options: argparse.Namespace) -> Taken:
    """Measure the servers in turns; ours with many streams, too."""
    subjects: dict[tuple[str, str], Mapping[str, int]] = {}
    if OURS in names:
        subjects[OURS, BOTH] = {"get": many - many // 2, "listen": many // 2}
    for kind in FAN_OUTS:
        subjects |= {(name, kind): {kind: few} for name in names}
    taken: dict[tuple[str, str], list[Life]] = {subject: [] for subject in subjects}
    for turn in range(options.rounds):
        order = list(subjects)
        for subject in order[turn % len(order) :] + order[: turn % len(order)]:
            taken[subject].append(live(subject[0], subjects[subject], options.seconds))
    return taken


def row(name: str, kind: str, lives: Sequence[Life]) -> list[str]:
    """Return a row of the table."""

    def median(values: Iterable[float | None]) -> float:
        return statistics.median(math.inf if value is None else value for value in values)

    idle, streams = median(life.idle for life in lives), lives[0].streams
    stopped = median(life.stopped for life in lives)
    return [
        PEERS[name].title,
        KINDS[kind],
        f"{streams:,}",
        f"{median(life.opened for life in lives):.1f}",
        f"{median(life.memory for life in lives) / 1e3:.1f}",
        f"{idle * 60e3:.3f}",
        f"{idle * streams:.1%}",
        f"{median(life.told for life in lives) * 1e6:.0f}",
        f"{median(life.ends.seconds for life in lives):.2f}",
        f"{min(life.ends.complete for life in lives):,}",
        f"{min(life.ends.results for life in lives):,}" if lives[0].listeners else "",
        "no" if math.isinf(stopped) else f"{stopped:.2f}",
    ]


def promises(taken: Taken) -> list[Promise]:
    """Return what is promised, as far as it was measured."""
    kept = []
    for kind, title in KINDS.items():
        ours, theirs = taken.get((OURS, kind), []), taken.get((THEIRS, kind), [])
        if not ours:
            continue
        what = f"{ours[0].streams:,} streams, {title}"
        if kind == BOTH:
            theirs = [life for other in FAN_OUTS for life in taken.get((THEIRS, other), [])]
        if theirs:
            idle = statistics.mean(life.idle for life in ours) / statistics.mean(life.idle for life in theirs)
            kept.append(Promise(f"{what}: idle cost of one, to the SDK's", idle, IDLE_BOUND))
        if kind != BOTH:
            ended = statistics.median(life.ends.seconds for life in ours)
            kept.append(Promise(f"{what}: until all have ended", ended, END_BOUND, "s"))
        lost = max(life.without_end for life in ours)
        kept.append(Promise(f"{what}: without an orderly end", lost, 0, "clients"))
    return kept


def main() -> None:
    parser = arguments(__doc__, seconds=60.0)
    parser.add_argument("--streams", type=int, default=20_000, help="how many streams streamscope has")
    parser.add_argument("--few", type=int, default=FEW, help="how many the others have")
    parser.set_defaults(rounds=1)
    options = parse(parser)
    if options.quick:
        options.rounds, options.seconds, options.streams, options.few = 1, 16.0, 2000, 500
    names = present(options.only or list(SERVERS))
    os.sched_setaffinity(0, {LOAD_CORE})
    most = descriptors()
    if options.streams > most:
        print(f"There may be no more than {most:,} streams: raise the limit of descriptors (ulimit -n).", flush=True)
    taken = measure(names, min(options.streams, most), min(options.few, most), options)
    report = Results(options.output, "many_streams")
    lives = [{"server": name, "kind": kind, "lives": lives} for (name, kind), lives in taken.items()]
    report.figures(options, {"lives": lives})
    rows = [row(name, kind, lives) for (name, kind), lives in taken.items()]
    report.table("lives", f"Open streams, that nothing happens to for {options.seconds:g} s", HEADER, rows)
    titles = {
        (name, kind): f"{PEERS[name].title}, {lives[0].streams:,}, {KINDS[kind]}"
        for (name, kind), lives in taken.items()
    }
    idle = {titles[which]: statistics.median(life.idle for life in lives) * 60e3 for which, lives in taken.items()}
    ends = {titles[which]: statistics.median(life.ends.seconds for life in lives) for which, lives in taken.items()}
    unit = "ms of the server's CPU time for each stream and minute"
    report.plot("idle", bars("Open streams while nothing happens", unit, idle))
    report.plot("end", bars("From SIGTERM to the end of the last stream", "seconds; the clients give up at 40", ends))
    sys.exit(not report.promises(promises(taken), "Idle cost, and the end"))


if __name__ == "__main__":
    main()
