"""The servers in docs/examples, served as their texts say and used by clients; and the example without a server."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import mcp
import mcp_types
import trio
from mcp.client.subscriptions import ResourceUpdated
from pydantic import FileUrl

from streamscope._demo_courier import Courier
from tests.cli.helpers import ERAS, EXAMPLES, PATIENCE, serving


class Progress:
    """Collects the progress that a caller is told of."""

    def __init__(self):
        self.seen = []

    async def __call__(self, progress, total, message):
        self.seen.append((progress, total, message))


async def test_weather():
    async with serving(f"{EXAMPLES / 'weather.py'}:server") as served:
        for mode, revision in ERAS:
            told = Progress()
            async with mcp.Client(served.url, mode=mode) as client:
                assert client.protocol_version == revision
                result = await client.call_tool("forecast", {"city": "Husum", "days": 2}, progress_callback=told)
            assert result.structured_content == {"result": ["Husum, day 1: sunny", "Husum, day 2: sunny"]}
            assert told.seen == [(1, 2, "day 1"), (2, 2, "day 2")]


async def test_counter_goes_on_while_its_client_is_away():
    async with serving(f"{EXAMPLES / 'counter.py'}:server") as served, Courier(served.url) as courier:
        await courier.initialize()
        async with courier.call("count", {"n": 20, "interval": 0.05}) as events:
            received = [await anext(events) for _ in range(5)]
        async with courier.resume(received[-1].event_id) as events:
            received += [event async for event in events]
        assert [event.event_id.seq for event in received] == list(range(1, 22))
        assert [event.progress for event in received[:-1]] == list(range(1, 21))
        assert received[-1].message["result"]["structuredContent"] == {"result": "counted to 20"}

        # And its text promises something about a session that is deleted.
        async with courier.call("count", {"n": 1000, "interval": 0.05}) as events, trio.open_nursery() as nursery:
            await anext(events)
            nursery.start_soon(courier.delete, courier.session_id)
            rest = [event async for event in events]
        assert rest[-1].message["error"]["data"] == {"reason": "terminated"}
        assert " of 1000\n" in served.log


async def elicit(context, params):
    return mcp_types.ElicitResult(action="accept", content={"name": "Ada"})


async def sample(context, params):
    return mcp_types.CreateMessageResult(
        role="assistant", content=mcp_types.TextContent(type="text", text="old pond"), model="none"
    )


async def list_roots(context):
    return mcp_types.ListRootsResult(roots=[mcp_types.Root(uri=FileUrl("file:///srv/project"))])


async def try_everything(client):
    async def call(tool, **arguments):
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result
        return result.structured_content["result"]

    async def read(uri):
        return (await client.read_resource(uri)).contents[0]

    assert await call("echo", message="hallo") == "hallo"
    assert await call("add", a=1, b=2) == 3
    assert (await client.call_tool("fail", {"message": "oh"})).is_error
    told = Progress()
    await client.call_tool("progress", {"steps": 3, "interval": 0.01}, progress_callback=told)
    assert told.seen == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert await call("long_running", seconds=0.01) == "slept 0.01 seconds"
    assert await call("greet") == "Hello, Ada!"
    assert await call("haiku", topic="frogs") == "old pond"
    assert await call("roots") == ["file:///srv/project"]
    assert (await read("everything://motto")).text == "Registered exactly as long as it runs."
    assert (await read("everything://pixel")).blob.startswith("R0lGOD")
    assert (await read("everything://square/12")).text == "144"
    prompt = await client.get_prompt("review", {"code": "x = 1", "style": "strict"})
    assert [message.role for message in prompt.messages] == ["user", "assistant"]
    assert prompt.messages[0].content.text == "Review this code, and be strict:\n\nx = 1"
    visits = await call("visit")
    assert (await client.read_resource("everything://counter", cache_mode="bypass")).contents[0].text == str(visits)
    await call("toggle_surprise")
    assert "surprise" in [tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools]
    await call("toggle_surprise")
    assert "surprise" not in [tool.name for tool in (await client.list_tools(cache_mode="bypass")).tools]


async def test_everything():
    heard, all_heard = [], trio.Event()

    async def hear(message):
        if getattr(message, "method", "").endswith(("changed", "updated")):
            heard.append(message.method)
            if len(heard) == len(changes):
                all_heard.set()

    callbacks: dict[str, Any] = {
        "elicitation_callback": elicit,
        "sampling_callback": sample,
        "list_roots_callback": list_roots,
    }
    changes = ["resources/updated", "tools/list_changed", "tools/list_changed"]
    async with serving(f"{EXAMPLES / 'everything.py'}:server") as served:
        async with mcp.Client(served.url, mode="legacy", message_handler=hear, **callbacks) as client:
            await try_everything(client)
            await all_heard.wait()
        assert heard == [f"notifications/{change}" for change in changes]
        async with mcp.Client(served.url, mode="2026-07-28", **callbacks) as client:
            subscribing = client.listen(tools_list_changed=True, resource_subscriptions=["everything://counter"])
            async with subscribing as subscription:
                await try_everything(client)
                # A client keeps a change once that it was told of twice before it looked.
                told = [type(await anext(subscription)).__name__ for _ in range(2)]
        assert told == ["ResourceUpdated", "ToolsListChanged"]


async def read_text(client, uri):
    return (await client.read_resource(uri)).contents[0].text


async def test_lowlevel():
    async with serving(f"{EXAMPLES / 'lowlevel.py'}:server") as served:
        async with mcp.Client(served.url, mode="legacy") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["write"]
            assert await read_text(client, "note://today") == "nothing yet"
            assert (await client.call_tool("erase", {})).is_error
        async with mcp.Client(served.url, mode="2026-07-28") as client:
            async with client.listen(resource_subscriptions=["note://today"]) as subscription:
                told = Progress()
                await client.call_tool("write", {"text": "rain"}, progress_callback=told)
                assert told.seen == [(1, 2, "thinking")]
                assert await anext(subscription) == ResourceUpdated(uri="note://today")
                assert await read_text(client, "note://today") == "rain"
            assert [resource.uri for resource in (await client.list_resources()).resources] == ["note://today"]


def test_core():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "core.py")], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "open: True",
        "events: 2",
        "open: False",
        "read event 1: one",
        "read event 2: two",
        "streams: 1",
        "a background stream cleans up: completed",
        "streams: 0",
        "the session of alice has ended: completed",
    ]
