# SPDX-License-Identifier: MIT
"""ENTSO-E's Transparency Platform: `entsoe`, `entsoe:DE`, `entsoe:NO2`, or `entsoe:` and an EIC code.

The intensity is what was generated, by production type (document A75, actual generation), weighted with the lifecycle
factors of `mix`. Imports are not in it. It needs a token, which ENTSO-E wants in the address. The answer is read here
and not by entsoe-py: that takes another address from its environment only, rounds to hours, and shows the token in its
errors.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError  # the error only; defusedxml parses

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import instant
from carbon_acct.grid.check import checked, live
from carbon_acct.grid.curves import HOUR_S, Curves, Habit, mixed
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import LIFECYCLE, Access, Answer, Period, pieces
from carbon_acct.grid.secret import read_token
from carbon_collector.units import DAY_S

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SLUG = "entsoe"
BASE_URL = "https://web-api.tp.entsoe.eu"
RESOLUTIONS = {"PT15M": 900, "PT30M": 1800, "PT60M": HOUR_S, "PT1H": HOUR_S}
MAX_POINTS = 200_000
"""Of an answer, as quarters of an hour: nine days of a hundred types and more. A curve that repeats expands to them."""
# A curve of this type leaves out a point that equals the one before it.
REPEATING = "A03"
EIC = re.compile(r"[0-9]{2}[A-Z][A-Z0-9-]{13}")
NO_DATA = "no matching data found"

# What the document must be: actual generation by type, realised, in megawatts.
ASKED = {"type": "A75", "process.processType": "A16"}


@dataclass(frozen=True)
class Entsoe:
    """The generation mix of an area."""

    access: Access
    token_file: Path
    area: str
    eic: str
    slug: str = SLUG
    scope: str = LIFECYCLE
    step_s: int = 900
    max_range_s: int = 7 * DAY_S
    habit: Habit = field(default_factory=Habit, compare=False, repr=False)

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"ENTSO-E generation mix of {self.area}, IPCC AR5 median factors, lifecycle"

    def history(self, start: int, end: int) -> Answer:
        """Return the intensity of what was generated, where all production types have reported. Raises ProviderError."""
        ranges = pieces(start, end, self.max_range_s)
        found = [s for a, b in ranges for s in mixed(self._between, self.habit, a, b)]
        return checked(self.text, "quantity", self.scope, found, start, end, live(self.scope, RESOLUTIONS.values()))

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: only wind and solar are forecast by type."""
        return []

    def _between(self, start: int, end: int) -> Curves:
        return self._curves(self._ask(start, end))

    def _ask(self, start: int, end: int) -> Element:
        token = read_token(self.token_file)
        params = {
            "securityToken": token,
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": self.eic,
            "periodStart": stamp(start, "%Y%m%d%H%M"),
            "periodEnd": stamp(end, "%Y%m%d%H%M"),
        }
        url = f"{self.access.base_url or BASE_URL}/api"
        # That there is nothing was once said with status 400 and is now said with 200.
        question = Question(self.text, url, params, secret=token, accepted=(200, 400), token_file=self.token_file)
        return self._parse(fetch(question, self.access.patience))

    def _parse(self, body: bytes) -> Element:
        try:
            return fromstring(body)
        except (ParseError, DefusedXmlException, ValueError, LookupError) as e:
            raise ProviderError(f"{self.text}: the answer is not XML; expected a GL_MarketDocument") from e

    def _curves(self, document: Element) -> Curves:
        kind = document.tag.rpartition("}")[2]
        if kind == "Acknowledgement_MarketDocument":
            self._check_reason(document)
        elif kind != "GL_MarketDocument":
            raise ProviderError(f"{self.text}: the answer is a {kind[:40]}; expected a GL_MarketDocument")
        for name, wanted in ASKED.items():
            self._check(document, name, wanted)
        curves = Curves()
        left = MAX_POINTS
        for series in document.iterfind("{*}TimeSeries"):
            # What a pump or a plant itself takes has an outBiddingZone_Domain, and is no generation.
            if series.find("{*}outBiddingZone_Domain.mRID") is None:
                left -= self._size(series)
                if left < 0:
                    raise ProviderError(f"{self.text}: the answer has more than {MAX_POINTS} points; expected a week")
                self._series(series, curves)
        return curves

    def _check(self, where: Element, name: str, wanted: str) -> None:
        """Refuse what answers another question: another document, area or unit. What is not said is taken as asked."""
        said = (where.findtext(f"{{*}}{name}") or wanted).strip()
        if said != wanted:
            raise ProviderError(f"{self.text}: {name} is {said[:20]!r}; expected {wanted!r}")

    def _series(self, series: Element, curves: Curves) -> None:
        """Add a series to the curves. A period that cannot be read, or is of another area, takes its own time away, of
        every type.
        """
        fuel = self._said(series, "MktPSRType/psrType")
        repeating = self._said(series, "curveType") == REPEATING
        for period in series.iterfind("{*}Period"):
            start, end = (instant(self.text, self._times(period), name) for name in ("start", "end"))
            try:
                self._check(series, "inBiddingZone_Domain.mRID", self.eic)
                self._check(series, "quantity_Measure_Unit.name", "MAW")
                points = list(self._points(period, start, end, repeating=repeating))
            except ProviderError as e:
                curves.faults.append(str(e))
                curves.bad.append((start, end))
                continue
            for at, step, mw in points:
                if isinstance(mw, str):
                    curves.faults.append(f"{self.text}: quantity is {mw[:20]!r}; expected megawatts")
                curves.add(self.text, fuel, at, step, None if isinstance(mw, str) else mw)

    def _size(self, series: Element) -> int:
        """Return how many quarters of an hour the periods stand for, before any point is made."""
        points = 0
        for period in series.iterfind("{*}Period"):
            start, end = (instant(self.text, self._times(period), name) for name in ("start", "end"))
            points += max(0, end - start) // min(RESOLUTIONS.values()) + 1
        return points

    def _check_reason(self, document: Element) -> None:
        reason = self._said(document, "Reason/text")
        if NO_DATA not in reason.casefold():
            shown = "".join(c if c.isprintable() else " " for c in reason)[:200]
            raise ProviderError(f"{self.text} refuses the request ({shown})", permanent=True)

    def _points(
        self, period: Element, start: int, end: int, *, repeating: bool
    ) -> Iterator[tuple[int, int, Decimal | str]]:
        """Yield start, length and megawatts of each point, or what was said in their place."""
        step = RESOLUTIONS.get(resolution := self._said(period, "resolution"), 0)
        if not step:
            raise ProviderError(f"{self.text}: resolution is {resolution[:20]!r}; expected {', '.join(RESOLUTIONS)}")
        most = (end - start) // step
        given = {self._position(p, most): _megawatts(self._said(p, "quantity")) for p in period.iterfind("{*}Point")}
        for position, mw in _filled(given, most, repeating=repeating):
            yield start + (position - 1) * step, step, mw

    def _times(self, period: Element) -> dict[str, str]:
        return {name: self._said(period, f"timeInterval/{name}") for name in ("start", "end")}

    def _position(self, point: Element, most: int) -> int:
        text = self._said(point, "position")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
            raise ProviderError(f"{self.text}: position is {text[:20]!r}; expected 1 to {most}")
        return int(text)

    def _said(self, where: Element, path: str) -> str:
        found = where.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))
        if found is None:
            raise ProviderError(f"{self.text}: {path} is missing; expected it in each {where.tag.rpartition('}')[2]}")
        return found.strip()


def _megawatts(text: str) -> Decimal | str:
    """Return an amount, or the text itself where it is none."""
    try:
        mw = Decimal(text)
    except InvalidOperation:
        return text
    return mw if mw.is_finite() and abs(mw) < 1_000_000 else text


def _filled(given: dict[int, Decimal | str], most: int, *, repeating: bool) -> Iterator[tuple[int, Decimal | str]]:
    """Return the points of a period, including those that a repeating curve leaves out."""
    last: Decimal | str | None = None
    for position in range(1, most + 1):
        last = given.get(position, last if repeating else None)
        if last is not None:
            yield position, last


@cache
def areas() -> dict[str, str]:
    """Return the EIC codes of the areas that have a name here."""
    text = (files("carbon_acct.grid") / "data" / "entsoe-areas.csv").read_text("utf-8")
    return {row["zone"]: row["eic"] for row in csv.DictReader(text.splitlines())}


def entsoe(access: Access) -> Entsoe:
    """Return the provider of `entsoe`, `entsoe:AREA` or `entsoe:EIC`. Raises ProviderError."""
    if access.token_file is None:
        raise ProviderError("entsoe needs a token file", permanent=True)
    area = (access.argument or access.zone).upper()
    # Others write DK-DK1 for what is DK1 here.
    country, _, own = area.partition("-")
    name = own if own.startswith(country) and own in areas() else area
    eic = area if EIC.fullmatch(area) else areas().get(name)
    if eic is None:
        close = difflib.get_close_matches(area, areas(), 3, 0.4)
        near = f"did you mean {', '.join(close)}? " if close else ""
        raise ProviderError(
            f"entsoe: no area is named {area}; {near}An area's EIC code (16 characters) works too: entsoe:10YFR-RTE------C",
            permanent=True,
        )
    return Entsoe(access, access.token_file, area, eic)
