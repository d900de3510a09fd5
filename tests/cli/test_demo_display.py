"""What the demo's displays make of a board; sessions and streams are real, time is virtual."""

from __future__ import annotations

import io
import re

import pytest
import trio
from rich.console import Console

import streamscope
from streamscope import CloseReason
from streamscope._demo_board import Board, Entry, short
from streamscope._demo_checks import Checks, Claim
from streamscope._demo_live import frame
from streamscope._demo_plain import line, show_plain, snapshot, summary


@pytest.fixture
async def board():
    async with streamscope.open_session_manager() as sessions:
        board = Board(sessions, Checks())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.follow, sessions.watch())
            yield board
            nursery.cancel_scope.cancel()


def draw(board, width, height):
    file = io.StringIO()
    console = Console(width=width, height=height, file=file, color_system=None)
    console.print(frame(board, width, height))
    return file.getvalue().splitlines()


def test_identifiers_are_shortened():
    session_id, stream_id = streamscope.SessionId.new(), streamscope.StreamId.new()
    assert short(session_id) == f"{str(session_id)[:4]}…"
    assert short(stream_id) == str(stream_id)[:8]


async def test_the_tree(board, autojump_clock):
    async with board.sessions.open_session(connection_info="192.0.2.1:5") as session:
        board.names[session.id] = "editor"
        async with (
            session.open_stream(kind="get", connection_info="192.0.2.1:6") as get,
            session.open_stream() as other,
        ):
            await get.send(b"one")
            await trio.sleep(2)
            await get.send(b"two")
            async with session.open_reader(get.id, after=1) as reader:
                await reader.receive()
                rows = [(row.branch, row.name, row.kind, row.age, row.idle, row.events) for row in board.rows()]
                readers = [row.readers for row in board.rows()]
                peers = [row.peer for row in board.rows()]
                printed = list(snapshot(board))
    assert rows == [
        ("", short(session.id), "editor", 2, 0, None),
        ("├─ ", short(get.id), "get", 2, 0, 2),
        ("└─ ", short(other.id), "stream", 2, 2, 0),
    ]
    assert readers == ["", "at 2", "none"]
    assert peers == ["192.0.2.1:5", "192.0.2.1:6", "—"]
    assert re.fullmatch(rf" +├─ {short(get.id)} +get +2\.0s +0\.0s +2 +at 2 +192\.0\.2\.1:6", printed[2])


async def test_what_is_closing_says_why(board, autojump_clock):
    async with board.sessions.open_session() as session:
        stream = await session.start_stream(_linger)
        await trio.testing.wait_all_tasks_blocked()
        stream.cancel(CloseReason.KILLED)
        assert [row.readers for row in board.rows()] == ["", "killed"]
        session.close(CloseReason.EVICTED)
        assert [row.readers for row in board.rows()] == ["evicted", "killed"]


async def _linger(stream):
    with trio.CancelScope(shield=True):
        await trio.sleep(1)


async def test_changes(board, autojump_clock):
    async with board.sessions.open_session(connection_info="192.0.2.1:5") as session:
        board.names[session.id] = "editor"
        async with session.open_stream(kind="post") as stream:
            await trio.sleep(1.5)
            await stream.send(b"one")
            await stream.send(b"two")
        async with session.open_reader(stream.id) as reader:
            await reader.receive()
    await trio.testing.wait_all_tasks_blocked()
    a, b = short(session.id), short(stream.id)
    assert [line(entry) for entry in board.entries] == [
        f"  0.00  +      session {a} opened from 192.0.2.1:5",
        f"  0.00  +      post stream {b} opened in {a}",
        f"  1.50  -      post stream {b} closed, 2 events: completed",
        f"  1.50  >      reader of {b} attached at 0",
        f"  1.50  <      reader of {b} left at 1: disconnected",
        f"  1.50  -      session {a} editor closed, 1.5 s: completed",
    ]
    assert [entry.minor for entry in board.entries] == [False, False, False, True, False, False]
    assert len(board.changes) == 6


async def test_missed_changes_are_no_secret(board):
    board.entries.append(board._describe(streamscope.ChangesMissed(3)))
    assert board.entries[0] == Entry("!", "3 changes were missed")


@pytest.mark.parametrize(("width", "height"), [(120, 40), (110, 24), (80, 24), (60, 12), (200, 60)])
@pytest.mark.parametrize("sessions", [0, 3, 30])
async def test_a_frame_fits_the_terminal(board, autojump_clock, width, height, sessions):
    board.begin("An act with a title that is rather long, for those who look on")
    for claim in list(Claim)[:7]:
        board.expect(claim, 1, 1)
    for _ in range(sessions):
        session = await board.sessions.start_session(connection_info="192.0.2.1:55555")
        for kind in ("get", "post"):
            await session.start_stream(_forever, kind=kind)
    await trio.testing.wait_all_tasks_blocked()
    lines = draw(board, width, height)
    assert len(lines) < height
    assert all(len(text) <= width for text in lines)
    text = "\n".join(lines)
    assert "7 of 15 checks passed" in text
    assert re.search(r"│ +id +what +age +idle +events +re", text)
    assert ("… and " in text) == (sessions * 3 > height - 12 and sessions > 0)
    board.sessions.close()


async def _forever(stream):
    await trio.sleep_forever()


async def test_a_frame_shows_what_was_checked_and_what_was_not(board, autojump_clock):
    board.expect(Claim.BOTH_ERAS, 1, 1)
    board.expect(Claim.LISTED, 1, 2)
    text = "\n".join(draw(board, 120, 40))
    assert f"✓ {Claim.BOTH_ERAS.value}" in text
    assert f"✗ {Claim.LISTED.value}" in text
    assert f"· {Claim.PROGRESS.value}" in text
    # Where there is little room, the next check is in view.
    text = "\n".join(draw(board, 120, 14))
    assert f"✗ {Claim.LISTED.value}" in text
    assert f"· {Claim.PROGRESS.value}" in text
    assert Claim.QUIET.value not in text


async def test_checks(board):
    checks = board.checks
    for number, claim in enumerate(Claim, start=1):
        assert not checks.passed
        board.expect(claim, [1], [1])
        assert checks.count == number
    assert checks.passed
    with pytest.raises(AssertionError):
        board.expect(Claim.QUIET, 1, 1)
    assert [line for line in summary(board) if line] == [
        "15 of 15 checks passed in 0.0 s, over 0 sessions, 0 streams and 0 events."
    ]


async def test_lines_until_the_end(board, autojump_clock, capsys):
    async def happen():
        board.begin("First act")
        await trio.sleep(2)
        board.expect(Claim.LISTED, 1, 1)
        board.finish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        nursery.start_soon(show_plain, board)
    printed = capsys.readouterr().out
    assert printed.startswith("\n  0.00  First act\n\n")
    assert printed.count(" what ") == 1
    assert printed.endswith(f"  2.00  ok     {Claim.LISTED.value}\n")
