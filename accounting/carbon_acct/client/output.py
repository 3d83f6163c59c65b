# SPDX-License-Identifier: MIT
"""Prints rows of jobs: a table for people, `|`-separated lines for scripts, CSV for spreadsheets."""

from __future__ import annotations

import io
import os
import sys
from itertools import chain

from carbon_collector.lean.typing import TYPE_CHECKING

from .safe_text import defused, shortened, widths, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from .fields import Column, Screen

LEAST_TEXT = 8
"""The characters to which a text in a table of sums is shortened at most."""


def for_people(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool, terminal: int = 0
) -> Iterator[str]:
    """Yield the lines of a table whose columns fit their content; numbers are right-aligned.

    `terminal` is the width that no line may exceed, as far as texts can be shortened; 0: none.
    """
    table = [_cells(column, jobs, screen, header) for column in columns]
    sizes = [abs(column.width) or max(widths(cells), default=0) for column, cells in zip(columns, table)]
    if terminal:
        sizes = _fitting(columns, sizes, terminal)
    filled = [_filled(column, cells, size, header) for column, cells, size in zip(columns, table, sizes)]
    for row in zip(*filled):
        yield " ".join(row).rstrip()


def _cells(column: Column, jobs: Sequence[Mapping[str, Any]], screen: Screen, header: bool) -> list[str]:
    """Return the cells of a column, each at most as wide as the column may be by itself."""
    most = abs(column.width) or column.field.most
    cells = [column.field.show(job, screen) for job in jobs]
    if most:
        cells = [shortened(cell, most) for cell in cells]
    return [column.field.name, *cells] if header else cells


def _fitting(columns: Sequence[Column], sizes: list[int], terminal: int) -> list[int]:
    """Return sizes whose line fits the terminal: the widest text loses a character, until it does or no text can."""
    return _narrowed(sizes, [0 if column.width else column.field.least for column in columns], terminal)


def _narrowed(sizes: Sequence[int], least: Sequence[int], terminal: int) -> list[int]:
    """Return sizes whose sum with the blanks between fits, where `least` allows it; 0: a column stays as it is."""
    sizes = list(sizes)
    while sum(sizes) + len(sizes) - 1 > terminal:
        spare = [(size, at) for at, (size, most) in enumerate(zip(sizes, least)) if size > most > 0]
        if not spare:
            return sizes
        sizes[max(spare)[1]] -= 1
    return sizes


def _filled(column: Column, cells: Sequence[str], size: int, header: bool) -> list[str]:
    """Return cells shortened and padded to their column's size, with a rule below the header."""
    short = [shortened(cell, size) for cell in cells]
    right = column.width > 0 or (not column.width and column.field.right)
    fill = str.rjust if right else str.ljust
    filled = [fill(cell, size - own + len(cell)) for cell, own in zip(short, widths(short))]
    return [*filled[:1], "-" * size, *filled[1:]] if header else filled


def for_scripts(
    jobs: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    screen: Screen,
    header: bool,
    delimiter: str,
    ending: bool,
) -> Iterator[str]:
    r"""Yield lines with `delimiter` between the values, and after the last one if `ending` is set (sacct -p).

    A delimiter within a value is written as an escape (`\x7c`), so that every line has the same number of parts.
    """
    end = delimiter if ending else ""
    if header:
        yield delimiter.join(c.field.name for c in columns) + end
    yield from delimited(([c.field.show(job, screen) for c in columns] for job in jobs), delimiter, ending)


def for_spreadsheets(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool
) -> Iterator[str]:
    """Yield lines of CSV (RFC 4180) in which no cell is a formula."""
    heads = [[c.field.name for c in columns]] * header
    yield from csv_lines(chain(heads, ([c.field.show(job, screen) for c in columns] for job in jobs)))


def delimited(rows: Iterable[Sequence[str]], delimiter: str, ending: bool) -> Iterator[str]:
    """Yield rows as lines with `delimiter` between the values, and after the last one if `ending` is set."""
    end = delimiter if ending else ""
    for row in rows:
        yield delimiter.join(without(delimiter, cell) for cell in row) + end


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines of CSV (RFC 4180) in which no cell is a formula."""
    import csv  # noqa: PLC0415  nobody else waits for it

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="")
    for row in rows:
        writer.writerow([defused(cell) for cell in row])
        yield _taken(buffer)


def aligned(
    head: Sequence[Sequence[str]],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None,
    right: Sequence[bool],
    terminal: int = 0,
) -> Iterator[str]:
    """Yield the lines of a table: its head, rules, and the total below the second of them.

    `terminal` is the width that no line may exceed, as far as texts can be shortened; 0: none.
    """
    last = [] if total is None else [total]
    sizes = [max(widths(column)) for column in zip(*head, *rows, *last)]
    if terminal:
        sizes = _narrowed(sizes, [0 if to_right else LEAST_TEXT for to_right in right], terminal)
    rule = " ".join("-" * size for size in sizes)

    def line(row: Sequence[str]) -> str:
        row = [shortened(cell, size) for cell, size in zip(row, sizes)]
        cells = zip(row, sizes, widths(row), right)
        padded = [
            " " * (size - own) + cell if to_right else cell + " " * (size - own) for cell, size, own, to_right in cells
        ]
        return " ".join(padded).rstrip()

    for heads in head:
        yield line(heads)
        yield rule
    yield from map(line, rows)
    if last and rows:
        yield rule
    yield from map(line, last)


def terminal_width() -> int:
    """Return the width of the terminal that standard output is; 0 where it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 0


def _taken(buffer: Any) -> str:
    line: str = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return line
