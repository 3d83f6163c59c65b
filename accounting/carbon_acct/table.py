# SPDX-License-Identifier: MIT
"""Rows of jobs on paper: a table for people, `|`-separated lines for scripts, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io

from carbon_collector.lean.named import TYPE_CHECKING

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
    widths = [abs(c.width) or max(map(width, (row[i] for row in everything)), default=0) for i, c in enumerate(columns)]
    places = [(size, c.width > 0 or (c.width == 0 and c.field.right)) for size, c in zip(widths, columns, strict=True)]
    if header:
        yield _line(names, places)
        yield " ".join("-" * size for size in widths)
    for row in cells:
        yield _line(row, places)


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


def _line(cells: Sequence[str], places: Sequence[tuple[int, bool]]) -> str:
    """`places`: how wide each column is, and whether it is right-aligned."""
    parts = []
    for cell, (size, right) in zip(cells, places, strict=True):
        filled = size - width(cell) + len(cell)
        parts.append(cell.rjust(filled) if right else cell.ljust(filled))
    return " ".join(parts).rstrip()
