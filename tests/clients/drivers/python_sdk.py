"""Drives ``mcp.Client`` of the official Python SDK: ``python -m tests.clients.drivers.python_sdk URL ERA BACKEND``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.subscriptions import Subscription
from mcp.shared.dispatcher import ProgressFnT

from tests.clients.drivers._python import ROOT, Heard, drive, expect, introduce


async def answer_elicitation(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
    expect(params.message, "Who are you?")
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def answer_sampling(context: object, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    expect(params.max_tokens, 100)
    return types.CreateMessageResult(role="assistant", model="atlas", content=types.TextContent(text="Paris"))


async def answer_roots(context: object) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root.model_validate({"uri": ROOT})])


class Peer:
    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def protocol(self) -> str:
        return self.client.protocol_version

    async def tools(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}

    async def call(
        self, name: str, arguments: dict[str, Any] | None = None, progress: ProgressFnT | None = None
    ) -> types.CallToolResult:
        return await self.client.call_tool(name, arguments, progress_callback=progress)

    def listen(self) -> AbstractAsyncContextManager[Subscription]:
        return self.client.listen(tools_list_changed=True)


@asynccontextmanager
async def connect(url: str, era: str, heard: Heard) -> AsyncIterator[Peer]:
    async with Client(
        url,
        mode="legacy" if era == "handshake" else "auto",
        elicitation_callback=answer_elicitation,
        sampling_callback=answer_sampling,
        list_roots_callback=answer_roots,
        logging_callback=heard.log,
        message_handler=heard.message,
        log_level="info",
    ) as client:
        yield Peer(client)


async def main() -> None:
    _, url, era, backend = sys.argv
    introduce(f"mcp {version('mcp')}", f"Trio {version('trio')}" if backend == "trio" else "asyncio")
    await drive(era, partial(connect, url, era))


if __name__ == "__main__":
    # Sampling, roots and logging are deprecated, and tested all the same.
    warnings.simplefilter("ignore")
    anyio.run(main, backend=sys.argv[3])
