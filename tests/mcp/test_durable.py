"""The endpoint with a durable log: as with any other, and with a disk that is full."""

from __future__ import annotations

import httpx2
import pytest
import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from streamscope.log import open_sqlite_log
from tests.log.helpers import limit_pages, settle
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, peering, request, serving


@pytest.mark.parametrize("recent", [1, 2**20])
async def test_a_call_is_resumed_from_the_disk(tmp_path, recent):
    demo = Demo()
    async with open_sqlite_log(tmp_path / "log.db", max_recent_bytes=recent) as log:
        async with serving(demo.server, log=log) as served, peering(served.url) as peer:
            await peer.initialize()
            demo.lines.send_nowait(1)
            async with peer.stream("POST", call("speak", request_id=5)) as events:
                await events.message()
            demo.lines.send_nowait(2)
            demo.lines.close()
            async with peer.listen(events.position) as again:
                progress, body = await again.rest()
            assert progress["params"]["progress"] == 2
            assert (body["id"], body["result"]["content"][0]["text"]) == (5, "spoken")
            assert (await peer.ask(call("add", {"a": 40, "b": 2})))["result"]["structuredContent"] == {"result": 42}


@pytest.mark.parametrize("modern", [False, True])
async def test_an_answer_that_cannot_be_stored_is_an_error(tmp_path, caplog, modern):
    server = MCPServer("long", log_level="WARNING")

    @server.tool()
    def repeat(times: int) -> str:
        return "x" * times

    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with serving(server, log=log) as served, peering(served.url) as peer:

            async def ask(times: int) -> httpx2.Response:
                params = {"name": "repeat", "arguments": {"times": times}}
                return await (peer.modern("tools/call", params) if modern else peer.post(request("tools/call", params)))

            if not modern:
                await peer.initialize()
            await settle(log)
            limit_pages(log, 0)
            for _ in range(2):
                response = await ask(20_000)
                assert response.status_code == 200
                error = {"code": -32603, "message": "The answer could not be stored"}
                assert response.json() == {"jsonrpc": "2.0", "id": 1, "error": error}
            assert "an answer to tools/call could not be stored: the event log has failed" in caplog.text
            limit_pages(log, 10_000)
            assert (await ask(2)).json()["result"]["content"][0]["text"] == "xx"
            caplog.clear()


@pytest.mark.parametrize("streaming", [False, True])
async def test_also_where_something_else_was_said_before(tmp_path, caplog, streaming):
    server = MCPServer("long", log_level="WARNING")
    go_on = trio.Event()

    @server.tool()
    async def repeat(times: int, context: Context) -> str:
        await context.report_progress(1)
        await go_on.wait()
        return "x" * times

    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with (
            serving(server, log=log, sse_delay=0 if streaming else 10) as served,
            peering(served.url) as peer,
        ):
            await peer.initialize()
            await settle(log)
            # There is room for the notice.
            limit_pages(log, 0)
            if not streaming:
                go_on.set()
            params = {"name": "repeat", "arguments": {"times": 20_000}, "_meta": {"progressToken": 1}}
            async with peer.stream("POST", request("tools/call", params)) as events:
                assert (await events.message())["params"]["progress"] == 1
                go_on.set()
                (body,) = await events.rest()
            assert body["error"] == {"code": -32603, "message": "The answer could not be stored"}
            caplog.clear()
            limit_pages(log, 10_000)
