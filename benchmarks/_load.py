"""The load: a process on a core of its own that uses a server, checks its answers and measures what they cost.

Operations count within a *window*, which begins when all connections have been
busy for a while. The server's CPU time is taken where it begins and where it ends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, final

import attrs
from _connections import Answer, Connections, Talk
from _messages import call, delete, initialize, initialized
from _servers import HERE, LOAD_CORE, SERVER_CORE, Server, cpu_time, pinned, waited

Kind: TypeAlias = Literal["handshake", "modern", "sessions"]
"""Calls of a tool, each connection with a session of its own; such calls in 2026-07-28; sessions that come and go."""

SATURATED: Final = 0.9
"""The part of the time that the server must have had something to do, so that it is what limits the rate."""

A: Final = 20
B: Final = 22
# Whatever spaces a server puts in its JSON.
_RIGHT: Final = re.compile(rb'"text": ?"%d"' % (A + B))


@final
@attrs.frozen
class Measurement:
    """What one run has shown. Times are in seconds."""

    operations: int
    wall: float
    cpu: float
    """CPU time of the server."""

    waited: float
    """Time for which it could have run, and other processes had its core."""

    p50: float
    p99: float
    """From the first request of an operation to its last answer."""

    @property
    def cost(self) -> float:
        """CPU time of the server for one operation."""
        return self.cpu / self.operations

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.wall

    @property
    def busy(self) -> float:
        """The part of the time that the server had something to do."""
        return min(1.0, (self.cpu + self.waited) / self.wall)


def measure(server: Server, kind: Kind, connections: int, seconds: float) -> Measurement:
    """Load a server, from a process of its own.

    Raises:
        RuntimeError: An answer was wrong, or there was none.
    """
    return Measurement(**_run(server, {"kind": kind, "connections": connections, "seconds": seconds}))


def measure_kernel(era: str, seconds: float) -> float:
    """Return the seconds of CPU time that the official SDK takes for a call in itself, without any transport."""
    command = [sys.executable, "-m", "_peers.kernel", era, str(seconds)]
    # What are two cores to us may be two threads of one. A server under load shares it with the load, so this does too.
    with pinned(LOAD_CORE):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with pinned(SERVER_CORE):
            done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        busy.kill()
        busy.wait()
    return float(done.stdout)


def open_idle_sessions(server: Server, count: int) -> None:
    """Open sessions that nobody uses.

    Raises:
        RuntimeError: An answer was wrong, or there was none.
    """
    _run(server, {"idle": count})


def _run(server: Server, order: dict[str, Any]) -> dict[str, Any]:
    order |= {"port": server.port, "pid": server.pid}
    done = subprocess.run([sys.executable, __file__, json.dumps(order)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# -- In the process of the load ---------------------------------------------------------------------


@final
class Window:
    """The time in which operations count.

    A server may take the requests of all connections through each of its steps
    together, so that their answers come all at once. Hence the window begins and
    ends with whole rounds of answers.

    Args:
        pid: The server's process.
        seconds: How long it is, at least. Before, everything runs for a fifth of that.
        connections: How many operations are under way at a time.
    """

    def __init__(self, pid: int, seconds: float, connections: int) -> None:
        self._pid = pid
        self._connections = connections
        self._finished = 0
        self._seconds = seconds
        self._begin_after = time.perf_counter() + seconds / 5
        self._begin = 0.0
        self._end = 0.0
        self._cpu = 0.0
        self._waited = 0.0
        self._taken: list[float] = []

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return not self._end

    def finished(self, begin: float) -> None:
        """Count an operation that began then and ends now."""
        now = time.perf_counter()
        self._finished += 1
        round_ends = self._finished % self._connections == 0
        if not self._begin:
            if round_ends and now >= self._begin_after:
                self._begin = now
                self._cpu = cpu_time(self._pid)
                self._waited = waited(self._pid)
        elif not self._end:
            self._taken.append(now - begin)
            if round_ends and now - self._begin >= self._seconds:
                self._end = now
                self._cpu = cpu_time(self._pid) - self._cpu
                self._waited = waited(self._pid) - self._waited

    def measurement(self) -> Measurement:
        """Return what it has shown."""
        taken = sorted(self._taken)
        last = len(taken) - 1
        return Measurement(
            operations=len(taken),
            wall=self._end - self._begin,
            cpu=self._cpu,
            waited=self._waited,
            p50=taken[last // 2],
            p99=taken[last * 99 // 100],
        )


def check(answer: Answer, *statuses: int) -> None:
    """Check that a request was answered with one of these statuses.

    Raises:
        RuntimeError: It was not.
    """
    if answer.status not in statuses:
        raise RuntimeError(f"status {answer.status}: {answer.body!r}")


def open_session(names: list[str]) -> Talk:
    """Open a session, and note its name."""
    answer = yield initialize()
    check(answer, 200)
    # A floor names none.
    name = answer.session or "none"
    check((yield initialized(name)), 200, 202)
    names.append(name)


def close_session(name: str) -> Talk:
    """End a session."""
    check((yield delete(name)), 200, 202, 204)


def call_tool(window: Window, session: str | None) -> Talk:
    """Call a tool, over and over while the window is open."""
    request = call("add", {"a": A, "b": B}, session)
    now = time.perf_counter
    while window.open:
        begin = now()
        status, _, body = yield request
        if status != 200 or _RIGHT.search(body) is None:
            raise RuntimeError(f"wrong answer, with status {status}: {body!r}")
        window.finished(begin)


def come_and_go(window: Window) -> Talk:
    """Open and end sessions while the window is open."""
    while window.open:
        begin = time.perf_counter()
        names: list[str] = []
        yield from open_session(names)
        yield from close_session(names[0])
        window.finished(begin)


def load_with_calls(connections: Connections, window: Callable[[], Window]) -> Window:
    """Have each connection call a tool in a session of its own."""
    names: list[str] = []
    connections.run(open_session(names) for _ in range(connections.count))
    measured = window()
    connections.run(call_tool(measured, name) for name in names)
    connections.run(map(close_session, names))
    return measured


def load_with_modern_calls(connections: Connections, window: Callable[[], Window]) -> Window:
    """Have each connection call a tool, as 2026-07-28 has it."""
    measured = window()
    connections.run(call_tool(measured, None) for _ in range(connections.count))
    return measured


def load_with_sessions(connections: Connections, window: Callable[[], Window]) -> Window:
    """Have each connection open and end sessions."""
    measured = window()
    connections.run(come_and_go(measured) for _ in range(connections.count))
    return measured


LOADS: Final[dict[Kind, Callable[[Connections, Callable[[], Window]], Window]]] = {
    "handshake": load_with_calls,
    "modern": load_with_modern_calls,
    "sessions": load_with_sessions,
}


def main(order: dict[str, Any]) -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    if idle := order.get("idle"):
        connections = Connections(order["port"], min(idle, 32))
        connections.run(open_session([]) for _ in range(idle))
        print("{}")
        return
    count = order["connections"]
    connections = Connections(order["port"], count)
    window = LOADS[order["kind"]](connections, lambda: Window(order["pid"], order["seconds"], count))
    print(json.dumps(attrs.asdict(window.measurement())))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
