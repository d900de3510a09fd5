"""The example of explicit state handles, used by real clients of both eras."""

from __future__ import annotations

import importlib
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import mcp
import pytest
import trio
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import TextContent

from streamscope import SessionId, open_session_manager
from streamscope.mcp import StreamableHTTPEndpoint
from tests.mcp.helpers import bare_exceptions, hosting, no_lifespan
from tests.mcp.test_principals import login

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ERAS = ["legacy", "2026-07-28"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where the workspaces' directories are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def example(monkeypatch):
    """The example, loaded anew."""
    monkeypatch.syspath_prepend(EXAMPLES)
    yield importlib.import_module("workspaces")
    del sys.modules["workspaces"]


class Caller:
    """A client that calls tools for the text of their answers."""

    def __init__(self, client: mcp.Client) -> None:
        self.client = client

    async def __call__(self, tool: str, **arguments: str) -> object:
        result = await self.client.call_tool(tool, arguments)
        if result.is_error:
            assert isinstance(result.content[0], TextContent)
            return result.content[0].text
        assert result.structured_content is not None
        return result.structured_content["result"]


@asynccontextmanager
async def using(example, *users, mode):
    """Serve the example, and give a client for each user."""
    with bare_exceptions():
        async with (
            StreamableHTTPEndpoint(example.server) as endpoint,
            hosting(no_lifespan(login(endpoint))) as url,
            AsyncExitStack() as stack,
        ):
            callers = []
            for user in users:
                http = create_mcp_http_client(headers={} if user is None else {"x-user": user})
                transport = streamable_http_client(url, http_client=await stack.enter_async_context(http))
                callers.append(Caller(await stack.enter_async_context(mcp.Client(transport, mode=mode))))
            yield callers


@pytest.mark.parametrize("mode", ERAS)
async def test_create_use_list_and_destroy(mode, example, root):
    async with using(example, "alice", mode=mode) as [alice]:
        one, two = await alice("create_workspace"), await alice("create_workspace")
        assert len(list(root.iterdir())) == 2
        await alice("write_file", workspace=one, name="poem", text="old pond")
        assert await alice("read_file", workspace=one, name="poem") == "old pond"
        assert "no file 'poem'" in await alice("read_file", workspace=two, name="poem")
        assert await alice("list_workspaces") == [one, two]
        for _ in range(2):
            await alice("destroy_workspace", workspace=one)
            assert len(list(root.iterdir())) == 1
        assert await alice("list_workspaces") == [two]
        assert "has ended (terminated)" in await alice("read_file", workspace=one, name="poem")
        assert "no file name" in await alice("write_file", workspace=two, name="../poem", text="frog")
    # The server has stopped, and has taken them with it.
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("mode", ERAS)
async def test_what_is_somebody_elses_does_not_exist(mode, example, root):
    async with using(example, "alice", "mallory", None, mode=mode) as [alice, *others]:
        workspace = await alice("create_workspace")
        await alice("write_file", workspace=workspace, name="diary", text="secret")
        for other in others:
            never = str(SessionId.new())
            unknown = await other("read_file", workspace=never, name="diary")
            assert await other("read_file", workspace=workspace, name="diary") == unknown
            assert await other("read_file", workspace="\N{SNOWMAN}", name="diary") == unknown
            await other("destroy_workspace", workspace=workspace)
        assert await others[0]("list_workspaces") == []
        assert "signed in" in await others[1]("list_workspaces")
        assert await alice("read_file", workspace=workspace, name="diary") == "secret"
        await alice("destroy_workspace", workspace=workspace)
        for other in others:
            assert "no such workspace" in await other("read_file", workspace=workspace, name="diary")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_comes_back_finds_it(mode, example, root):
    async with using(example, "alice", "alice", mode=mode) as [before, after]:
        workspace = await before("create_workspace")
        await before("write_file", workspace=workspace, name="a", text="1")
        assert await after("read_file", workspace=workspace, name="a") == "1"


async def test_one_that_was_forgotten_says_so(example, root, monkeypatch):
    monkeypatch.setattr(example, "open_session_manager", lambda **_: open_session_manager(idle_timeout=0.05))
    async with using(example, "alice", mode="2026-07-28") as [alice]:
        workspace = await alice("create_workspace")
        with trio.fail_after(10):
            while list(root.iterdir()):  # noqa: ASYNC110 - a directory cannot set an event
                await trio.sleep(0.01)
        assert "has ended (idle)" in await alice("read_file", workspace=workspace, name="a")


async def test_one_too_many_replaces_the_one_that_was_idle_longest(example, root):
    async with using(example, "alice", mode="2026-07-28") as [alice]:
        made = [await alice("create_workspace") for _ in range(4)]
        assert await alice("list_workspaces") == made[1:]
        assert "has ended (evicted)" in await alice("read_file", workspace=made[0], name="a")
        assert len(list(root.iterdir())) == 3
