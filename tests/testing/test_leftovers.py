from __future__ import annotations

import re

import pytest
import trio

from streamscope import CloseReason, SessionId, SessionManager, StreamManager, open_session_manager
from streamscope.testing import assert_no_leftovers


async def test_nothing_is_left_over():
    async with open_session_manager() as sessions:
        async with (
            sessions.open_session(principal="alice") as session,
            session.open_stream() as stream,
            session.open_reader(stream.id),
        ):
            stream.send_nowait(b"x")
        assert_no_leftovers(sessions)
        assert_no_leftovers(sessions.streams)
    assert_no_leftovers(sessions)


async def test_everything_that_is_left_over_is_named():
    async with (
        open_session_manager() as sessions,
        sessions.open_session(principal="alice", connection_info="203.0.113.7:50412") as session,
        session.open_stream(kind="post") as stream,
        session.open_stream(kind="get") as other,
    ):
        stream.send_nowait(b"x")
        async with session.open_reader(stream.id) as reader, session.open_reader(other.id):
            await reader.receive()
            with pytest.raises(AssertionError) as caught:
                assert_no_leftovers(sessions)
        # The same without readers, from where only streams are known.
        with pytest.raises(AssertionError) as of_streams:
            assert_no_leftovers(sessions.streams)
    lines = [re.sub(r"[\d.e-]+ seconds", "N seconds", line) for line in str(caught.value).splitlines()]
    assert lines == [
        "5 left over:",
        "- session of 'alice' from 203.0.113.7:50412, open, N seconds old",
        f"- stream {stream.id} 'post' of 'alice', open, N seconds old",
        f"- stream {other.id} 'get' of 'alice', open, N seconds old",
        f"- reader of stream {stream.id}, after event 1",
        f"- reader of stream {other.id}, after event 0",
    ]
    assert str(of_streams.value).startswith(f"2 left over:\n- stream {stream.id} 'post' of 'alice', open, ")
    # Messages of tests are logged, and whoever knows the identifier may use the session.
    assert str(session.id) not in str(caught.value) + str(of_streams.value)


async def test_what_is_closing_is_left_over_and_why():
    async with open_session_manager() as sessions, sessions.open_session() as session:
        session.close(CloseReason.TERMINATED)
        with pytest.raises(AssertionError, match=r"^1 left over:\n- session, closing as terminated, .* seconds old$"):
            assert_no_leftovers(sessions)


async def test_streams_of_several_sessions_stand_below_their_own():
    async with (
        open_session_manager() as sessions,
        sessions.open_session(principal="a") as a,
        sessions.open_session(principal="b") as b,
        b.open_stream(kind="of b"),
        a.open_stream(kind="of a"),
    ):
        with pytest.raises(AssertionError) as caught:
            assert_no_leftovers(sessions)
    assert re.findall(r"- session of '.'|'of .'", str(caught.value)) == [
        "- session of 'a'",
        "'of a'",
        "- session of 'b'",
        "'of b'",
    ]


def test_it_also_looks_when_trio_has_stopped():
    streams = StreamManager()

    async def main() -> SessionManager:
        streams.register_stream(SessionId("s1"), kind="forgotten")
        async with open_session_manager() as sessions:
            pass
        return sessions

    sessions = trio.run(main)
    assert_no_leftovers(sessions)
    with pytest.raises(AssertionError, match=r"^1 left over:\n- stream .* 'forgotten', open, "):
        assert_no_leftovers(streams)
