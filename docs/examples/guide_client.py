"""A client, for the server whose URL it is given."""

import sys

import trio
from mcp import Client


async def show(  # noqa: ASYNC124 - the SDK awaits it
    progress: float,
    total: float | None,
    message: str | None,
) -> None:
    print(f"{message}: {progress} of {total}")


async def main(url: str) -> None:
    async with Client(url) as client:
        print("revision:", client.protocol_version)
        arguments = {"harbour": "Husum"}
        result = await client.call_tool("next_tide", arguments, progress_callback=show)
        print("result:", result.structured_content)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
