"""The demo's display for a terminal: the tree, what happens and the checks, drawn again and again."""

from __future__ import annotations

import io
from typing import Final

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ._demo_board import Board, Entry, Row
from ._demo_checks import Claim
from ._demo_svg import SVG

_FRAMES_PER_SECOND: Final = 10
_BORDER: Final = 2
_WIDE: Final = 108
_CLAIM_WIDTH: Final = max(len(claim.value) for claim in Claim) + 6
_LEAST_BELOW: Final = 6
_PICTURE_SIZE: Final = (116, 32)
_KINDS: Final = {"get": "cyan", "post": "green", "listen": "magenta"}
_MARKS: Final = {"+": "green", "-": "red", ">": "cyan", "<": "yellow", "!": "bold red"}


async def show_live(board: Board) -> None:
    """Draw the board until the demo has finished, and leave the last frame on the screen."""
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(frame(board, console.width, console.height - 1), refresh=True)
            if board.finished:
                return
            await trio.sleep(1 / _FRAMES_PER_SECOND)


def paint(board: Board) -> str:
    """Draw the board as an SVG image."""
    width, height = _PICTURE_SIZE
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(frame(board, width, height))
    return console.export_svg(title="streamscope demo", code_format=SVG)


def frame(board: Board, width: int, height: int) -> RenderableType:
    """Draw the board into so many columns and lines, one of which stays empty.

    The tree gets what it needs, the rest what is left. Where that is narrow, the
    checks are just counted.
    """
    rows = list(board.rows())
    # One line above, one below, and one for the names of the columns.
    tree_height = max(min(len(rows) + _BORDER + 1, height - 2 - _LEAST_BELOW), _BORDER + 2)
    below_height = max(height - 2 - tree_height, _LEAST_BELOW)
    tree = Panel(
        _tree(rows, tree_height - _BORDER - 1),
        title=f"[bold]{board.act or 'Starting'}[/]",
        title_align="left",
        border_style="blue",
        height=tree_height,
    )
    if width < _WIDE:
        return Group(_head(board), tree, _changes(board, below_height))
    below = Table.grid(expand=True)
    below.add_column(ratio=1)
    below.add_column(width=_CLAIM_WIDTH)
    below.add_row(_changes(board, below_height), _checks(board, below_height))
    return Group(_head(board), tree, below)


def _head(board: Board) -> RenderableType:
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(no_wrap=True)
    head.add_column(ratio=1, no_wrap=True)
    head.add_column(justify="right", no_wrap=True)
    seen = board.sessions.statistics()
    open_now = (
        f"{seen.open_sessions} sessions, {seen.streams.open_streams} streams, {seen.streams.sent_events} events sent"
    )
    head.add_row(
        Text(" streamscope", "bold"), Text(board.url, "dim"), Text(f"{open_now}   {board.elapsed:4.1f} s ", "dim")
    )
    return head


def _tree(rows: list[Row], room: int) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim", show_edge=False)
    # Where it is narrow, the peers give way.
    table.add_column("id", no_wrap=True, min_width=12)
    table.add_column("what", no_wrap=True, min_width=10)
    for name in ("age", "idle", "events"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    table.add_column("reader", no_wrap=True, min_width=6)
    table.add_column("peer", no_wrap=True)
    shown = rows if len(rows) <= room else rows[: room - 1]
    for row in shown:
        table.add_row(*_cells(row))
    if len(shown) < len(rows):
        table.add_row(Text(f"… and {len(rows) - len(shown)} more", "dim"))
    return table


def _cells(row: Row) -> tuple[Text, ...]:
    age, idle = f"{row.age:.1f} s", f"{row.idle:.1f} s"
    if row.is_session:
        return (
            Text(row.name, "bold"),
            Text(row.kind, "bold"),
            Text(age),
            Text(idle, "dim"),
            Text(""),
            Text(row.readers, "bold yellow"),
            Text(row.peer, "dim"),
        )
    return (
        Text.assemble((row.branch, "dim"), row.name),
        Text(row.kind, _KINDS.get(row.kind, "")),
        Text(age),
        Text(idle, "dim"),
        Text("" if row.events is None else str(row.events)),
        Text(row.readers, "cyan" if row.readers.startswith("at ") else "bold yellow"),
        Text(row.peer, "dim"),
    )


def _changes(board: Board, height: int) -> Panel:
    entries = [entry for entry in board.entries if entry.mark in _MARKS and not entry.minor][_BORDER - height :]
    lines = Text("\n", no_wrap=True, overflow="ellipsis").join(_change(entry) for entry in entries)
    count = f"{board.checks.count} of {len(Claim)} checks passed"
    return Panel(
        lines,
        title="what happens",
        title_align="left",
        subtitle=count,
        subtitle_align="right",
        border_style="blue",
        height=height,
    )


def _change(entry: Entry) -> Text:
    style = "green" if entry.reason == "completed" else "bold yellow"
    return Text.assemble(
        (f"{entry.at:5.2f} ", "dim"),
        (f"{entry.mark} ", _MARKS[entry.mark]),
        entry.text,
        (f" {entry.reason}" if entry.reason else "", style),
    )


def _checks(board: Board, height: int) -> Panel:
    claims = list(Claim)
    room = height - _BORDER
    if len(claims) > room:
        # Those that were checked last, and the next one.
        begin = min(max(len(board.checks.outcomes) + 1 - room, 0), len(claims) - room)
        claims = claims[begin : begin + room]
    lines = Text("\n", no_wrap=True, overflow="ellipsis").join(_check(board, claim) for claim in claims)
    return Panel(lines, title="what is checked", title_align="left", border_style="blue", height=height)


def _check(board: Board, claim: Claim) -> Text:
    outcome = board.checks.outcomes.get(claim)
    if outcome is None:
        return Text(f"· {claim.value}", "dim")
    mark = ("✓ ", "bold green") if outcome.passed else ("✗ ", "bold red")
    return Text.assemble(mark, claim.value)
