# SPDX-License-Identifier: MIT
"""Electricity Maps, API v3: `electricitymaps`, `electricitymaps:DK-DK1`, `electricitymaps+direct:US-CAL-CISO`.

Averages of what is consumed, imports traced to where they were made, by the hour. Needs a token. What a token may ask
depends on its plan: where a range of the past is not in it, the last 24 hours are asked instead, else the latest hour.
The service answers for the caller's address where it does not know a zone, unless it is told not to; the zone, the
scope and the resolution of each answer are compared with what was asked. A sandbox token gets made-up values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carbon_acct.errors import ProviderError
from carbon_acct.grid.answer import instant, member, parse, value_of
from carbon_acct.grid.check import Fault, Sample, checked, each, live
from carbon_acct.grid.fetch import Question, fetch, stamp
from carbon_acct.grid.provider import LIFECYCLE, Access, Answer, Period, pieces
from carbon_acct.grid.secret import read_token
from carbon_collector.units import DAY_S

SLUG = "electricitymaps"
BASE_URL = "https://api.electricitymaps.com/v3"
HOUR_S = 3600
# The kinds of answers: `past-range` has `data`, some versions of it and `history` have `history`, `forecast` its own.
SERIES = ("data", "history", "forecast")
# What a value holds for, by `temporalGranularity`. A mean of a day or a year answers another question.
GRANULARITIES = {"hourly": HOUR_S, "30_minutes": 1800, "15_minutes": 900, "5_minutes": 300}


@dataclass(frozen=True)
class ElectricityMaps:
    """The hourly series of a zone; values are revised later, so `updated_at` is kept."""

    access: Access
    token_file: Path
    zone: str
    scope: str
    slug: str = SLUG
    step_s: int = HOUR_S
    max_range_s: int = 10 * DAY_S

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"Electricity Maps {self.zone}, hourly, {self.scope}"

    def history(self, start: int, end: int) -> Answer:
        """Return the past of the zone, as far as the token's plan allows. Raises ProviderError."""
        try:
            # An hour is asked for by its beginning: the one that holds `start` too.
            ranges = pieces(start - start % HOUR_S, end, self.max_range_s)
            found = [s for a, b in ranges for s in self._range(a, b)]
        except ProviderError as refused:
            if not refused.forbidden:
                raise
            found = self._plan_allows()
        return self._checked(found, start, end)

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return the forecast of the zone, where the plan has one. Raises ProviderError."""
        return self._checked(self._samples("forecast", {}, estimated=True), start, end)

    def _checked(self, found: list[Sample | Fault], start: int, end: int) -> Answer:
        rules = live(self.scope, GRANULARITIES.values())
        return checked(self.text, "carbonIntensity", self.scope, found, start, end, rules)

    def _range(self, start: int, end: int) -> list[Sample | Fault]:
        return self._samples("past-range", {"start": stamp(start), "end": stamp(end)})

    def _plan_allows(self) -> list[Sample | Fault]:
        try:
            return self._samples("history", {})
        except ProviderError as refused:
            if not refused.forbidden:
                raise
            return self._samples("latest", {})

    def _samples(self, what: str, params: dict[str, str], *, estimated: bool = False) -> list[Sample | Fault]:
        asked = {"zone": self.zone, "emissionFactorType": self.scope, "temporalGranularity": "hourly"}
        answer = self._ask(what, {**asked, "shouldUseFallbackCallerLookup": "false", **params})
        rows = self._rows(what, answer)
        self._check_whole(answer)
        updated_at = self._updated_at(answer, None)
        length = self._length(answer)
        return list(each(rows, lambda row: self._sample(answer, row, length, updated_at, estimated)))

    def _ask(self, what: str, params: dict[str, str]) -> object:
        token = read_token(self.token_file)
        url = f"{self.access.base_url or BASE_URL}/carbon-intensity/{what}"
        question = Question(self.text, url, params, {"auth-token": token}, secret=token, token_file=self.token_file)
        return parse(self.text, fetch(question, self.access.patience))

    def _rows(self, what: str, answer: object) -> list[object]:
        if what == "latest":
            return [answer]
        named = [n for n in SERIES if isinstance(answer, dict) and n in answer]
        return member(self.text, answer, named[0] if named else SERIES[0], list)

    def _check_whole(self, answer: object) -> None:
        said = answer.get("_disclaimer") if isinstance(answer, dict) else None
        if said is not None and "sandbox" in str(said).casefold():
            raise ProviderError(
                f"{self.text}: the token is of the sandbox, whose values are made up; put a real one into"
                f" {self.token_file}",
                kind="sandbox",
                permanent=True,
            )
        self._check_zone(answer, {})
        self._check_scope(answer)

    def _sample(self, answer: object, row: object, length: int, updated_at: int | None, estimated: bool) -> Sample:
        self._check_zone(row, answer)
        self._check_scope(row)
        start = instant(self.text, row, "datetime")
        value = value_of(self.text, row, "carbonIntensity")
        guessed = estimated or bool(isinstance(row, dict) and row.get("isEstimated"))
        return Sample(start, start + length, value, guessed, self._updated_at(row, updated_at))

    def _length(self, answer: object) -> int:
        said = answer.get("temporalGranularity", "hourly") if isinstance(answer, dict) else "hourly"
        length = GRANULARITIES.get(said) if isinstance(said, str) else None
        if length is None:
            raise ProviderError(
                f"{self.text}: temporalGranularity is {str(said)[:40]!r}; expected {', '.join(GRANULARITIES)}"
            )
        return length

    def _check_zone(self, where: object, whole: object) -> None:
        """Refuse another zone than was asked. A row, or else the answer around it, says which it is."""
        named = [w["zone"] for w in (where, whole) if isinstance(w, dict) and "zone" in w]
        if named and (not isinstance(named[0], str) or named[0].casefold() != self.zone.casefold()):
            raise ProviderError(f"{self.text}: zone is {str(named[0])[:40]!r}; expected {self.zone!r}")
        if not named and whole:
            raise ProviderError(f"{self.text}: zone is missing; expected {self.zone!r}")

    def _check_scope(self, where: object) -> None:
        said = where.get("emissionFactorType", self.scope) if isinstance(where, dict) else self.scope
        if said != self.scope:
            raise ProviderError(f"{self.text}: emissionFactorType is {str(said)[:40]!r}; expected {self.scope!r}")

    def _updated_at(self, where: object, otherwise: int | None) -> int | None:
        known = isinstance(where, dict) and where.get("updatedAt") is not None
        return instant(self.text, where, "updatedAt") if known else otherwise


def electricitymaps(access: Access) -> ElectricityMaps:
    """Return the provider of `electricitymaps` or `electricitymaps:ZONE`. Raises ProviderError."""
    if access.token_file is None:
        raise ProviderError("electricitymaps needs a token file", permanent=True)
    return ElectricityMaps(access, access.token_file, access.argument or access.zone, access.scope or LIFECYCLE)
