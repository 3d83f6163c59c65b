# SPDX-License-Identifier: MIT
"""Great Britain's Carbon Intensity API (NESO): `uk` for all of it, `uk:13` for one of its 17 regions (13 is London).

Half-hours of direct emissions, imports and network losses included. Nationally each half-hour has a forecast and,
some time after it, an actual; a region never has an actual, so its values stay estimates.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import instant, member, parse, value_of
from carbon_acct.grid.check import Fault, Sample, checked, each, live, moment
from carbon_acct.grid.fetch import Question, fetch
from carbon_acct.grid.provider import DIRECT, Access, Answer, Period, pieces
from carbon_collector.units import DAY_S

SLUG = "uk"
BASE_URL = "https://api.carbonintensity.org.uk"
REGIONS = range(1, 18)
# Nationally something burns at any hour. A region may live on wind alone.
LEAST = Decimal(1)


@dataclass(frozen=True)
class CarbonIntensityUk:
    """The national series, or that of a region (None: national)."""

    access: Access
    region: int | None
    slug: str = SLUG
    scope: str = DIRECT
    step_s: int = 1800
    max_range_s: int = 14 * DAY_S

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"UK Carbon Intensity API (NESO){f', region {self.region}' if self.region else ''}, half-hourly, direct"

    def history(self, start: int, end: int) -> Answer:
        """Return the actual value of each half-hour, else its forecast as an estimate. Raises ProviderError."""
        found = [s for a, b in pieces(start, end, self.max_range_s) for s in self._ask(a, moment(b))]
        return self._checked(found, start, end)

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return the forecast of the 48 hours from `start`. Raises ProviderError."""
        return self._checked([s for s in self._ask(start, "fw48h") if isinstance(s, Fault) or s.estimated], start, end)

    def _checked(self, found: list[Sample | Fault], start: int, end: int) -> Answer:
        rules = live(self.scope, [self.step_s], Decimal(0) if self.region else LEAST)
        return checked(self.text, "intensity", self.scope, found, start, end, rules)

    def _ask(self, start: int, end: str) -> list[Sample | Fault]:
        url = f"{self.access.base_url or BASE_URL}/{'regional/' if self.region else ''}intensity/{moment(start)}/{end}"
        url += f"/regionid/{self.region}" if self.region else ""
        answer = parse(self.text, fetch(Question(self.text, url, {}), self.access.patience))
        where = self._region(answer) if self.region else answer
        return list(each(member(self.text, where, "data", list), self._sample))

    def _region(self, answer: object) -> object:
        where = member(self.text, answer, "data", dict)
        if where.get("regionid", self.region) != self.region:
            raise ProviderError(f"{self.text}: regionid is {str(where['regionid'])[:20]}; expected {self.region}")
        return where

    def _sample(self, row: object) -> Sample:
        start, end = instant(self.text, row, "from"), instant(self.text, row, "to")
        intensity = member(self.text, row, "intensity", dict)
        actual = None if self.region else value_of(self.text, intensity, "actual")
        value = value_of(self.text, intensity, "forecast") if actual is None else actual
        return Sample(start, end, value, estimated=actual is None)


def uk(access: Access) -> CarbonIntensityUk:
    """Return the provider of `uk` or `uk:REGION`. Raises ProviderError."""
    if not access.argument:
        return CarbonIntensityUk(access, None)
    if not access.argument.isdecimal() or int(access.argument) not in REGIONS:
        raise ProviderError(f"uk:{access.argument}: the regions are numbered 1 to 17; write e.g. uk:13", permanent=True)
    return CarbonIntensityUk(access, int(access.argument))
