# SPDX-License-Identifier: MIT
"""The one table that each benchmark prints: plain text, the first column to the left, figures to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def render(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; a row of one cell is a heading between others."""
    whole = [row for row in [head, *rows] if len(row) > 1]
    widths = [max(len(row[i]) for row in whole) for i in range(len(head))]
    lines = [_line(head, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(row, widths) if len(row) > 1 else f"\n{row[0]}" for row in rows)])


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values that need not be sorted; there must be one."""
    ordered = sorted(values)
    return ordered[max(0, -int(-percent * len(ordered) // 100) - 1)]


def verdict(value: float, budget: float) -> str:
    """`pass` or `over`."""
    return "pass" if value <= budget else "over"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
