"""What a client finds when its server was killed, or stopped, and another goes on with the log."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from streamscope import CloseReason, State
from streamscope.log import open_sqlite_log
from tests.cli.helpers import serving as serving_process
from tests.helpers import unwind_slowly
from tests.mcp.demo import Demo
from tests.mcp.helpers import call, initialize, notification, peering, request, serving

SERVER = """
import trio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("counter")


@server.tool()
async def count(n: int, ctx: Context) -> str:
    for i in range(1, n + 1):
        await ctx.report_progress(i, n)
        await trio.sleep(0.001)
    return f"counted to {n}"
"""
VERSIONS = ["2025-03-26", "2025-11-25"]


@asynccontextmanager
async def process(directory, port=0):
    (directory / "counter.py").write_text(SERVER)
    where = [f"{directory / 'counter.py'}:server", "--log", f"sqlite:{directory / 'log.db'}"]
    async with serving_process(*where, "--port", str(port)) as served:
        yield served


def port_of(url):
    return int(url.rsplit(":", 1)[1].partition("/")[0])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_a_session_outlives_its_process(tmp_path, how, version):
    async with process(tmp_path) as served, peering(served.url) as peer:
        await peer.initialize(version)
        assert (await peer.ask(call("count", {"n": 2})))["result"]["structuredContent"] == {"result": "counted to 2"}
        async with peer.stream("POST", call("count", {"n": 100_000}, request_id="long")) as events:
            seen = [(await events.message())["params"]["progress"] for _ in range(20)]
            getattr(served.process, how)()
            await served.has_stopped()
            if how == "terminate":
                # It says goodbye before it goes.
                rest = await events.rest()
                seen += [message["params"]["progress"] for message in rest[:-1]]
        last = events.last_id
    async with process(tmp_path, port_of(served.url)):
        # The connection is gone, the session is not.
        async with peering(served.url) as again:
            again.headers.update(peer.headers)
            async with again.stream("GET", last_event_id=last) as events:
                rest = await events.rest()
            # Where it has stopped in order, the client had all of it.
            assert events.response.status_code == (200 if how == "kill" else 204)
            if how == "kill":
                seen += [message["params"]["progress"] for message in rest[:-1]]
                assert (rest[-1]["id"], rest[-1]["error"]["data"]) == ("long", {"reason": "restarted"})
            assert seen == list(range(1, len(seen) + 1))
            assert "result" in await again.ask(call("count", {"n": 3}))
            assert (await again.post(notification("notifications/roots/list_changed"))).status_code == 202
            assert (await again.send("DELETE")).status_code == 200
            assert (await again.post(request("ping"))).status_code == 404
    async with process(tmp_path, port_of(served.url)), peering(served.url) as again:
        again.headers.update(peer.headers)
        assert (await again.post(request("ping"))).status_code == 404


@asynccontextmanager
async def server(log, **options):
    """Serve the same server as before, as if in another process."""
    demo = Demo()
    async with serving(demo.server, log=log, **options) as served:
        yield demo, served


async def stop(served):
    served.stop.set()
    await served.sessions.wait_closed()


async def test_it_is_restored_for_its_owner_only(tmp_path):
    def by_header(scope):
        return dict(scope["headers"]).get(b"x-user", b"nobody").decode()

    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log, principal=by_header) as (_, served), peering(served.url) as alice:
            alice.headers["x-user"] = "alice"
            await alice.initialize()
            await stop(served)
        async with server(log, principal=by_header) as (_, served), peering(served.url) as again:
            again.headers.update(alice.headers)
            assert (await again.post(request("ping"), x_user="mallory")).status_code == 404
            assert served.sessions.list_sessions() == []
            # Many at once restore it once.
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(again.ask, request("ping"))
            assert [session.principal for session in served.sessions.list_sessions()] == ["alice"]
            assert served.sessions.statistics().opened_sessions == 1


async def test_a_listener_listens_on(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log) as (_, served), peering(served.url) as peer:
            await peer.initialize()
            async with peer.listen() as events:
                await peer.ask(call("whisper", {"texts": ["before", "unheard"]}))
                assert (await events.message())["params"]["data"] == "before"
                before = events.position
            await stop(served)
        # Also after one more restart.
        for _ in range(2):
            async with server(log) as (_, served), peering(served.url) as again:
                again.headers.update(peer.headers)
                async with again.listen(before) as events:
                    assert events.stream_id == before.stream_id
                    # What the first process has left, and that was all.
                    assert [message["params"]["data"] for message in await events.rest()] == ["unheard"]
                async with again.listen(events.position) as events:
                    assert events.stream_id != before.stream_id
                    await again.ask(call("whisper", {"texts": ["after"]}))
                    assert (await events.message())["params"]["data"] == "after"
                await stop(served)


async def test_only_what_a_stop_has_ended_is_restored(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log) as (_, served), peering(served.url) as killed, peering(served.url) as kept:
            for peer in (killed, kept):
                await peer.initialize()
            served.sessions.get_session(killed.session_id).close(CloseReason.KILLED)
            await stop(served)
        async with server(log) as (_, served):
            for peer, status in ((killed, 404), (kept, 200)):
                async with peering(served.url) as again:
                    again.headers.update(peer.headers)
                    assert (await again.post(request("ping"))).status_code == status
                    assert (await again.post(request("ping"), mcp_session_id="x" * 200)).status_code == 404


async def test_one_that_is_just_ending_is_not_restored(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log) as (_, served):
            for attempt in range(10):
                async with peering(served.url) as peer, trio.open_nursery() as nursery:
                    await peer.initialize()
                    session = served.sessions.get_session(peer.session_id)
                    await session.start_stream(unwind_slowly, attempt / 100)
                    session.close(CloseReason.KILLED)
                    for _ in range(5):
                        nursery.start_soon(until_gone, session, peer)
            assert served.sessions.list_sessions() == []
            assert served.sessions.statistics().opened_sessions == 10


async def until_gone(session, peer):
    gone = False
    while not gone:
        gone = session.metadata.state is State.CLOSED
        assert (await peer.post(request("ping"))).status_code == 404


async def test_the_client_is_known_again(tmp_path):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log) as (_, served), peering(served.url) as peer:
            await peer.initialize(sampling={})
            await stop(served)
        async with server(log) as (_, served), peering(served.url) as again:
            again.headers.update(peer.headers)
            # A tool that asks needs to know what the client can do.
            async with again.stream("POST", call("sample", {"text": "haiku?"})) as events:
                question = await events.message()
                assert question["method"] == "sampling/createMessage"


async def test_what_cannot_be_restored_is_opened_anew(tmp_path, caplog):
    async with open_sqlite_log(tmp_path / "log.db") as log:
        async with server(log) as (_, served), peering(served.url) as peer:
            await peer.initialize()
            await stop(served)
        saved = await log.find_session(peer.session_id)
        assert saved is not None
        log.save_session(attrs.evolve(saved, state=b'{"protocolVersion": 7}'))
        async with server(log) as (_, served), peering(served.url) as again:
            again.headers.update(peer.headers)
            assert (await again.post(request("ping"))).status_code == 404
            assert "a session cannot be restored" in caplog.text
            caplog.clear()
            assert (await again.post(initialize(), mcp_session_id=None)).status_code == 200


async def test_of_a_batch_what_was_answered_is_not_answered_again(tmp_path):
    batch = [call("count", {"n": 1}, "quick"), call("count", {"n": 100_000}, "slow")]
    async with process(tmp_path) as served, peering(served.url) as peer:
        await peer.initialize("2025-03-26")
        async with peer.stream("POST", batch) as events:
            while (await events.message()).get("id") != "quick":
                pass
            # What is said after an answer is stored after it.
            for _ in range(5):
                await events.message()
            served.process.kill()
            await served.has_stopped()
        last = events.last_id
    async with process(tmp_path) as served, peering(served.url) as again:
        again.headers.update(peer.headers)
        async with again.stream("GET", last_event_id=last) as events:
            rest = await events.rest()
        answers = [message for message in rest if "method" not in message]
        assert [(answer["id"], answer["error"]["data"]) for answer in answers] == [("slow", {"reason": "restarted"})]
