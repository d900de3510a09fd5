"""The server process, which is killed and started again on the same port and the same log."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import final

import trio

HERE = Path(__file__).parent


@final
class ServerProcess:
    """Runs the server in a nursery.

    Args:
        nursery: Where it runs.
        database: Where its log is.
    """

    def __init__(self, nursery: trio.Nursery, database: Path) -> None:
        self._nursery = nursery
        self._database = database
        self._process: trio.Process | None = None
        self._port = 0
        self.url = ""
        self.kills = 0

    async def start(self) -> None:
        """Start it; it listens when this returns."""
        where = [f"{HERE / 'server.py'}:server", "--log", f"sqlite:{self._database}", "--port", str(self._port)]
        command = [sys.executable, "-m", "streamscope", "serve", *where, "--log-level", "error"]
        self._process = await self._nursery.start(
            partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        )
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            data = await self._process.stdout.receive_some()
            if not data:
                raise RuntimeError("the server did not start; it says above why")
            line += data
        self.url = line.decode().strip()
        self._port = int(self.url.rsplit(":", 1)[1].partition("/")[0])

    async def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        assert self._process is not None
        self.kills += 1
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Stop it in order; return its exit status."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()
