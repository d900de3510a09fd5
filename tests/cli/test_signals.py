"""How ``streamscope serve`` stops, and what its clients are told."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any

import httpx2
import mcp
import pytest
import trio
from mcp import MCPError

from streamscope._demo_courier import Courier
from tests.cli.helpers import ERAS, run, serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send to a process")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_everybody_is_told(demo_target, number):
    told: dict[str, Any] = {}
    running = {mode: trio.Event() for mode, _ in ERAS}

    async def call(mode):
        async def begun(progress, total, message):
            running[mode].set()

        async with mcp.Client(served.url, mode=mode) as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("work", progress_callback=begun)
            told[mode] = caught.value.error.data

    async def listen(task_status):
        async with (
            mcp.Client(served.url, mode="2026-07-28") as client,
            client.listen(tools_list_changed=True) as subscription,
        ):
            task_status.started()
            # An end without a result would raise SubscriptionLost.
            told["listen"] = [event async for event in subscription]

    async with serving(demo_target) as served:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            for mode in running:
                nursery.start_soon(call, mode)
            for event in running.values():
                await event.wait()
            served.process.send_signal(number)
        assert await served.has_stopped() == 0
    assert told == {"legacy": {"reason": "shutdown"}, "2026-07-28": {"reason": "shutdown"}, "listen": []}
    assert "Traceback" not in served.log
    assert "stopped; served 2 sessions" in served.log


@pytest.mark.parametrize(("grace", "told"), [("30", True), ("0", False)])
async def test_grace_is_for_what_cleans_up(demo_target, grace, told):
    last: Mapping[str, Any] = {}
    async with serving(demo_target, "--grace", grace) as served, Courier(served.url) as courier:
        await courier.initialize()
        async with courier.call("work", {"clean_up": 1.5}) as events:
            await anext(events)
            served.process.send_signal(signal.SIGTERM)
            try:
                async for event in events:
                    last = event.message
            except httpx2.TransportError:
                assert not told
        assert await served.has_stopped() == 0
    assert last.get("error", {}).get("data") == ({"reason": "shutdown"} if told else None)


def test_ctrl_c_before_it_serves(tmp_path):
    target = tmp_path / "slow.py"
    # A shell has it ignored by what runs in the background, and so would this be.
    heed = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    target.write_text(f"import signal\n{heed}\nsignal.raise_signal(signal.SIGINT)\n")
    done = run("serve", str(target))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
