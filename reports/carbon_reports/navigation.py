# SPDX-License-Identifier: MIT
"""Links reports with each other: a page of all of them, and on each page the period before and the one after.

A report that was written earlier gets a link to the one that follows it: only what stands between two marks is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from carbon_collector.units import UJ_PER_KWH

from . import digest, pages
from .numbers import KG
from .publish import MARK, put
from .tables import column

if TYPE_CHECKING:
    from pathlib import Path

    from .period import Period

BEGIN, END = "<!-- pages -->", "<!-- /pages -->"
LINK = Markup('<li><a href="{}">{}</a></li>')


class Row(NamedTuple):
    """A report in the list of all: its title, page, figures, state and when it was written."""

    title: str
    page: str
    kwh: str
    kg: str
    state: str
    written: str


def link(output: Path, period: Period, site: str, group: int, own: str) -> None:
    """Write the list of all reports, and the links of the neighbours' pages to this period. Raises OSError."""
    put(output / "index.html", pages.render("reports.html.j2", {"site": site, "rows": _rows(output)}, own), group)
    for each in (period.before(), period.following()):
        if (output / each.name / MARK).is_file():
            _relink(output, each, group)


def _rows(output: Path) -> list[Row]:
    names = sorted((path.parent.name for path in output.glob(f"*/{MARK}") if path.parent.name[0] != "."), reverse=True)
    found = [(name, content) for name in names if (content := digest.read(output / name)) is not None]
    totals = [content["figures"].get("total", {}) for _, content in found]
    energies = [_sum(total.get("energy_uj"), total.get("estimated_uj")) for total in totals]
    carbons = [None if total.get("carbon_ug") is None else int(total["carbon_ug"]) for total in totals]
    return [
        Row(
            str(content.get("title", name)),
            f"{name}/index.html" if (output / name / "index.html").is_file() else "",
            kwh,
            kg,
            "provisional" if content.get("provisional") else "final",
            str(content["written"])[:16].replace("T", " "),
        )
        for (name, content), kwh, kg in zip(found, column(energies, UJ_PER_KWH), column(carbons, KG), strict=True)
    ]


def _sum(*texts: str | None) -> int | None:
    known = [int(text) for text in texts if text is not None]
    return sum(known) if known else None


def links(output: Path, period: Period, inside: Path) -> Markup:
    """Return the links of a page, which is at `inside` in its report: to all reports, to the period before and after."""
    up = "../" * len(inside.parts)
    made = [LINK.format(f"{up}index.html", "All reports")]
    for arrow, each in (("←", period.before()), ("→", period.following())):
        if (output / each.name / inside).is_file():
            made.append(LINK.format(f"{up}{each.name}/{inside.as_posix()}", f"{arrow} {each.title}"))
    return Markup("<ul>{}</ul>").format(Markup("").join(made))


def _relink(output: Path, period: Period, group: int) -> None:
    folder = output / period.name
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        head, begin, rest = text.partition(BEGIN)
        _, end, tail = rest.partition(END)
        made = f"{head}{begin}{links(output, period, path.relative_to(folder))}{end}{tail}"
        if end and made != text:
            put(path, made, group)
