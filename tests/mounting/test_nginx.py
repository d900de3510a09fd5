"""The configuration of docs/mounting.rst, in a real nginx where there is one."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from starlette.routing import Route

from streamscope import ReaderDetached
from streamscope.mcp import HostPolicy
from tests.mcp.demo import Demo
from tests.mcp.helpers import PATIENCE, bare_exceptions, call, hosting, peering, request, until
from tests.mounting.apps import application, endpoint_of, official_adds

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

LOCATION = (Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf").read_text(encoding="utf-8")


def configuration(upstream: str, port: int, directory: Path) -> str:
    """Put the example into the least that nginx runs with."""
    modules = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{module}_temp_path {directory}/{module};" for module in modules)
    location = LOCATION.replace("http://127.0.0.1:8000", upstream)
    assert upstream in location
    return f"""
        daemon off; master_process off; pid {directory}/pid; error_log stderr error;
        events {{}}
        http {{
            access_log off;
            {temporary}
            server {{ listen 127.0.0.1:{port}; {location} }}
        }}
    """


@asynccontextmanager
async def nginx(upstream: str, directory: Path) -> AsyncIterator[str]:
    """Run nginx before a server; give its URL."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (directory / "nginx.conf").write_text(configuration(upstream, port, directory))
    command = ["nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    with trio.fail_after(PATIENCE), bare_exceptions():
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, command, check=False))
            while process.poll() is None:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
            process.terminate()


@asynccontextmanager
async def behind_nginx(demo, directory, **options):
    endpoint = endpoint_of(demo, **options)
    app = application([Route("/mcp", endpoint)], endpoint)
    async with (
        hosting(app) as upstream,
        nginx(upstream, directory) as url,
        peering(f"{url}/coast/mcp") as peer,
    ):
        yield endpoint, peer


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_official_client(mode, tmp_path):
    async with behind_nginx(Demo(), tmp_path) as (_, peer):
        assert await official_adds(peer.url, mode)


async def test_streams_come_through_as_they_are_sent_and_are_resumed(tmp_path):
    demo = Demo()
    async with behind_nginx(demo, tmp_path, sse_delay=0, ping_interval=0.05) as (endpoint, peer):
        await peer.initialize()
        async with endpoint.sessions.watch() as changes:
            async with peer.stream("POST", call("speak")) as events:
                for number in range(3):
                    await demo.lines.send(number)
                    assert (await events.message())["params"]["progress"] == number
            # Who leaves nginx has left the endpoint.
            await until(changes, ReaderDetached, events.stream_id)
        await demo.lines.send(3)
        demo.lines.close()
        async with peer.listen(events.last_id) as resumed:
            assert (await resumed.message())["params"]["progress"] == 3
            assert "result" in await resumed.answer()
        async with peer.listen() as listening:
            while not listening.parser.comments:
                await listening.chunk()


async def test_the_host_is_the_clients_and_a_body_may_be_as_large_as_the_endpoint_lets_it_be(tmp_path):
    async with behind_nginx(Demo(), tmp_path, hosts=HostPolicy(frozenset({"tides.example"}))) as (_, peer):
        assert (await peer.post(request("ping"))).status_code == 421
        peer.headers["host"] = "tides.example"
        await peer.initialize()
        # nginx's own limit is a megabyte.
        assert (await peer.post(request("ping", {"_meta": {"filler": "x" * 2**21}}))).status_code == 200
