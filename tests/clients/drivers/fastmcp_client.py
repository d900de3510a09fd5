"""Drives ``fastmcp.Client``, which runs on asyncio: ``python -m tests.clients.drivers.fastmcp_client URL ERA``."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.shared.dispatcher import ProgressFnT

from tests.clients.drivers._python import ROOT, Heard, drive, expect, introduce

# No checker of types has it installed.
fastmcp: Any = import_module("fastmcp")


async def answer_elicitation(message: str, answer: Any, *_: object) -> Any:
    expect(message, "Who are you?")
    return answer(name="Ada")


async def answer_sampling(_: object, params: types.CreateMessageRequestParams, *__: object) -> Any:
    expect(params.max_tokens, 100)
    return types.CreateMessageResult(role="assistant", model="atlas", content=types.TextContent(text="Paris"))


class Peer:
    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def protocol(self) -> str:
        return str(self.client.protocol_version)

    async def tools(self) -> set[str]:
        return {tool.name for tool in await self.client.list_tools()}

    async def call(
        self, name: str, arguments: dict[str, Any] | None = None, progress: ProgressFnT | None = None
    ) -> types.CallToolResult:
        result: types.CallToolResult = await self.client.call_tool_mcp(name, arguments or {}, progress_handler=progress)
        return result

    def listen(self) -> None:
        return None


@asynccontextmanager
async def connect(url: str, era: str, heard: Heard) -> AsyncIterator[Peer]:
    async with fastmcp.Client(
        url,
        mode="legacy" if era == "handshake" else "auto",
        elicitation_handler=answer_elicitation,
        sampling_handler=answer_sampling,
        roots=[ROOT],
        log_handler=heard.log,
        message_handler=heard.message,
    ) as client:
        yield Peer(client)


async def main() -> None:
    _, url, era = sys.argv
    introduce(f"fastmcp {version('fastmcp')}", "asyncio")
    await drive(era, partial(connect, url, era))


if __name__ == "__main__":
    # Sampling, roots and logging are deprecated, and tested all the same.
    warnings.simplefilter("ignore")
    asyncio.run(main())
