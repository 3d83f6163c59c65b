# SPDX-License-Identifier: MIT
"""Energy-Charts (Fraunhofer ISE): some forty European countries, `energycharts` or `energycharts:CH`.

Lifecycle emissions by the quarter of an hour or the hour, as the country reports, and a forecast. The answer is
columns: `unix_seconds`, and as many values (or nulls) in `co2eq` and `co2eq_forecast`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import describe, member, parse, plausible
from carbon_acct.grid.check import Fault, Sample, checked, live, spans
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import LIFECYCLE, Access, Answer, Period, pieces
from carbon_collector.units import DAY_S

SLUG = "energycharts"
BASE_URL = "https://api.energy-charts.info"
STEP_S = 900
HOUR_S = 3600
# Countries it is known to have; another is asked for all the same, and the service says whether it has it.
COUNTRIES = frozenset(
    [
        "AL",
        "AT",
        "BA",
        "BE",
        "BG",
        "CH",
        "CZ",
        "DE",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "ME",
        "MK",
        "NL",
        "NO",
        "PL",
        "PT",
        "RO",
        "RS",
        "SE",
        "SI",
        "SK",
        "XK",
    ]
)


@dataclass(frozen=True)
class EnergyCharts:
    """The series of a country."""

    access: Access
    country: str
    slug: str = SLUG
    scope: str = LIFECYCLE
    step_s: int = STEP_S
    max_range_s: int = 31 * DAY_S

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"Energy-Charts (Fraunhofer ISE) {self.country.upper()}, lifecycle"

    def history(self, start: int, end: int) -> Answer:
        """Return the past, with its forecast as an estimate where nothing else is known. Raises ProviderError."""
        return self._series(start, end, ("co2eq", "co2eq_forecast"))

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return what is expected. Raises ProviderError."""
        return self._series(start, end, ("co2eq_forecast",))

    def _series(self, start: int, end: int, columns: tuple[str, ...]) -> Answer:
        found = [s for a, b in pieces(start, end, self.max_range_s) for s in self._piece(a, b, columns)]
        rules = live(self.scope, [STEP_S, 2 * STEP_S, HOUR_S])
        return checked(self.text, columns[0], self.scope, found, start, end, rules)

    def _piece(self, start: int, end: int, columns: tuple[str, ...]) -> Iterator[Sample | Fault]:
        # An hour is asked for by its beginning: the one that holds `start` too.
        answer = self._ask(start - start % HOUR_S, end)
        starts = member(self.text, answer, "unix_seconds", list)
        series = {name: self._column(answer, name, len(starts)) for name in columns}
        known: dict[int, int] = {}
        for row, at in enumerate(starts):
            try:
                known[row] = self._second(at)
            except ProviderError as e:
                yield Fault(str(e))
        ends = dict(spans(list(known.values()), _step(list(known.values()))))
        filled_in = isinstance(answer, dict) and answer.get("substitute") is True
        for row, at in known.items():
            if start - HOUR_S < at < end:
                yield _first_known(at, ends[at], {name: values[row] for name, values in series.items()}, filled_in)

    def _ask(self, start: int, end: int) -> object:
        params = {"country": self.country, "start": stamp(start), "end": stamp(end)}
        url = f"{self.access.base_url or BASE_URL}/co2eq"
        return parse(self.text, fetch(Question(self.text, url, params), self.access.patience))

    def _second(self, at: object) -> int:
        if not isinstance(at, int) or isinstance(at, bool):
            raise ProviderError(f"{self.text}: unix_seconds has {describe(at)}; expected whole seconds")
        return plausible(self.text, "unix_seconds", at)

    def _column(self, answer: object, name: str, rows: int) -> list[object]:
        values = member(self.text, answer, name, list)
        if len(values) != rows:
            raise ProviderError(f"{self.text}: {name} has {len(values)} values; expected {rows}, as unix_seconds has")
        return values


def _step(starts: list[int]) -> int:
    """Return the most usual distance of two values: a quarter of an hour, or an hour where the country reports by the
    hour. One time that is wrong does not change it.
    """
    gaps = [b - a for a, b in pairwise(sorted(set(starts)))]
    usual = max(sorted(set(gaps)), key=gaps.count, default=STEP_S)
    return HOUR_S if usual >= HOUR_S else STEP_S


def _first_known(start: int, end: int, values: dict[str, object], filled_in: bool) -> Sample:
    known = next(((name, value) for name, value in values.items() if value is not None), ("", None))
    return Sample(start, end, known[1], estimated=filled_in or known[0].endswith("_forecast"))


def energycharts(access: Access) -> EnergyCharts:
    """Return the provider of `energycharts` or `energycharts:COUNTRY`. Raises ProviderError."""
    country = (access.argument or access.zone).casefold()
    if not country.replace("-", "").isalpha():
        raise ProviderError(
            f"energycharts: {country} is not a country's code; write e.g. energycharts:DE", permanent=True
        )
    return EnergyCharts(access, country)
