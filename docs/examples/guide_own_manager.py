"""A server whose sessions are one's own: with another event log, and with someone who watches."""

import trio
from mcp.server import MCPServer

from streamscope import Change, MemoryEventLog, SessionClosed, open_session_manager
from streamscope.abc import Instrument
from streamscope.mcp import serve

server = MCPServer("tides")


class Announce(Instrument):
    def changed(self, change: Change) -> None:
        if isinstance(change, SessionClosed):
            print("a session has ended:", change.reason)


async def main(port: int = 8000) -> None:
    opening = open_session_manager(
        log=MemoryEventLog(max_events=100, resume_window=3600),
        instruments=(Announce(),),
        idle_timeout=3600,
    )
    async with opening as sessions:
        await serve(server, sessions, port=port)


if __name__ == "__main__":
    trio.run(main)
