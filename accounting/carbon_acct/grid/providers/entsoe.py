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
from dataclasses import dataclass
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
from carbon_acct.grid.check import Sample, checked, moment
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.mix import SOLAR, counted, intensity
from carbon_acct.grid.provider import LIFECYCLE, Access, Period, pieces
from carbon_acct.grid.secret import read_token
from carbon_collector.units import DAY_S

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SLUG = "entsoe"
BASE_URL = "https://web-api.tp.entsoe.eu"
HOUR_S = 3600
# A type that made less than this of what is in an answer may be silent without the mix looking different.
LITTLE = Decimal("0.01")
RESOLUTIONS = {"PT15M": 900, "PT30M": 1800, "PT60M": HOUR_S, "PT1H": HOUR_S}
MAX_POINTS = 200_000
"""Of an answer, as quarters of an hour: nine days of a hundred types and more. A curve that repeats expands to them."""
# A curve of this type leaves out a point that equals the one before it.
REPEATING = "A03"
EIC = re.compile(r"[0-9]{2}[A-Z][A-Z0-9-]{13}")
NO_DATA = "no matching data found"

# Megawatts by the start of the period, its length beside them.
Curve = dict[tuple[int, int], Decimal]


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

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"ENTSO-E generation mix of {self.area}, IPCC AR5 median factors, lifecycle"

    def history(self, start: int, end: int) -> list[Period]:
        """Return the intensity of what was generated, where all production types have reported. Raises ProviderError."""
        found = [s for a, b in pieces(start, end, self.max_range_s) for s in self._week(a, b)]
        return checked(self.text, "quantity", self.scope, found, start, end)

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: only wind and solar are forecast by type."""
        return []

    def _week(self, start: int, end: int) -> list[Sample]:
        # A day more than is wanted: only by what reported then can be told what is late now.
        curves = self._curves(self._ask(start - start % HOUR_S - DAY_S, end + -end % HOUR_S))
        return [Sample(at, at + step, intensity(mix)) for at, step, mix in mixes(curves)]

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

    def _curves(self, document: Element) -> dict[str, Curve]:
        kind = document.tag.rpartition("}")[2]
        if kind == "Acknowledgement_MarketDocument":
            self._check_reason(document)
        elif kind != "GL_MarketDocument":
            raise ProviderError(f"{self.text}: the answer is a {kind[:40]}; expected a GL_MarketDocument")
        curves: dict[str, Curve] = {}
        left = MAX_POINTS
        for series in document.iterfind("{*}TimeSeries"):
            # What a pump or a plant itself takes has an outBiddingZone_Domain, and is no generation.
            if series.find("{*}outBiddingZone_Domain.mRID") is None:
                left -= self._size(series)
                if left < 0:
                    raise ProviderError(f"{self.text}: the answer has more than {MAX_POINTS} points; expected a week")
                self._join(curves.setdefault(self._said(series, "MktPSRType/psrType"), {}), self._points(series))
        return curves

    def _size(self, series: Element) -> int:
        """How many points of a quarter of an hour its periods stand for, before any of them is made."""
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

    def _join(self, curve: Curve, points: Iterator[tuple[int, int, Decimal]]) -> None:
        for start, step, mw in points:
            if curve.setdefault((start, step), mw) != mw:
                raise ProviderError(f"{self.text}: {moment(start)} has two values of quantity; expected one")

    def _points(self, series: Element) -> Iterator[tuple[int, int, Decimal]]:
        repeating = self._said(series, "curveType") == REPEATING
        for period in series.iterfind("{*}Period"):
            start, end = (instant(self.text, self._times(period), name) for name in ("start", "end"))
            step = RESOLUTIONS.get(resolution := self._said(period, "resolution"), 0)
            if not step:
                raise ProviderError(
                    f"{self.text}: resolution is {resolution[:20]!r}; expected {', '.join(RESOLUTIONS)}"
                )
            given = {self._position(p, (end - start) // step): self._quantity(p) for p in period.iterfind("{*}Point")}
            for position, mw in _filled(given, (end - start) // step, repeating=repeating):
                yield start + (position - 1) * step, step, mw

    def _times(self, period: Element) -> dict[str, str]:
        return {name: self._said(period, f"timeInterval/{name}") for name in ("start", "end")}

    def _position(self, point: Element, most: int) -> int:
        text = self._said(point, "position")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
            raise ProviderError(f"{self.text}: position is {text[:20]!r}; expected 1 to {most}")
        return int(text)

    def _quantity(self, point: Element) -> Decimal:
        text = self._said(point, "quantity")
        try:
            mw = Decimal(text)
        except InvalidOperation:
            mw = Decimal("NaN")
        if not (mw.is_finite() and abs(mw) < 1_000_000):
            raise ProviderError(f"{self.text}: quantity is {text[:20]!r}; expected megawatts")
        return mw

    def _said(self, where: Element, path: str) -> str:
        found = where.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))
        if found is None:
            raise ProviderError(f"{self.text}: {path} is missing; expected it in each {where.tag.rpartition('}')[2]}")
        return found.strip()


def _filled(given: dict[int, Decimal], most: int, *, repeating: bool) -> Iterator[tuple[int, Decimal]]:
    """Return the points of a period, including those that a repeating curve leaves out."""
    last: Decimal | None = None
    for position in range(1, most + 1):
        last = given.get(position, last if repeating else None)
        if last is not None:
            yield position, last


def mixes(curves: dict[str, Curve]) -> Iterator[tuple[int, int, dict[str, Decimal]]]:
    """Yield each period of the finest resolution, its length, and what each type generated in it.

    A period that lacks a type which reports elsewhere in the answer is left out: the newest hours are incomplete, and a
    mix without its coal would look clean. Two kinds may be missing: types that generated next to nothing, and solar at
    an hour at which it generated nothing the day before (some report none at night).
    """
    step = min((step for curve in curves.values() for _, step in curve), default=HOUR_S)
    fine: dict[str, dict[int, Decimal]] = {
        t: {at: mw for (start, long), mw in curve.items() for at in range(start, start + long, step)}
        for t, curve in curves.items()
        if curve
    }
    needed = _large(fine) - {SOLAR}
    for at in sorted({at for t in needed for at in fine[t]}):
        mix = {t: curve[at] for t, curve in fine.items() if at in curve}
        sun_is_late = SOLAR not in mix and fine.get(SOLAR, {}).get(at - DAY_S, 0) > 0
        if needed <= set(mix) and not sun_is_late:
            yield at, step, mix


def _large(fine: dict[str, dict[int, Decimal]]) -> set[str]:
    """Return the types that generated more than a little of the whole; all of them where nothing was generated."""
    made = {t: sum((max(Decimal(0), mw) for mw in fine[t].values()), Decimal(0)) for t in counted(fine)}
    least = sum(made.values(), Decimal(0)) * LITTLE
    return {t for t, mw in made.items() if mw >= least}


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
    eic = area if EIC.fullmatch(area) else areas().get(area)
    if eic is None:
        close = difflib.get_close_matches(area, areas(), 3, 0.4)
        near = f"did you mean {', '.join(close)}?" if close else "an EIC code has 16 characters"
        raise ProviderError(f"entsoe: no area is named {area}; {near}", permanent=True)
    return Entsoe(access, access.token_file, area, eic)
