"""An event store of the SDK's behind our event log."""

from __future__ import annotations

import trio

from streamscope import EventId
from streamscope.mcp._event_store import EventStoreLog
from streamscope.testing import check_event_log
from tests.mcp.helpers import call
from tests.mcp.test_drop_in import managed


class Store:
    """An event store of the SDK's kind."""

    def __init__(self, fails: bool = False) -> None:
        self.events: list[tuple[str, object]] = []
        self.fails = fails

    async def store_event(self, stream_id, message):
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise OSError("no disk")
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        raise AssertionError("readers are served from memory")


async def test_every_event_is_stored_and_can_be_resumed():
    store = Store()
    async with managed(event_store=store) as (manager, peer):
        store.events.clear()
        async with peer.stream("POST", call("count", {"n": 3}, 7)) as events:
            messages = await events.rest()
        stored = [
            (name, message.model_dump(mode="json", exclude_none=True))
            for name, message in store.events
            if message is not None
        ]
        assert [name for name, _ in stored] == [str(events.stream_id)] * 4
        assert [message.get("params", {}).get("progress") for _, message in stored] == [1, 2, 3, None]
        async with peer.listen(EventId(events.stream_id, 1)) as again:
            assert await again.rest() == messages[1:]
        assert (await peer.send("GET", last_event_id=str(events.position))).status_code == 204
        assert manager.sessions.streams.log.statistics().events >= 4


async def test_a_store_that_fails_does_not_fail_its_callers(caplog):
    async with managed(event_store=Store(fails=True)) as (_, peer):
        assert "result" in await peer.ask(call("count", {"n": 2}))
        assert "the event store did not take an event" in caplog.text
        caplog.clear()
        await peer.send("DELETE")
        caplog.clear()


async def test_listeners_and_questions_with_a_store():
    store = Store()
    async with managed(event_store=store) as (_, peer), peer.listen() as events:
        await peer.ask(call("whisper", {"texts": ["one"]}))
        assert (await events.message())["params"]["data"] == "one"
        assert str(events.stream_id) in {name for name, _ in store.events}
        async with peer.stream("POST", call("ask", {"timeout": 0.02}, 3)) as asking:
            methods = [message.get("method") for message in await asking.rest()]
            assert methods == ["roots/list", "notifications/cancelled", None]


async def test_it_is_an_event_log_like_any_other():
    await check_event_log(lambda: EventStoreLog(Store()), overflow=[b"x"] * 1100, too_large=b"x" * (16 * 2**20 + 1))


async def test_it_keeps_events_of_which_the_store_knows_nothing():
    store = Store()
    async with managed(event_store=store) as (manager, peer):
        session = manager.sessions.get_session(peer.session_id)
        async with session.open_stream() as stream:
            count = len(store.events)
            await stream.send(b"no JSON-RPC at all")
            assert len(store.events) == count
            async with session.open_reader(stream.id) as reader:
                assert (await reader.receive()).data == b"no JSON-RPC at all"
