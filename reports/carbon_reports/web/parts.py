# SPDX-License-Identifier: MIT
"""What a view is made of: links, cells, tables, facts. `templates/web/view.html.j2` writes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from ..charts import Bar


class Link(NamedTuple):
    """A link; `current` marks what is shown now."""

    text: str
    href: str
    current: bool = False


class Cell(NamedTuple):
    """A cell of a table. `exact` is the integer behind a rounded number, in microjoules or micrograms; a name may be of any
    length.
    """

    text: str
    exact: int | None = None
    href: str = ""
    number: bool = False
    is_name: bool = False


class Head(NamedTuple):
    """The head of a column. `href` sorts the table by it."""

    text: str
    number: bool = False
    href: str = ""
    sorted: str = ""


class Fact(NamedTuple):
    """A fact of one job, for a list of terms."""

    term: str
    text: str
    exact: int | None = None


@dataclass(frozen=True)
class Table:
    """A table with its caption, and a total that may be missing. The first cell of a row is its header.

    `bars`: one for each row, or none at all.
    """

    caption: str
    heads: list[Head]
    rows: list[list[Cell]]
    total: list[Cell] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    """A page: what it shows, where it leads, and the command that gives the same figures."""

    title: str
    command: str
    trail: list[Link] = field(default_factory=list)
    beside: list[Link] = field(default_factory=list)
    filters: list[Link] = field(default_factory=list)
    table: Table | None = None
    facts: list[Fact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    simulated: bool = False


def href(page: str, **values: str) -> str:
    """Return a link relative to any other page: all of them lie in one folder. Empty values are left out."""
    query = urlencode({key: value for key, value in values.items() if value}, errors="surrogateescape")
    return f"{page}?{query}" if query else page
