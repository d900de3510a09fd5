"""``streamscope serve``, as a process, used by clients.

Such a process takes more than a second to import the SDK, so a test uses its process for several things.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
from contextlib import closing

import httpx2
import mcp
import pytest

from streamscope._demo_courier import Courier
from tests.cli.helpers import ERAS, refusal, run, serving


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number = sock.getsockname()[1]
    return str(number)


@pytest.fixture
def taken_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield str(sock.getsockname()[1])


# Serving


async def test_clients_of_both_eras(demo_target):
    async with serving(demo_target, "--log-level", "warning") as served:
        for mode, revision in ERAS:
            async with mcp.Client(served.url, mode=mode) as client:
                assert client.protocol_version == revision
                assert (await client.call_tool("add", {"a": 40, "b": 2})).structured_content == {"result": 42}
        served.process.terminate()
        await served.has_stopped()
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]*/mcp\n", served.printed.decode())
        assert served.log == ""


async def test_events_in_a_database(demo_target, tmp_path):
    path = tmp_path / "events.db"
    async with serving(demo_target, "--log", f"sqlite:{path}") as served:
        for mode, _ in ERAS:
            async with mcp.Client(served.url, mode=mode) as client:
                assert (await client.call_tool("add", {"a": 40, "b": 2})).structured_content == {"result": 42}
        message = refusal("serve", demo_target, "--log", f"sqlite:{path}")
        assert message.startswith(f"the event log {str(path)!r} cannot be opened: another process, or another log")
        served.process.terminate()
        assert await served.has_stopped() == 0
    with closing(sqlite3.connect(path)) as database:
        # What was in it went with its sessions.
        assert database.execute("SELECT * FROM streams").fetchall() == []


async def test_a_module_on_an_address_of_one_s_own(demo_target, tmp_path, port):
    where = ("--host", "localhost", "--port", port, "--path", "/here/it/is")
    async with serving("small:server", *where, cwd=tmp_path) as served:
        assert re.fullmatch(rf"http://(127\.0\.0\.1|\[::1\]|localhost):{port}/here/it/is", served.url)
        async with mcp.Client(served.url) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["add", "work"]
        async with httpx2.AsyncClient() as http:
            assert (await http.get(served.url.replace("/here/it/is", "/mcp"))).status_code == 404


async def test_hosts_and_origins_that_are_allowed(demo_target):
    allowed = ("--allow-host", "tides.example", "--allow-origin", "https://app.example")
    async with serving(demo_target, *allowed, "--log-level", "warning") as served, httpx2.AsyncClient() as http:
        for host, origin, status in [
            ("tides.example", None, 400),
            ("tides.example:8443", "https://app.example", 400),
            ("localhost", "http://tides.example", 400),
            ("evil.example", None, 421),
            ("tides.example", "https://evil.example", 403),
        ]:
            headers = {"host": host, "accept": "text/event-stream", **({} if origin is None else {"origin": origin})}
            # Who is let in is told that it has no session.
            assert (await http.get(served.url, headers=headers)).status_code == status
        assert served.log == ""


async def test_a_server_that_checks_no_hosts_says_so(demo_target, port):
    where = ("--host", "0.0.0.0", "--port", port)
    async with serving(demo_target, *where) as served, httpx2.AsyncClient() as http:
        headers = {"host": "any.example", "origin": "https://any.example", "accept": "text/event-stream"}
        assert (await http.get(f"http://127.0.0.1:{port}/mcp", headers=headers)).status_code == 400
        await served.has_logged("Host and Origin are not checked on 0.0.0.0; --allow-host has them checked\n")


async def test_sessions_are_limited_in_number_and_age(demo_target):
    async with (
        serving(demo_target, "--max-sessions", "1", "--max-age", "1") as served,
        Courier(served.url) as first,
        Courier(served.url) as second,
    ):
        await first.initialize()
        async with first.call("work", {}) as events:
            # One that is busy makes no room for another,
            with pytest.raises(httpx2.HTTPStatusError) as caught:
                await second.initialize()
            assert caught.value.response.status_code == 503
            # but it ends in its time.
            received = [event async for event in events]
        assert received[-1].message["error"]["data"] == {"reason": "expired"}
        await second.initialize()


async def test_an_idle_session_ends_and_debug_tells_of_it(demo_target):
    async with serving(demo_target, "--idle-timeout", "0.3", "--log-level", "debug") as served:
        async with Courier(served.url) as courier:
            await courier.initialize()
            async with courier.call("work", {}) as events:
                position = (await anext(events)).event_id
            await served.has_logged(f"reader detached at {position}")
            stream = position.stream_id
            # The call goes on, so the session is not idle, for longer than the time-out.
            async with courier.resume(position) as events:
                assert [(await anext(events)).event_id.seq for _ in range(20)] == list(range(2, 22))
            response = await courier._post("notifications/cancelled", {"requestId": 2})
            assert response.status_code == 202
            await served.has_logged("session closed")
            assert await courier.ping() == 404
            session_id = str(courier.session_id)
        served.process.terminate()
        assert await served.has_stopped() == 0
        log = served.log
    for expected in (
        r"session opened, from 127\.0\.0\.1:[0-9]+\n",
        rf"stream {stream} \(post\) opened\n",
        rf"reader attached at {stream}\.0\n",
        rf"reader detached at {stream}\.1: disconnected\n",
        rf"stream {stream} closed after [0-9]+ events: cancelled\n",
        r"session closed after [0-9.]+ s: idle\n",
        r"stopped; served 1 sessions and [0-9]+ streams\n",
    ):
        assert re.search(expected, log), expected
    assert session_id not in log


# What cannot be served


def test_a_target_that_is_not_there(tmp_path):
    assert refusal("serve", "nothing.py:server", cwd=tmp_path) == "there is no file 'nothing.py'"


def test_a_port_that_is_in_use(demo_target, taken_port):
    message = refusal("serve", demo_target, "--port", taken_port)
    assert message.startswith(f"cannot listen on 127.0.0.1 port {taken_port}: ")
    assert sys.platform == "win32" or message.endswith("Address already in use")


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_an_address_that_is_not_ours(demo_target, host):
    assert refusal("serve", demo_target, "--host", host).startswith(f"cannot listen on {host} port 8000: ")


def test_a_missing_extra(demo_target, tmp_path):
    # A module that stands before the real one, and behaves as if it were not there.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "mcp.py").write_text("raise ModuleNotFoundError('No module named mcp', name='mcp')\n")
    path = os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH")]))
    message = refusal("serve", demo_target, environ={"PYTHONPATH": path})
    assert message == 'mcp is not installed; this command needs streamscope with its "mcp" extra'


def test_the_module_raises(tmp_path):
    (tmp_path / "broken.py").write_text("def f():\n    import not_there\n\n\nf()\n")
    done = run("serve", "broken:server", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('broken.py", line 5, in <module>')
    assert "ModuleNotFoundError: No module named 'not_there'" in lines
    assert lines[-1] == "streamscope: error: broken could not be imported; see above"
    assert "_cli" not in done.stderr


def test_a_module_that_exits(tmp_path):
    (tmp_path / "leaving.py").write_text("raise SystemExit('no key')\n")
    done = run("serve", "leaving.py", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no key\n")


LIFESPAN = """
from contextlib import asynccontextmanager
from mcp.server import MCPServer


@asynccontextmanager
async def lifespan(server):
    raise OSError(98, "mine, not the address")
    yield


server = MCPServer("late", lifespan=lifespan)
"""


def test_a_server_that_cannot_start(tmp_path):
    (tmp_path / "late.py").write_text(LIFESPAN)
    done = run("serve", "late.py", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('late.py", line 8, in lifespan')
    assert lines[-2:] == [
        "OSError: [Errno 98] mine, not the address",
        "streamscope: error: late.py has failed; see above",
    ]
