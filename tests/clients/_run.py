"""Runs one client: its server, the proxy before it, its driver; and judges what only they can tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import httpx2
import trio

from tests.clients._operations import MODERN, Client, Outcome, Run
from tests.clients._proxy import Proxy

HERE: Final = Path(__file__).parent
TIMEOUT: Final = 300
"""Seconds that a client may take for everything."""

_ERROR: Final = re.compile(r"^(?:.* (?:ERROR|CRITICAL) .*|Traceback .*)$", re.MULTILINE)
_UNKNOWN_SESSION: Final = 404


@attrs.define(eq=False)
class Server:
    """A process of ``streamscope serve``."""

    process: trio.Process
    url: str
    log: bytearray
    stopping: bool = False

    def stop(self) -> None:
        """Ask it to stop, as an operator does."""
        self.stopping = True
        self.process.terminate()


async def serve(task_status: trio.TaskStatus[Server]) -> None:
    """Run the server, until it is stopped."""
    command = [sys.executable, "-m", "streamscope", "serve", f"{HERE / 'server.py'}:server", "--port=0"]
    log = bytearray()
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        assert process.stderr is not None
        nursery.start_soon(_collect, process.stderr, log)
        with trio.fail_after(120):
            url = await _first_line(process.stdout)
        if not url:
            raise RuntimeError(f"the server did not start: {log.decode(errors='replace')}")
        task_status.started(Server(process, url, log))


async def _first_line(stream: trio.abc.ReceiveStream) -> str:
    line = b""
    async for data in stream:
        line += data
        if line.endswith(b"\n"):
            return line.decode().strip()
    return ""


async def _collect(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
    async for data in stream:
        into.extend(data)


async def run_client(client: Client, command: Sequence[str], environment: dict[str, str]) -> Run:
    """Run one client.

    Args:
        client: The client.
        command: What its driver is started with; the URL, the era and its own arguments follow.
        environment: The driver's environment variables.
    """
    run = Run(client)
    why = "the driver did not come to it"
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve)
        target = urlsplit(server.url)
        assert target.hostname is not None
        assert target.port is not None
        proxy = Proxy(target.hostname, target.port)
        port: int = await nursery.start(proxy.run)
        url = f"http://127.0.0.1:{port}{target.path}"
        with trio.move_on_after(TIMEOUT) as limit:
            why = await _drive(run, [*command, url, client.era, *client.arguments], environment, server, proxy) or why
        if limit.cancelled_caught:
            why = f"it was not done within {TIMEOUT} s"
        if not server.stopping:
            server.stop()
        with trio.move_on_after(30) as limit:
            code = await server.process.wait()
            if code:
                run.outcomes["stop"] = Outcome("fail", f"the server exited with {code}")
        if limit.cancelled_caught:
            run.outcomes["stop"] = Outcome("fail", "the server did not stop")
        nursery.cancel_scope.cancel()
    run.wire, run.log = proxy.dump(), server.log.decode(errors="replace")
    run.outcomes["clean"] = _judge_traces(run, proxy)
    run.settle(why)
    return run


async def _drive(
    run: Run, command: Sequence[str], environment: dict[str, str], server: Server, proxy: Proxy
) -> str | None:
    """Run the driver and read what it prints. Returns why it did not finish, if it did not."""
    errors = bytearray()
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            env=environment,
            cwd=HERE.parents[1],
        )
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        assert process.stderr is not None
        nursery.start_soon(_collect, process.stderr, errors)
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                await _take(run, json.loads(line), server, proxy)
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        return f"the driver exited with {process.returncode}: {last[0]}"
    return None


async def _take(run: Run, line: dict[str, Any], server: Server, proxy: Proxy) -> None:
    """Take one line of a driver."""
    match line:
        case {"about": str(about), "runtime": str(runtime)}:
            run.about, run.runtime = about, runtime
        case {"protocol": str(protocol)}:
            run.protocol = protocol
        case {"op": str(name), "status": "pass" | "fail" | "n.a." as status}:
            run.outcomes[name] = Outcome(status, line.get("detail", ""))
        case {"closed": "session"}:
            run.outcomes["terminate"] = await _judge_end(server, proxy)
        case {"ready": "shutdown"}:
            proxy.mark_stop()
            server.stop()
        case _:
            raise ValueError(f"a driver said {line}")


async def _judge_end(server: Server, proxy: Proxy) -> Outcome:
    """Tell whether the client has ended its first session, and the server does not know it any more."""
    session = next(iter(proxy.session_ids()), None)
    if session is None:
        return Outcome("fail", "there was no session")
    if session not in proxy.deleted():
        return Outcome("fail", "the client sent no DELETE")
    headers = {"accept": "application/json, text/event-stream", "mcp-session-id": session}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(server.url, headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    if answer.status_code != _UNKNOWN_SESSION:
        return Outcome("fail", f"the server still answers for the session: {answer.status_code}")
    return Outcome("pass")


def _judge_traces(run: Run, proxy: Proxy) -> Outcome:
    """Tell whether the wire and the server's log look as they should."""
    refusals = [status for status in proxy.statuses() if status >= 400]
    if refusals:
        return Outcome("fail", f"the server refused with {refusals}")
    again = {event: count for event, count in Counter(proxy.resumed_after()).items() if count > 1}
    if again:
        return Outcome("fail", f"the client came back for the same event, time and again: {again}")
    if run.client.era == MODERN and proxy.session_ids():
        return Outcome("fail", "the server gave a session")
    if found := _ERROR.search(run.log):
        return Outcome("fail", f"the server's log has: {found[0]}")
    return Outcome("pass")
