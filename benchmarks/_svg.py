"""Plots, as SVG that is small, has text as text, and is the same for the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 760
OURS: Final = "#0b6e99"
OTHERS: Final = "#9aa5b1"
_COLOURS: Final = (OURS, "#c2571a", "#6b4fa0", "#3f7d3a", "#9aa5b1", "#8a6d1f")
_TEXT: Final = "#24292f"
_GRID: Final = "#e3e7eb"


def bars(title: str, unit: str, values: Mapping[str, float], *, ours: str = "streamscope") -> str:
    """Draw a bar for each name, the shortest on top; those whose names begin like ours are in a colour.

    Args:
        title: Says what is shown.
        unit: The unit of the values, and what they are.
        values: The values, by name.
        ours: How our names begin.
    """
    left, top, step = 280, 64, 26
    right = WIDTH - 70
    scale = (right - left) / (max(values.values()) or 1.0)
    parts = []
    for row, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        y = top + row * step
        parts.append(_text(left - 10, y + 13, name, anchor="end"))
        fill = OURS if name.startswith(ours) else OTHERS
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(1.0, value * scale):.1f}" height="18" rx="2" fill="{fill}"/>'
        )
        parts.append(_text(left + value * scale + 6, y + 13, figure(value)))
    return _page(title, unit, parts, top + len(values) * step + 8)


def lines(title: str, unit: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw a line for each name, on axes of powers of ten; where x is 0 it stands left of the axis' first power.

    Args:
        title: Says what is shown.
        unit: What is upwards, with its unit.
        across: What is across, with its unit.
        series: The points, by name.
    """
    left, right, top, bottom = 70, WIDTH - 280, 64, 340
    points = [point for line in series.values() for point in line]
    low_y, high_y = _decades([y for _, y in points])
    low_x, high_x = _decades([x for x, _ in points if x])
    zero = any(not x for x, _ in points)

    def place(x: float, y: float) -> tuple[float, float]:
        begin = left + 60 if zero else left
        across = begin + (math.log10(x) - low_x) / (high_x - low_x) * (right - begin) if x else left + 20
        return across, bottom - (math.log10(y) - low_y) / (high_y - low_y) * (bottom - top)

    parts = []
    for power in range(low_y, high_y + 1):
        for digit in (1, 2, 5):
            if 0 <= math.log10(digit) + power - low_y <= high_y - low_y:
                y = place(1.0, digit * 10.0**power)[1]
                parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
                parts.append(_text(left - 8, y + 4, figure(digit * 10.0**power), anchor="end"))
    ticks = sorted({x for x, _ in points})
    parts += [_text(place(x, 10.0**low_y)[0], bottom + 18, f"{x:,.0f}", anchor="middle") for x in ticks]
    parts.append(_text((left + right) / 2, bottom + 40, across, anchor="middle"))
    labels = _apart([(place(*line[-1])[1], name) for name, line in series.items()])
    for (name, line), colour in zip(series.items(), _COLOURS, strict=False):
        placed = [place(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        parts.append(_text(right + 12, labels[name] + 4, name, fill=colour))
    return _page(title, unit, parts, bottom + 52)


def figure(value: float) -> str:
    """Write a value with as many digits as are of use."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 10 else f"{value:.2g}"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    if not values:
        return 0, 1
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _apart(wanted: Sequence[tuple[float, str]]) -> dict[str, float]:
    """Move labels down until none is over another."""
    placed: dict[str, float] = {}
    last = -math.inf
    for y, name in sorted(wanted):
        last = placed[name] = max(y, last + 16)
    return placed


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = _TEXT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _page(title: str, unit: str, parts: Sequence[str], height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="16" y="26" font-size="16" font-weight="600" fill="{_TEXT}">{escape(title)}</text>\n'
        f'<text x="16" y="46" fill="#57606a">{escape(unit)}</text>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"
