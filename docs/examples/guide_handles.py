"""A client that makes a workspace, uses it and destroys it."""

import sys

import mcp
import trio
from mcp_types import TextContent


async def main(url: str) -> None:
    async with mcp.Client(url) as client:
        made = await client.call_tool("create_workspace", {})
        assert made.structured_content is not None
        workspace = made.structured_content["result"]

        poem = {"workspace": workspace, "name": "poem"}
        await client.call_tool("write_file", {**poem, "text": "old pond"})
        await read(client, poem)

        await client.call_tool("destroy_workspace", {"workspace": workspace})
        await read(client, poem)


async def read(client: mcp.Client, file: dict[str, str]) -> None:
    result = await client.call_tool("read_file", file)
    content = result.content[0]
    assert isinstance(content, TextContent)
    print(content.text)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
