# SPDX-License-Identifier: MIT
"""France's eCO2mix (RTE), through the open data portal ODRÉ: `rte`.

Direct emissions of what is produced in France. The last weeks come by the quarter of an hour, in real time; what is
older, consolidated, by the half. A record that has no figure yet has `taux_co2` null and is no value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import instant, member, parse, value_of
from carbon_acct.grid.check import Fault, Sample, checked, each, live, spans
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import DIRECT, Access, Answer, Period, pieces
from carbon_collector.units import DAY_S

SLUG = "rte"
BASE_URL = "https://odre.opendatasoft.com/api/explore/v2.1"
# A data set and how long its values hold, the better one first.
REAL_TIME = ("eco2mix-national-tr", 900)
CONSOLIDATED = ("eco2mix-national-cons-def", 1800)
# Some gas burns in France at any hour: the least of ten years is 9 g/kWh.
LEAST = Decimal(1)
# The portal gives at most a hundred records at once, and none beyond the first ten thousand.
PAGE = 100
MOST_PAGES = 100


@dataclass(frozen=True)
class Rte:
    """The national series."""

    access: Access
    slug: str = SLUG
    scope: str = DIRECT
    step_s: int = 900
    max_range_s: int = 7 * DAY_S

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return "RTE eCO2mix via ODRÉ, quarter-hourly, direct"

    def history(self, start: int, end: int) -> Answer:
        """Return the real-time values, and the consolidated ones of the time before these begin. Raises ProviderError."""
        found = [s for a, b in pieces(start, end, self.max_range_s) for s in self._week(a, b)]
        rules = live(self.scope, [REAL_TIME[1], CONSOLIDATED[1]], LEAST)
        return checked(self.text, "taux_co2", self.scope, found, start, end, rules)

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: eCO2mix forecasts the load, not the emissions."""
        return []

    def _week(self, start: int, end: int) -> list[Sample | Fault]:
        recent, bad = self._samples(*REAL_TIME, start, end)
        begins = min((s.start for s in recent), default=end)
        if begins - start < CONSOLIDATED[1]:
            return [*recent, *bad]
        found, worse = self._samples(*CONSOLIDATED, start, begins)
        older = [s for s in found if s.start < begins]
        return [*(replace(s, end=min(s.end, begins)) if recent else s for s in older), *recent, *bad, *worse]

    def _samples(self, dataset: str, step_s: int, start: int, end: int) -> tuple[list[Sample], list[Fault]]:
        """Return the values of a data set, each with the end that the next one gives it, and what cannot be read."""
        found = list(each(self._rows(dataset, start - start % step_s, end), self._sample))
        known = [s for s in found if isinstance(s, Sample) and s.value is not None]
        ends = dict(spans([s.start for s in known], step_s))
        return [replace(s, end=ends[s.start]) for s in known], [f for f in found if isinstance(f, Fault)]

    def _sample(self, row: object) -> Sample:
        at = instant(self.text, row, "date_heure")
        return Sample(at, at, value_of(self.text, row, "taux_co2"))

    def _rows(self, dataset: str, start: int, end: int) -> list[object]:
        rows: list[object] = []
        for _ in range(MOST_PAGES):
            answer = self._ask(dataset, start, end, len(rows))
            page = member(self.text, answer, "results", list)
            rows += page
            if not page or len(rows) >= member(self.text, answer, "total_count", int):
                return rows
        raise ProviderError(f"{self.text}: more than {MOST_PAGES * PAGE} records in a week; expected 672")

    def _ask(self, dataset: str, start: int, end: int, offset: int) -> object:
        params = {
            "select": "date_heure,taux_co2",
            "where": f"date_heure >= date'{stamp(start)}' and date_heure < date'{stamp(end)}'",
            "order_by": "date_heure",
            "timezone": "UTC",
            "limit": str(PAGE),
            "offset": str(offset),
        }
        url = f"{self.access.base_url or BASE_URL}/catalog/datasets/{dataset}/records"
        return parse(self.text, fetch(Question(self.text, url, params), self.access.patience))


def rte(access: Access) -> Rte:
    """Return the provider of `rte`, for the zone FR. Raises ProviderError."""
    if access.zone.upper() != "FR":
        raise ProviderError(f"rte knows France only, and the zone is {access.zone}", permanent=True)
    return Rte(access)
