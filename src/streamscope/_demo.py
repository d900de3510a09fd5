"""``streamscope demo``: a real server and real clients, shown and checked.

Theory of operation. The server, its clients and the display are tasks of one
process; what they say to each other goes over HTTP. A story of a few acts
drives the clients and compares what they find with what streamscope promises.
The board collects what happens; a display draws the board, live where there is
a terminal and as plain lines where there is none.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, Self, final

import trio

from . import _demo_acts, _demo_ends
from ._changes import SessionClosed, SessionOpened, StreamClosed, StreamOpened
from ._cli_errors import FAILED, CannotStartError, import_extra, leaves
from ._demo_board import Board
from ._demo_checks import Checks, Claim
from ._demo_plain import show_plain, summary
from ._demo_server import DemoServer
from ._demo_stage import Stage
from ._open import open_session_manager
from .mcp import serve

IDLE_TIMEOUT: Final = 4.0
LIMIT: Final = 90.0
"""Seconds after which something has gone wrong. The demo takes about ten."""


def run(options: argparse.Namespace) -> int:
    """Run the demo, and return the exit status.

    Raises:
        CannotStartError: A picture is wanted that cannot be made.
    """
    picture: Path | None = None
    if options.record:
        import_extra("rich", "cli")
        picture = Path(options.record)
        try:
            picture.touch()
        except OSError as exc:
            raise CannotStartError(f"cannot write {options.record}: {exc.strerror}") from None
    with Complaints() as complaints:
        return trio.run(_main, options.pace, picture, complaints)


async def _main(pace: float, picture: Path | None, complaints: Complaints) -> int:
    passed = False
    async with open_session_manager(idle_timeout=IDLE_TIMEOUT) as sessions:
        board = Board(sessions, Checks())
        if picture is not None:
            from ._demo_live import paint

            board.painter = paint
        error = await _perform(board, pace, complaints)
        if picture is not None:
            await trio.Path(picture).write_text(board.picture, encoding="utf-8")
        for line in summary(board):
            print(line)
        for leaf in [] if error is None else leaves(error):
            traceback.print_exception(leaf)
        passed = board.checks.passed and error is None
    return 0 if passed else FAILED


async def _perform(board: Board, pace: float, complaints: Complaints) -> Exception | None:
    """Run the server, its clients and a display; return what went wrong, other than a check."""
    error: Exception | None = None
    stage = Stage(board, DemoServer(), pace, stop := trio.Event())
    serve_demo = partial(serve, stage.demo.server, board.sessions, port=0, stop=stop, handle_signals=False)
    async with trio.open_nursery() as showing:
        showing.start_soon(_choose_display(), board)
        async with trio.open_nursery() as serving:
            serving.start_soon(board.follow, board.sessions.watch(buffer=10_000))
            board.url = await serving.start(serve_demo)
            error = await _tell(stage)
            stop.set()
        if error is None:
            _check_balance(board, complaints)
        board.finish()
    return error


def _choose_display() -> Callable[[Board], Awaitable[None]]:
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        try:
            from ._demo_live import show_live
        except ModuleNotFoundError:
            print('For a live display, install streamscope with its "cli" extra.')
        else:
            return show_live
    return show_plain


async def _tell(stage: Stage) -> Exception | None:
    """Play all acts; return what went wrong, other than a check."""
    try:
        with trio.fail_after(LIMIT):
            async with AsyncExitStack() as stack:
                await _demo_acts.connect(stage, stack)
                await _demo_acts.call(stage)
                await _demo_acts.listen(stage)
                await _demo_acts.sleep(stage, stack)
                await _demo_ends.delete(stage)
                await _demo_ends.close_response(stage)
                await _demo_ends.kill(stage)
                await _demo_ends.lose_connection(stage)
                await _demo_acts.look_after_sleeper(stage)
                await _demo_ends.stop(stage)
    except Exception as exc:  # noqa: BLE001 - shown after the display, and makes the demo fail
        return exc
    return None


def _check_balance(board: Board, complaints: Complaints) -> None:
    """Compare what those who watched were told with what the manager has counted."""
    counted = board.sessions.statistics()
    sessions, streams = counted.opened_sessions, counted.streams.opened_streams
    kinds = (SessionOpened, SessionClosed, StreamOpened, StreamClosed)
    told = tuple(sum(isinstance(change, kind) for change in board.changes) for kind in kinds)
    board.expect(Claim.BALANCED, told, (sessions, sessions, streams, streams))
    board.expect(Claim.QUIET, complaints.messages, [])


@final
class Complaints(logging.Handler):
    """Keeps what the server logs as a warning or worse, and everything that is logged off the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        if record.name.partition(".")[0] in {"streamscope", "hypercorn"}:
            self.messages.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        logging.getLogger().removeHandler(self)
