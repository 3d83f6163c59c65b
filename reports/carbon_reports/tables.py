# SPDX-License-Identifier: MIT
"""Tables for people: texts in rows, one unit and one number of decimals in each column. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .numbers import KG, KWH, fixed, places

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_ROWS = 25


class Shown(NamedTuple):
    """A table. The first cell of a row is its header, and the others are numbers."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    has_total: bool = False


def kwh(values: Sequence[int | None]) -> list[str]:
    """Return a column of energies: microjoules as kWh."""
    return column(values, KWH)


def kg(values: Sequence[int | None]) -> list[str]:
    """Return a column of masses: micrograms as kg."""
    return column(values, KG)


def column(values: Sequence[int | None], unit: int) -> list[str]:
    """Return a column of values in `unit`s."""
    decimals = places(values, unit)
    return [fixed(value, unit, decimals) for value in values]


def rows(labels: Sequence[str], *columns: Sequence[str]) -> list[list[str]]:
    """Return rows of labels and the cells of columns."""
    return [list(row) for row in zip(labels, *columns, strict=True)]
