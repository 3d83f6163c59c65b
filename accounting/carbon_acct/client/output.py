# SPDX-License-Identifier: MIT
"""Prints rows of jobs: a table for people, `|`-separated lines for scripts, CSV for spreadsheets."""

from __future__ import annotations

import io

from carbon_collector.lean.typing import TYPE_CHECKING

from .safe_text import defused, shortened, widths, without

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .fields import Column, Screen


def for_people(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool
) -> Iterator[str]:
    """Yield the lines of a table whose columns fit their content; numbers are right-aligned."""
    for row in zip(*(_filled(column, jobs, screen, header) for column in columns)):
        yield " ".join(row).rstrip()


def _filled(column: Column, jobs: Sequence[Mapping[str, Any]], screen: Screen, header: bool) -> list[str]:
    """Return the cells of a column, each padded to the column's width."""
    field, fixed = column.field, abs(column.width)
    cells = [field.show(job, screen) for job in jobs]
    if most := fixed or field.most:
        cells = [shortened(cell, most) for cell in cells]
    if header:
        cells.insert(0, shortened(field.name, fixed) if fixed else field.name)
    sizes = widths(cells)
    size = fixed or max(sizes, default=0)
    right = column.width > 0 or (not fixed and field.right)
    fill = str.rjust if right else str.ljust
    filled = [fill(cell, size - own + len(cell)) for cell, own in zip(cells, sizes)]
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
    for job in jobs:
        yield delimiter.join(without(delimiter, c.field.show(job, screen)) for c in columns) + end


def for_spreadsheets(
    jobs: Sequence[Mapping[str, Any]], columns: Sequence[Column], screen: Screen, header: bool
) -> Iterator[str]:
    """Yield lines of CSV (RFC 4180) in which no cell is a formula."""
    import csv  # noqa: PLC0415  nobody else waits for it

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
