# SPDX-License-Identifier: MIT
"""Energi Data Service (Energinet): Denmark's two price areas, `energidata` in the zones DK1 and DK2, or `energidata:DK1`.

Five-minute values of direct emissions (CO2Emis), and their prognosis (CO2EmisProg). The service reads `start` and
`end` as Danish local time, which has an hour twice and one never; only the times in UTC of its records are used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import instant, member, parse, value_of
from carbon_acct.grid.check import Fault, Sample, checked, each, live, spans
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import DIRECT, Access, Answer, Period, pieces
from carbon_collector.units import DAY_S

SLUG = "energidata"
BASE_URL = "https://api.energidataservice.dk"
AREAS = ("DK1", "DK2")
STEP_S = 300
# Heat is made with fire in both areas: neither comes to nothing.
LEAST = Decimal(1)
# Local time is one or two hours ahead: a range that is written in UTC begins too early by that, and must end later.
AHEAD_S = 3 * 3600


@dataclass(frozen=True)
class EnergiData:
    """The series of a price area."""

    access: Access
    area: str
    slug: str = SLUG
    scope: str = DIRECT
    step_s: int = STEP_S
    max_range_s: int = 31 * DAY_S

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"Energi Data Service (Energinet) {self.area}, 5-minute, direct"

    def history(self, start: int, end: int) -> Answer:
        """Return what was measured. Raises ProviderError."""
        return self._series("CO2Emis", start, end, estimated=False)

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return the prognosis. Raises ProviderError."""
        return self._series("CO2EmisProg", start, end, estimated=True)

    def _series(self, dataset: str, start: int, end: int, *, estimated: bool) -> Answer:
        ranges = pieces(start, end, self.max_range_s)
        found = [s for a, b in ranges for s in each(self._ask(dataset, a, b), self._sample)]
        known = [s for s in found if isinstance(s, Sample)]
        ends = dict(spans([s.start for s in known], self.step_s))
        samples: list[Sample | Fault] = [replace(s, end=ends[s.start], estimated=estimated) for s in known]
        samples += [f for f in found if isinstance(f, Fault)]
        rules = live(self.scope, [self.step_s], LEAST)
        return checked(self.text, "CO2Emission", self.scope, samples, start, end, rules)

    def _ask(self, dataset: str, start: int, end: int) -> list[object]:
        params = {
            "start": stamp(start - start % STEP_S, "%Y-%m-%dT%H:%M"),
            "end": stamp(end + AHEAD_S, "%Y-%m-%dT%H:%M"),
            "filter": json.dumps({"PriceArea": [self.area]}),
            "sort": "Minutes5UTC ASC",
            "limit": "0",
        }
        url = f"{self.access.base_url or BASE_URL}/dataset/{dataset}"
        answer = parse(self.text, fetch(Question(self.text, url, params), self.access.patience))
        return member(self.text, answer, "records", list)

    def _sample(self, row: object) -> Sample:
        area = member(self.text, row, "PriceArea", str)
        if area != self.area:
            raise ProviderError(f"{self.text}: PriceArea is {area[:20]!r}; expected {self.area}")
        at = instant(self.text, row, "Minutes5UTC", naive_is_utc=True)
        return Sample(at, at, value_of(self.text, row, "CO2Emission"))


def energidata(access: Access) -> EnergiData:
    """Return the provider of `energidata` or `energidata:AREA`. Raises ProviderError."""
    area = (access.argument or access.zone).upper().removeprefix("DK-")
    if area not in AREAS:
        raise ProviderError(f"energidata: {area} is neither DK1 nor DK2; write e.g. energidata:DK1", permanent=True)
    return EnergiData(access, area)
