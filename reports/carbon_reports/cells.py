# SPDX-License-Identifier: MIT
"""Writes the bodies of tables as HTML. A report of 750 pages has half a million cells, and a template takes three times
as long for them.

Every text is escaped here. Nothing but texts and drawn bars comes in.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from . import charts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .charts import Bar
    from .share_table import JobTable, ShareTable

NUMBER, TEXT = '<td class="n">', "<td>"
BADGE = ' <span class="badge">simulated</span>'


def row_header(text: str) -> str:
    """Return the first cell of a row."""
    return f'<th scope="row">{escape(text)}</th>'


def cells(texts: Sequence[str], begin: str = NUMBER) -> str:
    """Return cells. They are escaped together, which takes a fifth of the time: no text that is shown has a NUL."""
    return f"{begin}{escape(chr(0).join(texts)).replace(chr(0), f'</td>{begin}')}</td>" if texts else ""


def bar(drawn: Bar, kind: str) -> str:
    """Return a bar and its mark as a drawing in a cell."""
    mark = ""
    if drawn.mark is not None:
        at = f'x1="{drawn.mark:.1f}%" x2="{drawn.mark:.1f}%"'
        mark = f'<line class="tick" {at} y1="-1" y2="14" stroke="#1c2b24" stroke-width="2"/>'
    filled = f'<rect class="k-{kind}" fill="{charts.COLOURS[kind]}" y="1" width="{drawn.width:.1f}%" height="11"/>'
    return f'<td class="bar"><svg width="100%" height="14" aria-hidden="true">{filled}{mark}</svg></td>'


def bar_cell(drawn: Bar) -> Markup:
    """Return a cell with a bar alone."""
    return Markup(bar(drawn, "jobs"))  # noqa: S704  numbers


def number_rows(rows: Sequence[Sequence[str]], has_total: bool = False) -> Markup:
    """Return rows of a header and numbers; the last one may be a total."""
    made = [row_header(row[0]) + cells(row[1:]) for row in rows]
    return _body(made, len(rows) - 1 if has_total else -1)


def bar_rows(rows: Iterable[tuple[Sequence[str], Bar]], kind: str = "jobs") -> Markup:
    """Return rows of a header, numbers and a bar."""
    return _body([row_header(texts[0]) + cells(texts[1:]) + bar(drawn, kind) for texts, drawn in rows])


def job_rows(table: JobTable) -> Markup:
    """Return rows of runs: the first cell is the header, the second a name of any length."""
    return _body(
        [
            f'{row_header(texts[0])}<td class="name">{escape(texts[1])}</td>{cells(texts[2:], TEXT)}{cells(numbers)}'
            for texts, numbers in table.rows
        ]
    )


def share_rows(table: ShareTable, paper: bool = False) -> Markup:
    """Return rows of users or accounts, and one for all others. Names link to their pages, not on paper."""
    made = []
    for row in table.rows:
        name = escape(row.name)
        linked = f'<a href="{escape(quote(row.page))}">{name}</a>' if row.page and not paper else name
        badge = BADGE if row.simulated else ""
        made.append(f'<th scope="row">{linked}{badge}</th>{cells(row.cells)}{bar(row.bar, "jobs")}')
    if not table.left_out:
        return _body(made)
    return _body([*made, f"{row_header(f'{table.left_out} others')}{cells(table.others)}<td></td>"], len(made))


def _body(rows: Sequence[str], total: int = -1) -> Markup:
    begins = ('<tr class="total">' if at == total else "<tr>" for at in range(len(rows)))
    return Markup("\n".join(f"{begin}{row}</tr>" for begin, row in zip(begins, rows, strict=True)))  # noqa: S704  escaped
