"""A server of fastmcp, run as its users run it, but without a log."""

from __future__ import annotations

import sys

from fastmcp import FastMCP


async def add(a: int, b: int) -> int:  # noqa: ASYNC124 - a sync tool would run in a thread
    """Add two numbers."""
    return a + b


def main(port: str) -> None:
    server = FastMCP("benchmark")
    server.tool(add)
    server.run(transport="http", port=int(port), log_level="warning", show_banner=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
