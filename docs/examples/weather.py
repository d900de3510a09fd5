"""A server with one tool that takes its time and says how far it is."""

import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("weather")


@server.tool()
async def forecast(city: str, days: int, ctx: Context) -> list[str]:
    """Forecast the weather of a city."""
    for day in range(1, days + 1):
        await ctx.report_progress(day, days, f"day {day}")
        await trio.sleep(0.5)
    return [f"{city}, day {day}: sunny" for day in range(1, days + 1)]
