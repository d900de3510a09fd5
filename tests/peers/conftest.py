"""Runs the tests here against streamscope, or with ``--peer=sdk`` against the official SDK's own server.

Each test guards against a flaw that was found in some other SDK: its marker says in which. Against
the official SDK, the tests of its own flaws are expected to fail, and it is an error where one passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.helpers import Process, Server

HERE = Path(__file__).parent
SDK = "python-sdk"
PEERS = {SDK, "typescript-sdk", "rust-sdk", "go-sdk", "kotlin-sdk", "csharp-sdk", "fastmcp", "mcp-go", "toolhive"}
# With the SDK on Hypercorn's Trio worker.
PEERS |= {"hypercorn"}

# The HTTP client of the SDK leaves its generators to the garbage collector where a response is not read to its end.
LEFT_BEHIND = pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2)\.:ResourceWarning")


def pytest_addoption(parser):
    parser.addoption("--peer", choices=["streamscope", "sdk"], default="streamscope", help="whom tests/peers tests")


def pytest_configure(config):
    config.addinivalue_line("markers", "flaw_of(*peers): the SDKs that have the flaw that the test guards against")


def peer(config: pytest.Config) -> str:
    """Whom to test. Where more than this directory is run, the option is not known."""
    return config.getoption("peer", "streamscope")


def flawed(item: pytest.Item) -> set[str]:
    return {name for marker in item.iter_markers("flaw_of") for name in marker.args}


def pytest_collection_modifyitems(config, items):
    for item in items:
        if HERE not in item.path.parents:
            continue
        names = flawed(item)
        assert names, f"{item.nodeid} does not say whose flaw it guards against"
        assert names <= PEERS, names - PEERS
        item.add_marker(LEFT_BEHIND)
        if peer(config) == "sdk" and SDK in names:
            # In the group of the nursery in which pytest-trio runs tests. Anything else is an error of ours.
            raises = pytest.RaisesGroup(AssertionError)
            item.add_marker(pytest.mark.xfail(reason="a flaw of the SDK", raises=raises, strict=True))


@pytest.fixture(scope="session")
def start(request, tmp_path_factory) -> Iterator[Callable[..., Process]]:
    """Start a server process. All of them are stopped in the end, and none may have logged an error."""
    target = peer(request.config)
    logs = tmp_path_factory.mktemp("peers")
    processes: list[Process] = []

    def start(*arguments: str) -> Process:
        process = Process.start(logs / f"{len(processes)}.log", target, *arguments)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
    finished = [process.finish(1 if target == "sdk" else 20) for process in processes]
    if target != "sdk":
        said = "".join(process.log.read_text() for process in processes)
        assert not re.search("WARNING|ERROR|CRITICAL|Traceback", said), said
        assert all(finished)


@pytest.fixture(scope="session")
def shared(start) -> dict[str, Process]:
    """The servers that tests share. They start at once, since that takes each of them some time."""
    return {
        "plain": start(),
        "tight": start("--idle=0.5", "--sessions=40", "--listeners=8"),
        "slow": start("--slow=0.005", "--sessions=12"),
    }


@pytest.fixture
def patience(request) -> float:
    """Seconds that a test may take: less where it is expected to fail, which is often by hanging."""
    return 4.0 if peer(request.config) == "sdk" and SDK in flawed(request.node) else 20.0


@pytest.fixture
def server(shared, patience) -> Server:
    """A server with default options."""
    return Server(shared["plain"], patience)


@pytest.fixture
def tight_server(shared, patience) -> Server:
    """A server where little is allowed to each client, and idle sessions end soon."""
    return Server(shared["tight"], patience)


@pytest.fixture
def slow_server(shared, patience) -> Server:
    """A server whose events are kept behind a disk; it has room for a dozen sessions, which may be idle."""
    return Server(shared["slow"], patience)


@pytest.fixture
def own_server(start, patience) -> Server:
    """A server that the test may stop."""
    return Server(start(), patience)
