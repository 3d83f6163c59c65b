# SPDX-License-Identifier: MIT
"""Computes the geometry of the three forms that a report draws: stacked columns, bars with a mark, and heat tables. Pure.

`templates/charts.html.j2` writes them. Widths are percentages, so a drawing fits every page while its text keeps its
size; heights are pixels. Colours are literal, for PDF, and a page's style sheet overrides them by class
(docs/adr/0010-drawing.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = {
    "cpu": "#1b7f5c",
    "dram": "#3d8fc4",
    "gpu": "#d99a00",
    "other": "#8a5fa8",
    "idle": "#8d9691",
    "system": "#c3cbc6",
    "estimated": "#b5531f",
    "jobs": "#1b7f5c",
    "wasted": "#b5531f",
}
"""The light scheme, by the class of what is drawn."""

HEIGHT, PAPER_HEIGHT = 190, 120
"""Pixels of the plot on a screen, and on paper."""

GAP = 0.15
"""The part of a column's place that stays free."""

TICKS = 4


class Segment(NamedTuple):
    """A part of a column or of a bar. `at` and `size`: pixels from the top, or percent from the left."""

    kind: str
    at: float
    size: float


class Column(NamedTuple):
    """A column: its label, what a pointer shows, and where it stands in percent."""

    label: str
    note: str
    x: float
    width: float
    segments: list[Segment]

    @property
    def middle(self) -> float:
        """Return the middle, in percent."""
        return self.x + self.width / 2


class Tick(NamedTuple):
    """A line of the grid: pixels from the top, and its number."""

    y: float
    text: str


class Stacked(NamedTuple):
    """Stacked columns. `line`: pixels from the top of a dashed line, or None."""

    columns: list[Column]
    ticks: list[Tick]
    line: float | None
    height: int


class Bar(NamedTuple):
    """A bar and its mark, in percent."""

    width: float
    mark: float | None


def stacked(
    kinds: Sequence[str],
    values: Sequence[Sequence[float | None]],
    labels: Sequence[str],
    notes: Sequence[str],
    line: float | None = None,
    height: int = HEIGHT,
) -> Stacked:
    """Return columns of values, `kinds` from the bottom up. What is not known, or is below 0, has no height."""
    heights = [[max(value or 0, 0) for value in column] for column in values]
    ticks = scale(max([*(sum(column) for column in heights), line or 0], default=0))
    top = ticks[-1] or 1
    place = 100 / max(len(heights), 1)
    columns = [
        Column(label, note, at * place + place * GAP / 2, place * (1 - GAP), _pile(kinds, column, height / top, height))
        for at, (column, label, note) in enumerate(zip(heights, labels, notes, strict=True))
    ]
    lines = [Tick(height * (1 - tick / top), f"{tick:,g}".replace(",", "\u202f")) for tick in ticks]
    return Stacked(columns, lines, None if line is None else height * (1 - line / top), height)


def _pile(kinds: Sequence[str], column: Sequence[float], pixels: float, height: int) -> list[Segment]:
    """Return the parts of a column, `pixels` for each unit."""
    found, below = [], 0.0
    for kind, value in zip(kinds, column, strict=True):
        if value:
            found.append(Segment(kind, height - (below + value) * pixels, value * pixels))
        below += value
    return found


def scale(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`: steps of 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10.0**-12
    while most / step > TICKS:
        for times in (2, 2.5, 2):
            step *= times
            if most / step <= TICKS:
                break
    count = -int(-most // step)
    return [round(step * n, 12) for n in range(count + 1)]


def bars(values: Sequence[float | None], marks: Sequence[float | None] = ()) -> list[Bar]:
    """Return bars on one scale. What is not known, or is below 0, has no width."""
    most = max((max(value or 0, 0) for value in (*values, *marks)), default=0) or 1
    beside = [*marks, *[None] * (len(values) - len(marks))]
    return [
        Bar(100 * max(value or 0, 0) / most, None if mark is None else 100 * max(mark, 0) / most)
        for value, mark in zip(values, beside, strict=True)
    ]


def whole(parts: Sequence[tuple[str, float | None]]) -> list[Segment]:
    """Return one bar of 100 percent."""
    known = [(kind, max(value or 0, 0)) for kind, value in parts]
    all_of = sum(value for _, value in known) or 1
    found, left = [], 0.0
    for kind, value in known:
        if value:
            found.append(Segment(kind, 100 * left / all_of, 100 * value / all_of))
        left += value
    return found
