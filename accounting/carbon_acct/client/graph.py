# SPDX-License-Identifier: MIT
"""Draws bars and curves with characters: blocks where the terminal has UTF-8, ASCII elsewhere."""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Pen(NamedTuple):
    """The characters to draw with. `levels` are from the lowest to the highest; `gap` is where nothing is known."""

    full: str
    empty: str
    levels: str
    gap: str


BLOCKS = Pen("█", "░", "▁▂▃▄▅▆▇█", " ")
ASCII = Pen("#", ".", "_.-=+*%#", " ")


def pen_for(encoding: str | None) -> Pen:
    """Return the pen for a terminal's encoding."""
    return BLOCKS if (encoding or "").lower().replace("-", "").startswith("utf8") else ASCII


def bar(part: float, whole: float, width: int, pen: Pen) -> str:
    """Return a bar of `width` characters, filled by a share. What is not 0 has at least one character."""
    share = min(1.0, max(0.0, part / whole)) if whole else 0.0
    filled = max(round(share * width), 1 if part > 0 else 0)
    return pen.full * filled + pen.empty * (width - filled)


def curve(values: Sequence[float | None], pen: Pen, lowest: float | None = None) -> str:
    """Return a character for each value; the highest value has the highest level, `lowest` (else 0) the lowest."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = (0.0 if lowest is None else lowest), max(known)
    steps = len(pen.levels) - 1

    def level(value: float | None) -> str:
        if value is None:
            return pen.gap
        return pen.levels[round((value - low) / (high - low) * steps) if high > low else steps]

    return "".join(map(level, values))
