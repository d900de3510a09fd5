"""The endpoint with a durable log: as with any other, and with a disk that is full."""

from __future__ import annotations

import pytest

from streamscope.log import open_sqlite_log
from tests.log.helpers import limit_pages, settle
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, peering, serving


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


async def test_an_answer_that_cannot_be_stored_is_an_error(tmp_path, caplog):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with serving(Demo().server, log=log) as served, peering(served.url) as peer:
            await peer.initialize()
            await settle(log)
            limit_pages(log, 0)
            # Fills what is left of the pages.
            long = "x" * 5000
            for request_id in (1, 2):
                response = await peer.post(call("fail", {"message": long}, request_id=request_id))
                assert response.status_code == 200
                body = response.json()
                assert (body["id"], body["error"]["code"]) == (request_id, -32603)
                assert "could not be stored" in body["error"]["message"]
            limit_pages(log, 10_000)
            assert (await peer.ask(call("add", {"a": 40, "b": 2})))["result"]["structuredContent"] == {"result": 42}
            assert "the event log cannot be written: database or disk is full" in caplog.text
            caplog.clear()
