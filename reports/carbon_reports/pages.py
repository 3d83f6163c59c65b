# SPDX-License-Identifier: MIT
"""Renders a report's pages: figures and their provenance in, HTML out. Every text that a user chose is escaped."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from carbon_acct.client.safe_text import visible
from carbon_collector.errors import CarbonError

from . import cells, charts
from .numbers import carbon, covered, energy, grouped, percent
from .period import in_words
from .sums import intensity_g_per_kwh, percent_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jinja2 import BaseLoader


class PageError(CarbonError):
    """A template of the site cannot be used."""


def render(template: str, facts: Mapping[str, Any], own: str = "") -> str:
    """Return the page that a template makes of the facts. `own`: the folder of the site's own templates, or an empty text.

    Raises PageError.
    """
    try:
        return _environment(own).get_template(template).render(facts)
    except TemplateError as err:
        raise PageError(f"[reports] templates = {own}: {template}: {err.message}") from err


ROWS = (cells.number_rows, cells.bar_rows, cells.job_rows, cells.share_rows, cells.bar_cell)
FILTERS = (energy, carbon, grouped, percent, covered, visible, in_words, percent_of, intensity_g_per_kwh, *ROWS)


@lru_cache
def _environment(own: str) -> Environment:
    if own and not Path(own).is_dir():
        raise PageError(f"[reports] templates = {own}: there is no such folder")
    shipped = PackageLoader(__package__)
    loader: BaseLoader = ChoiceLoader([FileSystemLoader(own), shipped]) if own else shipped
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    style = Markup(sheet("style.css", own))  # noqa: S704  ours, or the site's own
    environment.globals |= {"colours": charts.COLOURS, "style": style}
    return environment


def sheet(name: str, own: str = "") -> str:
    """Return a style sheet or picture that lies beside the templates: the site's own where there is one. Raises PageError."""
    mine = Path(own, name)
    if not (own and mine.is_file()):
        return files(__package__).joinpath("templates", *name.split("/")).read_text(encoding="utf-8")
    try:
        return mine.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise PageError(f"[reports] templates = {own}: {name}: {err}") from err


def check(names: Iterable[str], own: str) -> None:
    """Raise PageError where one of the templates cannot be read."""
    for name in names:
        try:
            _environment(own).get_template(name)
        except TemplateError as err:
            raise PageError(f"[reports] templates = {own}: {name}: {err.message}") from err
