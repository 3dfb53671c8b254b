"""Small charts with logarithmic axes, as SVG that reads on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 34, 34
_COLUMNS = 2
_COLOURS = ("#2f6fde", "#e0862f", "#3a9d5d", "#a04fc0")
_STYLE = (
    "text{font:12px sans-serif;fill:#888}.title{font-weight:bold}.grid{stroke:#8884;stroke-width:1}"
    "polyline{fill:none;stroke-width:2}"
)


@dataclass(frozen=True, slots=True)
class Chart:
    """One of them.

    Attributes:
        title: what is shown, and in which unit.
        x: what grows.
        curves: by name; each has two points at least.
    """

    title: str
    x: str
    curves: Mapping[str, Points]


def draw(charts: Sequence[Chart]) -> str:
    """All charts in one picture."""
    rows = -(-len(charts) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<style>{_STYLE}</style>",
    ]
    for number, chart in enumerate(charts):
        row, column = divmod(number, _COLUMNS)
        parts.append(f'<g transform="translate({column * _WIDTH},{row * _HEIGHT})">')
        parts += _draw_one(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _draw_one(chart: Chart) -> Iterator[str]:
    points = [point for curve in chart.curves.values() for point in curve]
    across = _Axis([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    yield f'<text class="title" x="{_LEFT}" y="16">{escape(chart.title)}</text>'
    for tick in across.ticks():
        x = across.place(tick)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        yield f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{_short(tick)}</text>'
    for tick in up.ticks():
        y = up.place(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_short(tick)}</text>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{escape(chart.x)}</text>'
    for colour, (at, (name, curve)) in zip(_COLOURS, enumerate(chart.curves.items()), strict=False):
        line = " ".join(f"{across.place(x)},{up.place(y)}" for x, y in curve)
        yield f'<polyline points="{line}" stroke="{colour}"/>'
        yield f'<text x="{_LEFT + at * 60}" y="{_HEIGHT - 4}" style="fill:{colour}">{escape(name)}</text>'


class _Axis:
    """Whole decades, from the one below the least value to the one above the greatest."""

    def __init__(self, values: Sequence[float], start: int, end: int) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._start, self._end = start, end

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]

    def place(self, value: float) -> float:
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._start + part * (self._end - self._start), 1)


def _short(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
