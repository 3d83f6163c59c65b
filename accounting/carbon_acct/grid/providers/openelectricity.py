# SPDX-License-Identifier: MIT
"""OpenElectricity, API v4, which has AEMO's data: `openelectricity` in the zone AU-NSW, or `openelectricity:NSW1`.

Power of a region of Australia's National Electricity Market by fuel technology and five minutes, weighted with the
lifecycle factors of `mix`. Imports are not in it. It needs a key. The service reads dates without a zone as the
market's own time (UTC+10, no summer time); its answers have the offset in each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import member, parse, plausible
from carbon_acct.grid.check import checked, live
from carbon_acct.grid.curves import HOUR_S, Curves, Habit, mixed
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import LIFECYCLE, Access, Answer, Period, pieces
from carbon_acct.grid.secret import read_token
from carbon_collector.units import DAY_S

SLUG = "openelectricity"
BASE_URL = "https://api.openelectricity.org.au/v4"
STEP_S = 300
LENGTHS = (STEP_S, 1800, HOUR_S)
MARKET_AHEAD_S = 10 * HOUR_S
REGIONS = {"AU-NSW": "NSW1", "AU-QLD": "QLD1", "AU-VIC": "VIC1", "AU-SA": "SA1", "AU-TAS": "TAS1", "AU-ACT": "NSW1"}
# The types of ENTSO-E whose factor each fuel technology has. Storage gives back what was counted before.
KINDS = {
    "coal_black": "B05",
    "coal_brown": "B02",
    **dict.fromkeys(("gas_ccgt", "gas_ocgt", "gas_recip", "gas_steam", "gas_wcmg"), "B04"),
    "distillate": "B06",
    **dict.fromkeys(("bioenergy_biogas", "bioenergy_biomass"), "B01"),
    "hydro": "B12",
    "wind": "B19",
    "wind_offshore": "B18",
    **dict.fromkeys(("solar_utility", "solar_rooftop", "solar_thermal"), "B16"),
    "nuclear": "B14",
    **dict.fromkeys(("battery", "battery_charging", "battery_discharging", "battery_distributed"), "B25"),
    "pumps": "B10",
}
NO_GENERATION = ("imports", "exports", "interconnector", "demand_response")


@dataclass(frozen=True)
class OpenElectricity:
    """The generation mix of a region of the National Electricity Market."""

    access: Access
    token_file: Path
    region: str
    slug: str = SLUG
    scope: str = LIFECYCLE
    step_s: int = STEP_S
    max_range_s: int = 6 * DAY_S
    """A request for five minutes may span eight days; a day before the range is asked for too."""
    habit: Habit = field(default_factory=Habit, compare=False, repr=False)

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"OpenElectricity (AEMO) generation mix of {self.region}, IPCC AR5 median factors, lifecycle"

    def history(self, start: int, end: int) -> Answer:
        """Return the intensity of what was generated, where all fuels have reported. Raises ProviderError."""
        ranges = pieces(start, end, self.max_range_s)
        found = [s for a, b in ranges for s in mixed(self._between, self.habit, a, b)]
        return checked(self.text, "power", self.scope, found, start, end, live(self.scope, LENGTHS))

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: the service has no forecast by fuel."""
        return []

    def _between(self, start: int, end: int) -> Curves:
        answer = self._ask(start, end)
        curves = Curves(kinds=KINDS)
        for series in member(self.text, answer, "data", list):
            for name, wanted in (("network_code", "NEM"), ("metric", "power"), ("unit", "MW"), ("interval", "5m")):
                self._check(series, name, wanted)
            for result in member(self.text, series, "results", list):
                self._result(result, curves)
        return curves

    def _ask(self, start: int, end: int) -> object:
        key = read_token(self.token_file)
        params = {
            "metrics": "power",
            "interval": "5m",
            "date_start": stamp(start + MARKET_AHEAD_S, "%Y-%m-%dT%H:%M:%S"),
            "date_end": stamp(end + MARKET_AHEAD_S, "%Y-%m-%dT%H:%M:%S"),
            "network_region": self.region,
            "primary_grouping": "network_region",
            "secondary_grouping": "fueltech",
        }
        url = f"{self.access.base_url or BASE_URL}/data/network/NEM"
        headers = {"Authorization": f"Bearer {key}"}
        question = Question(self.text, url, params, headers, secret=key, token_file=self.token_file)
        return parse(self.text, fetch(question, self.access.patience))

    def _result(self, result: object, curves: Curves) -> None:
        """Add the series of a fuel to the curves. A value that cannot be read takes its time away, of all fuels."""
        columns = member(self.text, result, "columns", dict)
        fuel = member(self.text, columns, "fueltech", str)
        if fuel in NO_GENERATION:
            return
        rows = [self._row(row) for row in member(self.text, result, "data", list)]
        try:
            self._check(columns, "network_region", self.region)
        except ProviderError as e:  # a series of another region takes its own times away
            curves.faults.append(str(e))
            curves.bad += [(at, at + STEP_S) for at, _ in rows]
            return
        gaps = [b - a for a, b in pairwise(sorted({at for at, _ in rows}))]
        step = max(sorted(set(gaps)), key=gaps.count, default=STEP_S)
        step = step if step in LENGTHS else STEP_S
        for at, value in rows:
            if value is None:
                continue
            mw = value if isinstance(value, Decimal) else Decimal(value) if type(value) is int else Decimal("NaN")
            if not (mw.is_finite() and abs(mw) < 1_000_000):
                curves.faults.append(f"{self.text}: power of {fuel[:40]} is {str(value)[:20]!r}; expected megawatts")
                curves.bad.append((at, at + step))
            else:
                curves.add(self.text, fuel, at, step, mw)

    def _row(self, row: object) -> tuple[int, object]:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ProviderError(f"{self.text}: data has something else than pairs; expected time and value")
        try:
            at = datetime.fromisoformat(row[0])
        except ValueError as e:
            raise ProviderError(f"{self.text}: a time is {row[0][:40]!r}; expected ISO 8601") from e
        if at.tzinfo is None:
            raise ProviderError(f"{self.text}: a time is {row[0][:40]!r}; expected its offset from UTC")
        return plausible(self.text, "a time", at), row[1]

    def _check(self, where: object, name: str, wanted: str) -> None:
        said = member(self.text, where, name, str)
        if said != wanted:
            raise ProviderError(f"{self.text}: {name} is {said[:20]!r}; expected {wanted!r}")


def openelectricity(access: Access) -> OpenElectricity:
    """Return the provider of `openelectricity` or `openelectricity:REGION`. Raises ProviderError."""
    if access.token_file is None:
        raise ProviderError("openelectricity needs a token file", permanent=True)
    region = access.argument.upper() or REGIONS.get(access.zone.upper(), "")
    if region not in REGIONS.values():
        known = ", ".join(sorted(set(REGIONS.values())))
        what = access.argument or access.zone
        raise ProviderError(f"openelectricity: {what} is no region; known are {known}", permanent=True)
    return OpenElectricity(access, access.token_file, region)
