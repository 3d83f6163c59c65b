# SPDX-License-Identifier: MIT
"""Rows of jobs on paper: a table for people, `|`-separated lines for scripts, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from .text import defused, shortened, width, without

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .fields import Column, Screen


def for_people(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool
) -> Iterator[str]:
    """Lines of a table whose columns fit their content; numbers are right-aligned."""
    cells = [
        [shortened(c.field.show(job, screen), abs(c.width) or c.field.most or 10**9) for c in columns] for job in jobs
    ]
    names = [shortened(c.field.name, abs(c.width)) if c.width else c.field.name for c in columns]
    everything = [names, *cells] if header else cells
    widths = [abs(c.width) or max((width(row[i]) for row in everything), default=0) for i, c in enumerate(columns)]
    if header:
        yield _line(names, columns, widths)
        yield " ".join("-" * size for size in widths)
    for row in cells:
        yield _line(row, columns, widths)


def for_scripts(
    jobs: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    screen: Screen,
    header: bool,
    delimiter: str,
    ending: bool,
) -> Iterator[str]:
    r"""Lines with `delimiter` between the values, and after the last where `ending` says so (sacct -p).

    A delimiter within a value is written as an escape (`\x7c`), so that every line has the same number of parts.
    """
    end = delimiter if ending else ""
    if header:
        yield delimiter.join(c.field.name for c in columns) + end
    for job in jobs:
        yield delimiter.join(without(delimiter, c.field.show(job, screen)) for c in columns) + end


def for_spreadsheets(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool
) -> Iterator[str]:
    """Lines of CSV (RFC 4180) in which no cell is a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="")
    rows = ([defused(c.field.show(job, screen)) for c in columns] for job in jobs)
    for row in [[c.field.name for c in columns]] * header:
        writer.writerow(row)
        yield _taken(buffer)
    for row in rows:
        writer.writerow(row)
        yield _taken(buffer)


def _taken(buffer: Any) -> str:
    line: str = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return line


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for cell, column, size in zip(cells, columns, widths, strict=True):
        right = column.width > 0 or (column.width == 0 and column.field.right)
        blanks = " " * (size - width(cell))
        parts.append(blanks + cell if right else cell + blanks)
    return " ".join(parts).rstrip()
