"""A server whose tools share state by a handle: workspaces, each with an owner, a directory and an end.

Nothing of it depends on protocol sessions, so it works in each revision of MCP.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request

from streamscope import (
    CloseReason,
    SessionClosedError,
    SessionId,
    SessionLimitError,
    SessionManager,
    UnknownSessionError,
    open_session_manager,
)
from streamscope.mcp import principal_of

Ctx: TypeAlias = Context[SessionManager, Request]


@asynccontextmanager
async def lifespan(_: MCPServer[SessionManager]) -> AsyncIterator[SessionManager]:
    """Keep the workspaces as long as the server runs, and no longer."""
    async with open_session_manager(
        max_sessions_per_principal=3,
        idle_timeout=15 * 60,
        max_age=24 * 60 * 60,
    ) as workspaces:
        yield workspaces


server = MCPServer("workspaces", lifespan=lifespan)


@asynccontextmanager
async def open_directory() -> AsyncIterator[trio.Path]:
    """Make a directory, and remove it with all that is in it."""
    # As well could this start a browser, or log in somewhere.
    with tempfile.TemporaryDirectory(prefix="workspace-") as name:
        yield trio.Path(name)


def caller(ctx: Ctx) -> str | None:
    """Say who calls."""
    request = ctx.request_context.request
    assert request is not None
    return principal_of(request.scope)


@asynccontextmanager
async def use(workspace: str, ctx: Ctx) -> AsyncIterator[trio.Path]:
    """Find a workspace of the caller's. While it is used, it is not idle."""
    try:
        session = ctx.request_context.lifespan_context.get_session(SessionId.parse(workspace), principal=caller(ctx))
        async with session.open_stream(kind="use"):
            yield session.value
    except (ValueError, UnknownSessionError):
        raise ToolError("There is no such workspace; make one with create_workspace.") from None
    except SessionClosedError as exc:
        raise ToolError(f"This workspace has ended ({exc.reason}); make another with create_workspace.") from None


@server.tool()
async def create_workspace(ctx: Ctx) -> str:
    """Create a workspace, and return its handle, which the other tools take."""
    try:
        session = await ctx.request_context.lifespan_context.start_session(principal=caller(ctx))
    except SessionLimitError as exc:
        raise ToolError(f"There are too many workspaces in use: {exc}") from None
    session.value = await session.enter_async_context(open_directory())
    return str(session.id)


@server.tool()
async def write_file(workspace: str, name: str, text: str, ctx: Ctx) -> None:
    """Write a file in a workspace."""
    async with use(workspace, ctx) as directory:
        await path_of(directory, name).write_text(text)


@server.tool()
async def read_file(workspace: str, name: str, ctx: Ctx) -> str:
    """Read a file of a workspace."""
    async with use(workspace, ctx) as directory:
        try:
            return await path_of(directory, name).read_text()
        except FileNotFoundError:
            raise ToolError(f"There is no file {name!r} in this workspace.") from None


def path_of(directory: trio.Path, name: str) -> trio.Path:
    """Say where a file is, without leaving the directory."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ToolError(f"{name!r} is no file name.")
    return directory / name


@server.tool()
async def list_workspaces(ctx: Ctx) -> list[str]:  # noqa: ASYNC124 - a plain function would run in a thread
    """List the caller's workspaces."""
    principal = caller(ctx)
    if principal is None:
        # Handles are secrets, and nobody in particular has none of his own.
        raise ToolError("Only those who have signed in can list their workspaces.")
    return [
        str(session.session_id)
        for session in ctx.request_context.lifespan_context.list_sessions(principal=principal)
        if session.reason is None
    ]


@server.tool()
async def destroy_workspace(workspace: str, ctx: Ctx) -> None:
    """End a workspace, and what is done in it; its files are gone when this returns."""
    sessions = ctx.request_context.lifespan_context
    try:
        session = sessions.get_session(SessionId.parse(workspace), principal=caller(ctx))
    except (ValueError, UnknownSessionError, SessionClosedError):
        # It does not matter how often it is destroyed.
        return
    session.close(CloseReason.TERMINATED)
    await session.wait_closed()
