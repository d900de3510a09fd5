"""A server with one of everything, for clients to be tried on.

What it asks of the client (elicitation, sampling, roots) is asked by resolvers,
which work in both eras: a client of 2025-11-25 gets a request in the middle of
the call, one of 2026-07-28 a result that says what is missing.
"""

from __future__ import annotations

from typing import Annotated

import trio
from mcp.server import MCPServer
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import AssistantMessage, Message, UserMessage
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel, Field

COUNTER = "everything://counter"
server = MCPServer("everything", instructions="Try whatever you like; nothing here matters.")
visits = 0

# -- Tools that just answer -------------------------------------------------------------------------


@server.tool()
def echo(message: str) -> str:
    """Say the same again."""
    return message


@server.tool()
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@server.tool()
def fail(message: str) -> str:
    """Raise an exception."""
    raise ValueError(message)


# -- Tools that take their time ---------------------------------------------------------------------


@server.tool()
async def progress(steps: int, ctx: Context, interval: float = 0.1) -> str:
    """Take so many steps, and report each."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await trio.sleep(interval)
    return f"took {steps} steps"


@server.tool()
async def long_running(ctx: Context, seconds: float = 3600) -> str:
    """Do nothing for a long time; to be cancelled, or to lose the connection to."""
    await ctx.report_progress(0, 1, "begun")
    await trio.sleep(seconds)
    return f"slept {seconds:g} seconds"


# -- Tools that ask the client ----------------------------------------------------------------------


class Person(BaseModel):
    name: str = Field(description="What shall I call you?")


def who() -> Elicit[Person]:
    return Elicit("Who are you?", Person)


@server.tool()
def greet(person: Annotated[ElicitationResult[Person], Resolve(who)]) -> str:
    """Ask the user for a name, and greet."""
    return f"Hello, {person.data.name}!" if person.action == "accept" else f"Hello, whoever you are ({person.action})."


# A resolver gets the arguments of its tool, by their names.
def write_haiku(topic: str) -> Sample:
    question = TextContent(type="text", text=f"Write a haiku about {topic}.")
    return Sample([SamplingMessage(role="user", content=question)], max_tokens=100)


@server.tool()
def haiku(topic: str, answer: Annotated[CreateMessageResult, Resolve(write_haiku)]) -> str:  # noqa: ARG001 - see above
    """Let the client's language model write a haiku."""
    return answer.content.text if isinstance(answer.content, TextContent) else "(no words)"


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def roots(listed: Annotated[ListRootsResult, Resolve(ask_roots)]) -> list[str]:
    """List the client's roots."""
    return [str(root.uri) for root in listed.roots]


# -- Changes ----------------------------------------------------------------------------------------


def surprise() -> str:
    """Exist, sometimes."""
    return "Surprise!"


@server.tool()
async def toggle_surprise(ctx: Context) -> str:
    """Add a tool or take it away again, and tell everybody who wants to know."""
    if any(tool.name == "surprise" for tool in await server.list_tools()):
        server.remove_tool("surprise")
    else:
        server.add_tool(surprise)
    # A subscriber of 2026-07-28 is told by the first, this session of an older client by the second.
    await ctx.notify_tools_changed()
    if ctx.session.can_send_request:
        await ctx.session.send_tool_list_changed()
    return "toggled"


@server.tool()
async def visit(ctx: Context) -> int:
    """Count a visit, which changes a resource."""
    global visits  # noqa: PLW0603 - the one thing here that changes
    visits += 1
    await ctx.notify_resource_updated(COUNTER)
    if ctx.session.can_send_request:
        await ctx.session.send_resource_updated(COUNTER)
    return visits


# -- Resources and prompts --------------------------------------------------------------------------


@server.resource("everything://motto", mime_type="text/plain")
def motto() -> str:
    """A text."""
    return "Registered exactly as long as it runs."


@server.resource("everything://pixel", mime_type="image/gif")
def pixel() -> bytes:
    """Something that is no text."""
    return bytes.fromhex("47494638396101000100800000ffffff00000021f90400000000002c00000000010001000002024401003b")


@server.resource(COUNTER)
def counter() -> str:
    """The number of visits."""
    return str(visits)


@server.resource("everything://square/{n}")
def square(n: int) -> str:
    """A resource for each number."""
    return str(n * n)


@server.prompt()
def review(code: str, *, style: str = "kind") -> list[Message]:
    """Ask for a review of some code."""
    return [
        UserMessage(f"Review this code, and be {style}:\n\n{code}"),
        AssistantMessage("I have read it. My first remark:"),
    ]
