# SPDX-License-Identifier: MIT
"""The US Energy Information Administration's open data, API v2: `eia` in the zone US-CAL-CISO, or `eia:CISO`.

Net generation of a balancing authority by fuel and hour (Form EIA-930, electricity/rto/fuel-type-data), weighted with
the lifecycle factors of `mix`. Imports are not in it. The newest hours come about a day late. An hour is named by its
end, in UTC. It needs a key, which the EIA wants in the address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import member, parse, plausible, value_of
from carbon_acct.grid.check import checked, live
from carbon_acct.grid.curves import HOUR_S, Curves, Habit, mixed
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import LIFECYCLE, Access, Answer, Period, pieces
from carbon_acct.grid.secret import read_token
from carbon_collector.units import DAY_S

SLUG = "eia"
BASE_URL = "https://api.eia.gov/v2"
# The API gives at most five thousand rows at once; a week of twenty fuels has 3,360.
PAGE = 5000
MOST_PAGES = 4
AUTHORITY = re.compile(r"[A-Z0-9]{2,6}")
# The types of ENTSO-E whose factor each of the EIA's fuels has. Storage gives back what was counted before.
KINDS = {
    "COL": "B05",
    "NG": "B04",
    "OIL": "B06",
    "NUC": "B14",
    "WAT": "B12",
    "WND": "B19",
    "WNB": "B19",
    "SUN": "B16",
    "SNB": "B16",
    "GEO": "B09",
    "OTH": "B20",
    "UNK": "B20",
    "UES": "B25",
    "BAT": "B25",
    "OES": "B25",
    "PS": "B10",
}


@dataclass(frozen=True)
class Eia:
    """The generation mix of a balancing authority."""

    access: Access
    token_file: Path
    authority: str
    slug: str = SLUG
    scope: str = LIFECYCLE
    step_s: int = HOUR_S
    max_range_s: int = 7 * DAY_S
    habit: Habit = field(default_factory=Habit, compare=False, repr=False)

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"EIA-930 generation mix of {self.authority}, IPCC AR5 median factors, lifecycle"

    def history(self, start: int, end: int) -> Answer:
        """Return the intensity of what was generated, where all fuels have reported. Raises ProviderError."""
        ranges = pieces(start, end, self.max_range_s)
        found = [s for a, b in ranges for s in mixed(self._between, self.habit, a, b)]
        return checked(self.text, "value", self.scope, found, start, end, live(self.scope, [HOUR_S]))

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: the EIA forecasts the demand, not the fuels."""
        return []

    def _between(self, start: int, end: int) -> Curves:
        curves = Curves(kinds=KINDS)
        rows = 0
        for _ in range(MOST_PAGES):
            response = member(self.text, self._ask(start, end, rows), "response", dict)
            if response.get("frequency", "hourly") != "hourly":
                said = str(response["frequency"])[:20]
                raise ProviderError(f"{self.text}: frequency is {said!r}; expected 'hourly', which is in UTC")
            page = member(self.text, response, "data", list)
            for row in page:
                self._add(row, curves)
            rows += len(page)
            total = int(said) if (said := str(response.get("total", ""))[:9]).isdecimal() else 0
            if rows < total and not page:
                curves.faults.append(f"{self.text}: it gives {rows} of {total} rows; expected all")
            if not page or (rows >= total and len(page) < PAGE):
                return curves
        raise ProviderError(f"{self.text}: more than {MOST_PAGES * PAGE} rows in a week; expected some 3,000")

    def _ask(self, start: int, end: int, offset: int) -> object:
        key = read_token(self.token_file)
        params = {
            "api_key": key,
            "frequency": "hourly",
            "data[0]": "value",
            "facets[respondent][]": self.authority,
            # An hour is named by its end.
            "start": stamp(start + HOUR_S, "%Y-%m-%dT%H"),
            "end": stamp(end, "%Y-%m-%dT%H"),
            "sort[0][column]": "period",
            "sort[0][direction]": "asc",
            "offset": str(offset),
            "length": str(PAGE),
        }
        url = f"{self.access.base_url or BASE_URL}/electricity/rto/fuel-type-data/data/"
        question = Question(self.text, url, params, secret=key, token_file=self.token_file)
        return parse(self.text, fetch(question, self.access.patience))

    def _add(self, row: object, curves: Curves) -> None:
        """Add a row to the curves. A row that cannot be read takes its hour away; without a time, nothing is known."""
        ends = self._hour(member(self.text, row, "period", str))
        try:
            fuel = member(self.text, row, "fueltype", str)
            self._check(row, "respondent", self.authority)
            self._check(row, "value-units", "megawatthours")
            value = value_of(self.text, row, "value")
            mw = None if value is None else self._megawatts(value)
        except ProviderError as e:
            curves.faults.append(str(e))
            curves.bad.append((ends - HOUR_S, ends))
            return
        if mw is not None:
            curves.add(self.text, fuel, ends - HOUR_S, HOUR_S, mw)

    def _hour(self, text: str) -> int:
        try:
            at = datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
        except ValueError as e:
            raise ProviderError(f"{self.text}: period is {text[:20]!r}; expected e.g. 2026-01-31T13 (UTC)") from e
        return plausible(self.text, "period", at)

    def _check(self, row: object, name: str, wanted: str) -> None:
        said = member(self.text, row, name, str)
        if said != wanted:
            raise ProviderError(f"{self.text}: {name} is {said[:20]!r}; expected {wanted!r}")

    def _megawatts(self, value: object) -> Decimal:
        try:
            mw = Decimal(str(value))
        except InvalidOperation:
            mw = Decimal("NaN")
        if isinstance(value, bool) or not (mw.is_finite() and abs(mw) < 1_000_000):
            raise ProviderError(f"{self.text}: value is {str(value)[:20]!r}; expected megawatthours")
        return mw


def eia(access: Access) -> Eia:
    """Return the provider of `eia` or `eia:AUTHORITY`. Raises ProviderError."""
    if access.token_file is None:
        raise ProviderError("eia needs a token file", permanent=True)
    zone = access.zone.upper()
    named = zone.rpartition("-")[2] if zone.startswith("US-") and zone.count("-") > 1 else ""
    authority = (access.argument or named).upper()
    if not AUTHORITY.fullmatch(authority):
        what = access.argument or access.zone
        raise ProviderError(f"eia: {what} is no balancing authority; write e.g. eia:CISO, eia:PJM", permanent=True)
    return Eia(access, access.token_file, authority)
