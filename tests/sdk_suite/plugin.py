"""A pytest plugin that runs the SDK's own tests with our session manager, on Trio.

Wherever the SDK has bound its `StreamableHTTPSessionManager`, it gets ours; the
tests, which are imported later, find that one. What became of each test, and
whether the manager was used in it, is written down for `run`.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import mcp.server.mcpserver  # noqa: F401 - binds the manager
import pytest
from mcp.server import streamable_http_manager

from streamscope.mcp import StreamableHTTPSessionManager

ORIGINAL = streamable_http_manager.StreamableHTTPSessionManager
TIME_LIMIT = 10.0
"""Seconds that a test may take. The longest that passes takes two."""


def pytest_addoption(parser):
    parser.addoption("--manager", choices=["streamscope", "sdk"], default="streamscope")
    parser.addoption("--backend", choices=["trio", "asyncio"], default="trio")
    parser.addoption("--outcomes", type=Path, required=True)


def pytest_configure(config):
    manager = ORIGINAL
    if config.getoption("manager") == "streamscope":
        manager = StreamableHTTPSessionManager
        manager._server_instances = property(server_instances)
        for name, module in sys.modules.items():
            if name.startswith("mcp.") and getattr(module, ORIGINAL.__name__, None) is ORIGINAL:
                setattr(module, ORIGINAL.__name__, manager)
    config.pluginmanager.register(Outcomes(manager, config.getoption("outcomes")))


def server_instances(manager):
    """The open sessions by identifier: a private attribute, through which the SDK's tests look at them."""
    endpoint = manager._endpoint
    handlers = endpoint and endpoint._handlers
    return {str(name): guest for name, guest in handlers._house._guests.items()} if handlers else {}


@pytest.hookimpl(tryfirst=True)
def pytest_plugin_registered(plugin, manager):
    """Replace the fixture that says what anyio runs on, before pytest has looked for fixtures."""
    if getattr(plugin, "__name__", None) == "tests.conftest":
        config = manager.getplugin("pytestconfig")
        plugin.anyio_backend = pytest.fixture(scope="session")(lambda: config.getoption("backend"))


def pytest_collection_modifyitems(items):
    for item in items:
        # A test with a backend of its own may have a clock of its own, too.
        own_backend = "anyio_backend" in getattr(getattr(item, "callspec", None), "params", {})
        if inspect.iscoroutinefunction(item.obj) and not own_backend:
            item.obj = limited(item.obj)


def limited(test):
    """End a test that hangs from within: what runs the tests would not survive it otherwise."""

    @functools.wraps(test)
    async def run(*args, **kwargs):
        with anyio.fail_after(TIME_LIMIT):
            await test(*args, **kwargs)

    return run


class Outcomes:
    """Notes what becomes of each test, and whether it has used the manager."""

    def __init__(self, manager: type, path: Path) -> None:
        self.path = path
        self.test: str | None = None
        self.users: set[str | None] = set()
        self.failures: dict[str, str | None] = {}
        # The SDK's own takes some requests by another way than ours.
        for name in ("__init__", "_handle_request" if manager is ORIGINAL else "handle_request"):
            setattr(manager, name, self.noting(getattr(manager, name)))

    def noting(self, method):
        @functools.wraps(method)
        def run(*args, **kwargs):
            self.users.add(self.test)
            return method(*args, **kwargs)

        return run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.test = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failures.setdefault(report.nodeid, None)
        if not report.passed:
            self.failures[report.nodeid] = str(report.longrepr)

    def pytest_sessionfinish(self) -> None:
        outcomes = [
            {"test": test, "used": test in self.users, "failure": failure} for test, failure in self.failures.items()
        ]
        self.path.write_text(json.dumps(outcomes))
