"""subscriptions/listen where the SDK's own handler serves it: what holds of it holds of ours in its place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import trio
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp_types import SubscriptionsListenRequestParams, SubscriptionsListenResult

from streamscope import CloseReason, MemoryEventLog, StreamClosed, StreamId
from streamscope._forward import ForwardingEventLog, ForwardingStreamLog
from streamscope.abc import StreamLog
from streamscope.log import open_sqlite_log
from tests.log.helpers import limit_pages, settle
from tests.mcp.helpers import envelope, peering, serving, until
from tests.mcp.test_modern_listen import ID, listening

TOOLS, PROMPTS = "notifications/tools/list_changed", "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"


class Bus:
    """A bus that calls its listeners at once, one after the other, without letting any task run between events."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[ServerEvent], None]] = []

    async def publish(self, event: ServerEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.say(event)

    def say(self, *events: ServerEvent) -> None:
        for event in events:
            for listener in list(self.listeners):
                listener(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


@asynccontextmanager
async def listened(handler: Any, **options: Any):
    """Serve a handler of subscriptions, with one client."""
    server: Server[Any] = Server("demo", on_subscriptions_listen=handler)
    async with serving(server, **options) as served, peering(served.url) as peer:
        yield served, peer


async def subscribe(peer, request_id="refused", **notifications) -> httpx2.Response:
    """Ask for a subscription that is not to be had."""
    message, headers = envelope("subscriptions/listen", {"notifications": notifications}, request_id)
    return await peer.post(message, **headers)


def named(messages: list[dict[str, Any]]) -> list[str]:
    """Say what came: methods, addresses of resources, and the end."""
    return [
        "result" if "result" in message else message["params"].get("uri", message["method"]) for message in messages
    ]


async def left(bus: Bus, count: int) -> None:
    """Wait until no more than so many listen to a bus."""
    with trio.fail_after(10):
        while len(bus.listeners) > count:  # noqa: ASYNC110 - what is waited for is in the server, which tells nobody
            await trio.sleep(0.001)


# What it is told


@pytest.mark.parametrize("request_id", [1, "2", "a \"quoted\" 'name' — ü", "very long" * 1000])
async def test_each_subscription_hears_by_its_own_name(request_id):
    bus = Bus()
    async with (
        listened(ListenHandler(bus)) as (_, peer),
        listening(peer, request_id, toolsListChanged=True, resourceSubscriptions=["test://ü"]) as events,
        listening(peer, 2, toolsListChanged=True) as other,
    ):
        bus.say(ToolsListChanged(), ResourceUpdated("test://ü"))
        meta = {"_meta": {ID: request_id}}
        assert await events.message() == {"jsonrpc": "2.0", "method": TOOLS, "params": meta}
        updated = {"jsonrpc": "2.0", "method": UPDATED, "params": {**meta, "uri": "test://ü"}}
        assert await events.message() == updated
        assert await other.message() == {"jsonrpc": "2.0", "method": TOOLS, "params": {"_meta": {ID: 2}}}


async def test_what_is_not_asked_for_is_not_acknowledged():
    bus = Bus()
    async with listened(ListenHandler(bus)) as (_, peer):
        filters = {"toolsListChanged": False, "resourceSubscriptions": [], "promptsListChanged": True, "taskIds": ["1"]}
        message, headers = envelope("subscriptions/listen", {"notifications": filters})
        async with peer.stream("POST", message, **headers) as events:
            ack = await events.message()
            assert ack["params"]["notifications"] == {"promptsListChanged": True}
            bus.say(ToolsListChanged(), ResourceUpdated(""), ResourcesListChanged(), PromptsListChanged())
            assert (await events.message())["method"] == PROMPTS


async def test_a_burst_is_not_held_against_it():
    bus = Bus()
    uris = [f"test://{number}" for number in range(50)]
    async with (
        # The SDK's own handler would have ended the subscription.
        listened(ListenHandler(bus, max_buffered_events=1)) as (_, peer),
        listening(peer, resourceSubscriptions=uris) as events,
    ):
        bus.say(*map(ResourceUpdated, uris), *map(ResourceUpdated, uris))
        assert [(await events.message())["params"]["uri"] for _ in uris] == uris
        bus.say(ResourceUpdated(uris[0]))
        assert (await events.message())["params"]["uri"] == uris[0]


class EagerBus(Bus):
    """One that has something to say to whoever comes."""

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        listener(ToolsListChanged())
        return super().subscribe(listener)


@pytest.mark.parametrize("durable", [False, True])
async def test_it_is_acknowledged_before_all_else(tmp_path, durable):
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(open_sqlite_log(tmp_path / "log.db")) if durable else MemoryEventLog()
        _, peer = await stack.enter_async_context(listened(ListenHandler(EagerBus()), log=log))
        events = await stack.enter_async_context(listening(peer, toolsListChanged=True))
        assert (await events.message())["method"] == TOOLS


# How it ends


@pytest.mark.parametrize("durable", [False, True])
async def test_its_handler_can_end_it_after_what_was_said(tmp_path, durable):
    bus = Bus()
    handler = ListenHandler(bus)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(open_sqlite_log(tmp_path / "log.db")) if durable else MemoryEventLog()
        served, peer = await stack.enter_async_context(listened(handler, log=log))
        changes = await stack.enter_async_context(served.sessions.watch())
        events = await stack.enter_async_context(listening(peer, toolsListChanged=True, promptsListChanged=True))
        bus.say(ToolsListChanged(), PromptsListChanged())
        handler.close()
        handler.close()
        bus.say(ResourceUpdated("test://too-late"), ToolsListChanged())
        messages = await events.rest()
        assert named(messages) == [TOOLS, PROMPTS, "result"]
        result = messages[-1]["result"]
        assert (result["resultType"], result["_meta"][ID]) == ("complete", "sub")
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "demo"
        assert (await until(changes, StreamClosed)).reason is CloseReason.COMPLETED
        assert bus.listeners == []
        async with listening(peer, toolsListChanged=True):
            # Only those that were there have ended.
            assert len(bus.listeners) == 1


async def test_its_handler_bounds_how_many_there_are():
    bus = Bus()
    async with listened(ListenHandler(bus, max_subscriptions=2)) as (_, peer):
        async with listening(peer, toolsListChanged=True):
            async with listening(peer, toolsListChanged=True):
                refused = (await subscribe(peer, toolsListChanged=True)).json()
                assert refused["error"] == {"code": -32603, "message": "Subscription limit reached"}
            await left(bus, 1)
            async with listening(peer, toolsListChanged=True) as events:
                bus.say(ToolsListChanged())
                assert (await events.message())["method"] == TOOLS


async def test_a_filter_that_is_too_large_is_an_error():
    bus = Bus()
    # What it would be told fits where its acknowledgement does: both name the resource.
    log = MemoryEventLog(max_stream_bytes=1000)
    async with listened(ListenHandler(bus, max_subscriptions=1), log=log) as (_, peer):
        refused = await subscribe(peer, resourceSubscriptions=["test://" + "x" * 2000])
        assert refused.json()["error"]["code"] == -32603
        async with listening(peer, toolsListChanged=True) as events:
            bus.say(ToolsListChanged())
            assert (await events.message())["method"] == TOOLS


# Buses, logs and handlers of one's own


class LeakyBus(Bus):
    """One that keeps whoever listens, and says so."""

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        super().subscribe(listener)

        def unsubscribe() -> None:
            raise OSError("the broker is gone")

        return unsubscribe


async def test_a_bus_that_cannot_unsubscribe_costs_no_place(caplog):
    bus = LeakyBus()
    handler = ListenHandler(bus, max_subscriptions=1)
    async with listened(handler) as (_, peer):
        for _ in range(2):
            async with listening(peer, toolsListChanged=True) as events:
                # Those that have gone hear nothing, and raise nothing.
                bus.say(ToolsListChanged())
                handler.close()
                assert named(await events.rest()) == [TOOLS, "result"]
    assert caplog.text.count("OSError: the broker is gone") == 2
    caplog.clear()


class ClosedBus(Bus):
    """One that nobody can listen to."""

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        raise MCPError(-32001, "the broker is gone")


async def test_a_bus_that_cannot_subscribe_is_an_error():
    async with listened(ListenHandler(ClosedBus(), max_subscriptions=1)) as (_, peer):
        for _ in range(2):
            refused = await subscribe(peer, toolsListChanged=True)
            assert refused.json()["error"]["message"] == "the broker is gone"


async def test_an_event_that_a_durable_log_cannot_store_ends_it_with_an_error(tmp_path, caplog):
    bus = Bus()
    uri = "test://" + "x" * 20_000
    async with (
        open_sqlite_log(tmp_path / "log.db") as log,
        listened(ListenHandler(bus), log=log) as (_, peer),
        listening(peer, resourceSubscriptions=[uri]) as events,
    ):
        bus.say(ResourceUpdated(uri))
        assert (await events.message())["params"]["uri"] == uri
        await settle(log)
        limit_pages(log, 0)
        bus.say(ResourceUpdated(uri))
        (answer,) = await events.rest()
        assert answer["error"]["code"] == -32603
        assert bus.listeners == []
    assert "the event log cannot be written" in caplog.text
    caplog.clear()


class FullLog(ForwardingEventLog):
    """A log in memory that has no room right now, as one that is shared may have none."""

    def wrap(self, stream_id: StreamId, inner: StreamLog) -> StreamLog:
        return FullStreamLog(inner)


class FullStreamLog(ForwardingStreamLog):
    def append_nowait(self, data: bytes, *, last: bool = False) -> int:
        raise trio.WouldBlock


async def test_it_waits_for_a_log_that_has_no_room():
    bus = Bus()
    handler = ListenHandler(bus)
    async with (
        listened(handler, log=FullLog(MemoryEventLog())) as (_, peer),
        listening(peer, toolsListChanged=True, promptsListChanged=True) as events,
    ):
        # What is said twice before there is room is said once.
        bus.say(ToolsListChanged(), PromptsListChanged(), ToolsListChanged())
        assert named([await events.message(), await events.message()]) == [TOOLS, PROMPTS]
        bus.say(ToolsListChanged())
        handler.close()
        assert named(await events.rest()) == [TOOLS, "result"]


class Derived(ListenHandler):
    """A handler that does something else before."""

    def __init__(self, bus: InMemorySubscriptionBus) -> None:
        super().__init__(bus)
        self.calls = 0

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        self.calls += 1
        return await super().__call__(ctx, params)


async def test_a_derived_handler_is_left_alone():
    bus = InMemorySubscriptionBus()
    handler = Derived(bus)
    async with listened(handler) as (_, peer), listening(peer, toolsListChanged=True) as events:
        await bus.publish(ToolsListChanged())
        assert (await events.message())["method"] == TOOLS
        handler.close()
        assert named(await events.rest()) == ["result"]
        assert handler.calls == 1


async def test_a_handler_of_ones_own_is_left_alone():
    async def refuse(ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams) -> Any:
        raise MCPError(-32001, f"not for {params.notifications.tools_list_changed}")

    async with listened(refuse) as (_, peer):
        refused = await subscribe(peer, toolsListChanged=True)
        assert refused.json()["error"] == {"code": -32001, "message": "not for True"}


async def test_middleware_sees_it_and_may_change_it():
    bus = Bus()
    seen: list[object] = []

    async def narrow(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method != "subscriptions/listen":
            return await call_next(ctx)
        assert ctx.params is not None
        notifications = {**ctx.params["notifications"], "promptsListChanged": False}
        seen.append(ctx.params["notifications"])
        result = await call_next(replace(ctx, params={**ctx.params, "notifications": notifications}))
        seen.append(result)
        return result

    handler = ListenHandler(bus)
    server: Server[Any] = Server("demo", on_subscriptions_listen=handler)
    server.middleware.append(narrow)
    async with serving(server) as served, peering(served.url) as peer:
        filters = {"toolsListChanged": True, "promptsListChanged": True}
        message, headers = envelope("subscriptions/listen", {"notifications": filters}, "sub")
        async with peer.stream("POST", message, **headers) as events:
            ack = await events.message()
            assert ack["params"]["notifications"] == {"toolsListChanged": True}
            bus.say(PromptsListChanged(), ToolsListChanged())
            assert (await events.message())["method"] == TOOLS
            handler.close()
            (answer,) = await events.rest()
        assert seen == [filters, answer["result"]]
