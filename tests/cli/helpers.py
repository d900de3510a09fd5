"""Runs the command line as a process of its own, as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
COMMAND = [sys.executable, "-m", "streamscope"]
PATIENCE = 120.0
"""Seconds after which a test has failed. None waits that long when all is well."""
ERAS = [("legacy", "2025-11-25"), ("2026-07-28", "2026-07-28")]
"""How the SDK's client is told which revision to speak, and what that is."""


def run(
    *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        # Inherited, so that this process is measured as well.
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refusal(*arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Run a command that cannot begin; return the one line that says why."""
    done = run(*arguments, cwd=cwd, environ=environ)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    prefix = "streamscope: error: "
    assert done.stderr.startswith(prefix)
    return done.stderr.removeprefix(prefix).rstrip("\n")


@attrs.define(eq=False)
class Served:
    """A process of ``streamscope serve``, and what it has said so far."""

    process: trio.Process
    url: str
    printed: bytearray
    logged: bytearray
    stopped: trio.Event

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.logged.decode()

    async def has_logged(self, text: str) -> None:
        """Wait until it has logged something."""
        while text not in self.log:  # noqa: ASYNC110 - another process cannot set an event
            await trio.sleep(0.02)

    async def has_stopped(self) -> int:
        """Wait until it has stopped and all that it said has been read; return its exit status."""
        await self.stopped.wait()
        status = self.process.returncode
        assert status is not None
        return status


@asynccontextmanager
async def serving(*arguments: str, cwd: Path | None = None) -> AsyncIterator[Served]:
    """Run ``streamscope serve`` for the length of a block. Where the block has not stopped it, it is killed.

    A port is chosen that is free, unless the arguments say which.
    """
    command = [*COMMAND, "serve", *(() if "--port" in arguments else ("--port", "0")), *arguments]
    start = partial(trio.run_process, command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            assert process.stdout is not None
            assert process.stderr is not None
            served = Served(process, "", bytearray(), bytearray(), trio.Event())
            nursery.start_soon(_collect, process.stderr, served.logged)
            await _read_line(process.stdout, served.printed)
            assert served.printed.endswith(b"\n"), served.log
            served.url = served.printed.decode().strip()
            nursery.start_soon(_finish, process, served)
            yield served
            if process.returncode is None:
                process.terminate()
                await served.has_stopped()


async def _collect(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
    async for data in stream:
        into += data


async def _read_line(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
    while not into.endswith(b"\n"):
        data = await stream.receive_some()
        if not data:
            # It has stopped; let the other pipe be read to its end.
            await trio.sleep(0.1)
            return
        into += data


async def _finish(process: trio.Process, served: Served) -> None:
    assert process.stdout is not None
    await _collect(process.stdout, served.printed)
    await process.wait()
    served.stopped.set()
