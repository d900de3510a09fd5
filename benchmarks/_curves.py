"""How figures go over a run, as SVG: one small plot for each, from zero, so that what is flat looks flat."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, final

import attrs

_WIDTH: Final = 760
_LEFT, _GAP, _TOP, _PLOT_HEIGHT, _ROW_HEIGHT = 56, 70, 60, 90, 160


@final
@attrs.frozen
class Panel:
    """One plot.

    Args:
        title: Says what is shown, with its unit.
        points: Across and upwards; at least one, and none below zero.
    """

    title: str
    points: Sequence[tuple[float, float]]


def curves(title: str, across: str, columns: Sequence[Sequence[Panel]]) -> str:
    """Draw columns of plots that share what is across.

    Args:
        title: Says what is shown.
        across: What is across, with its unit.
        columns: The plots of each column, from the top.
    """
    width = (_WIDTH - _LEFT - 16 - _GAP * (len(columns) - 1)) / len(columns)
    right = max(x for column in columns for panel in column for x, _ in panel.points)
    height = _TOP + _ROW_HEIGHT * max(map(len, columns))
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#24292f"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" {style}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for number, column in enumerate(columns):
        for row, panel in enumerate(column):
            left, top = _LEFT + number * (width + _GAP), _TOP + row * _ROW_HEIGHT
            parts += _draw(panel, across, right, left=left, top=top, width=width)
    return "\n".join([*parts, "</svg>\n"])


def _draw(panel: Panel, across: str, right: float, *, left: float, top: float, width: float) -> list[str]:
    highest = _round_up(max(y for _, y in panel.points))
    bottom = top + 20 + _PLOT_HEIGHT
    parts = [f'<text x="{left:.1f}" y="{top + 8:.1f}">{escape(panel.title)}</text>']
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * _PLOT_HEIGHT
        parts += [
            f'<line x1="{left:.1f}" x2="{left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7eb"/>',
            f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{part * highest:g}</text>',
        ]
    parts.append(f'<text x="{left:.1f}" y="{bottom + 16:.1f}" fill="#57606a">0</text>')
    end = f'<text x="{left + width:.1f}" y="{bottom + 16:.1f}" text-anchor="end" fill="#57606a">'
    parts.append(f"{end}{right:,.0f} {escape(across)}</text>")
    line = " ".join(
        f"{left + x / right * width:.1f},{bottom - y / highest * _PLOT_HEIGHT:.1f}" for x, y in panel.points
    )
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0b6e99" stroke-width="1.5"/>')
    return parts


def _round_up(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, … that is not below a value."""
    power = 1.0
    while power < value:
        power *= 10
    return next(power * part for part in (0.1, 0.2, 0.5, 1.0) if power * part >= value)
