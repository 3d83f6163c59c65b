# SPDX-License-Identifier: MIT
"""A month of each service with faults sown into it: what it answers, and what is true."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

from .services import Asked, Reply, as_json
from .test_entsoe import document, series

T0 = 1_767_225_600
DAY = 86_400
# The days of the month on which each fault is there, and for how long.
DOUBLE, MISSING, ZERO, ZONE, SCOPE, GONE, NONSENSE = (T0 + d * DAY + 7 * 3600 for d in (3, 5, 8, 11, 14, 17, 24))
SHIFTED_ON = T0 + 21 * DAY
ELSEWHERE_ON = T0 + 26 * DAY
"""The day on whose first half all of an answer is of another zone, where answers name their own."""
LENGTHS = {DOUBLE: 3600, MISSING: 7200, ZERO: 7200, ZONE: 6 * 3600, SCOPE: 6 * 3600, GONE: 2 * DAY, NONSENSE: 3600}
NAMES = {
    DOUBLE: "double",
    MISSING: "missing",
    ZERO: "zero",
    ZONE: "zone",
    SCOPE: "scope",
    GONE: "fuel gone",
    NONSENSE: "nonsense",
}


def fault_at(at: int) -> int:
    """Which fault is there at a time; 0 for none."""
    return next((day for day, length in LENGTHS.items() if day <= at < day + length), 0)


def gas(at: int, step: int) -> int:
    """Megawatts beside 1000 of nuclear power."""
    return 1000 + at // step * 37 % 997


@dataclass
class Grid:
    """A service in the month: `now` is its clock. `has` are the faults that its protocol can have; `named`: its
    answers say of which zone they are.
    """

    step: int
    speak: Callable[[Grid, Asked, list[int]], Reply]
    span: Callable[[Asked], tuple[int, int] | None]
    has: frozenset[int]
    mix: bool = False
    named: bool = False
    now: int = T0
    asked: int = field(default=0)

    def answer(self, asked: Asked) -> Reply:
        """What it says of the asked range: nothing newer than its clock; on one day all of it an hour late."""
        between = self.span(asked)
        if between is None:
            return Reply(status=404)
        self.asked += 1
        start, end = between
        return self.speak(self, asked, list(range(start - start % self.step, min(end, self.now), self.step)))

    def stamp(self, at: int) -> int:
        """The time that it gives a value, by its clock of the day."""
        return at + (3600 if SHIFTED_ON <= self.now < SHIFTED_ON + DAY else 0)

    def zone(self, asked: str, other: str) -> str:
        """The zone that it answers for, by its clock of the day."""
        return other if ELSEWHERE_ON <= self.now < ELSEWHERE_ON + DAY // 2 else asked

    def fault(self, at: int) -> int:
        """The fault of a time, if this service can have it."""
        return fault_at(at) if fault_at(at) in self.has else 0

    def truth(self, at: int) -> Fraction:
        """Grams a kilowatt-hour of the period that holds a time."""
        at -= at % self.step
        if not self.mix:
            return Fraction(100 + at // self.step * 37 % 211)
        burnt = gas(at, self.step)
        return Fraction(round(Fraction(12 * 1000 + 490 * burnt, 1000 + burnt), 3))

    def values(self, at: int) -> list[object]:
        """What it says of a period that one number answers."""
        true: object = int(self.truth(at))
        what = self.fault(at)
        return {DOUBLE: [true, 333], MISSING: [], ZERO: [0], NONSENSE: [-7]}.get(what, [true])


def iso(at: int, form: str = "%Y-%m-%dT%H:%M:%SZ", ahead_s: int = 0) -> str:
    return datetime.fromtimestamp(at, timezone(timedelta(seconds=ahead_s))).strftime(form)


def epoch(text: str, form: str = "%Y-%m-%dT%H:%M:%SZ") -> int:
    return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())


def params(first: str, last: str, form: str, ahead_s: int = 0) -> Callable[[Asked], tuple[int, int] | None]:
    def span(asked: Asked) -> tuple[int, int] | None:
        if first not in asked.params:
            return None
        return epoch(asked.params[first], form) - ahead_s, epoch(asked.params[last], form) - ahead_s

    return span


def electricity_maps(grid: Grid, asked: Asked, times: list[int]) -> Reply:
    rows = [
        {
            "zone": "FR" if grid.fault(at) == ZONE else grid.zone(asked.params["zone"], "IE"),
            "emissionFactorType": "direct" if grid.fault(at) == SCOPE else "lifecycle",
            "carbonIntensity": value,
            "datetime": iso(grid.stamp(at)),
            "isEstimated": False,
        }
        for at in times
        for value in grid.values(at)
    ]
    zone = grid.zone(asked.params["zone"], "IE")
    return as_json({"zone": zone, "temporalGranularity": "hourly", "data": rows})


def uk_span(asked: Asked) -> tuple[int, int] | None:
    words = asked.path.partition("/regionid")[0].split("/")[-2:]
    return None if words[-1] == "fw48h" else (epoch(words[0], "%Y-%m-%dT%H:%MZ"), epoch(words[1], "%Y-%m-%dT%H:%MZ"))


def uk(grid: Grid, asked: Asked, times: list[int]) -> Reply:
    of_region = "regionid" in asked.path
    stamps = [(grid.stamp(at), value) for at in times for value in grid.values(at)]
    data = [
        {
            "from": iso(at, "%Y-%m-%dT%H:%MZ"),
            "to": iso(at + 1800, "%Y-%m-%dT%H:%MZ"),
            "intensity": {"forecast": value} if of_region else {"forecast": 222, "actual": value},
        }
        for at, value in stamps
    ]
    return as_json({"data": {"regionid": int(grid.zone("13", "5")), "data": data} if of_region else data})


def energidata(grid: Grid, asked: Asked, times: list[int]) -> Reply:
    if asked.path.endswith("Prog"):
        return Reply(status=404)
    return as_json(
        {
            "records": [
                {
                    "Minutes5UTC": iso(grid.stamp(at), "%Y-%m-%dT%H:%M:%S"),
                    "PriceArea": "DK2" if grid.fault(at) == ZONE else grid.zone("DK1", "DK2"),
                    "CO2Emission": value,
                }
                for at in times
                for value in grid.values(at)
            ]
        }
    )


def rte_span(asked: Asked) -> tuple[int, int] | None:
    first, last = re.findall(r"date'([^']+)'", asked.params["where"])
    return (epoch(first), epoch(last)) if "national-tr" in asked.path else (0, 0)


def rte(grid: Grid, asked: Asked, times: list[int]) -> Reply:
    rows = [
        {"date_heure": iso(grid.stamp(at), "%Y-%m-%dT%H:%M:%S+00:00"), "taux_co2": value}
        for at in times
        for value in grid.values(at)
    ]
    at = int(asked.params["offset"])
    return as_json({"total_count": len(rows), "results": rows[at : at + 100]})


def energy_charts(grid: Grid, _asked: Asked, times: list[int]) -> Reply:
    rows = [(grid.stamp(at), value) for at in times for value in grid.values(at)]
    columns = {"unix_seconds": [at for at, _ in rows], "co2eq": [value for _, value in rows]}
    return as_json({**columns, "co2eq_forecast": [None] * len(rows)})


def burnt(grid: Grid, at: int) -> list[str | None]:
    """What a mix's service says of its gas: none, one or more amounts."""
    what = grid.fault(at)
    good = str(gas(at, grid.step))
    return {MISSING: [], GONE: [], DOUBLE: [good, "77"], NONSENSE: ["lots"], ZERO: ["0"]}.get(what, [good])


def entsoe(grid: Grid, _asked: Asked, times: list[int]) -> Reply:
    """Each period of gas is a series of its own, so that any may be missing or double."""
    parts = [series("B14", ["1000"] * len(times), at=grid.stamp(times[0]))] if times else []
    parts += [series("B04", [mw], at=grid.stamp(at)) for at in times for mw in burnt(grid, at)]
    ours, other = "10Y1001A1001A83F", "10YFR-RTE------C"
    parts += [series("B04", ["1"], at=grid.stamp(at)).replace(ours, other) for at in times if grid.fault(at) == ZONE]
    return document(*(part.replace(ours, grid.zone(ours, other)) for part in parts))


def eia(grid: Grid, _asked: Asked, times: list[int]) -> Reply:
    def row(at: int, fuel: str, value: str | None) -> dict[str, object]:
        who = "PJM" if grid.fault(at) == ZONE and fuel == "NG" else grid.zone("CISO", "PJM")
        ends = iso(grid.stamp(at) + 3600, "%Y-%m-%dT%H")
        return {"period": ends, "respondent": who, "fueltype": fuel, "value": value, "value-units": "megawatthours"}

    rows = [row(at, "NUC", "1000") for at in times] + [row(at, "NG", mw) for at in times for mw in burnt(grid, at)]
    return as_json({"response": {"total": str(len(rows)), "frequency": "hourly", "data": rows}})


def eia_span(asked: Asked) -> tuple[int, int] | None:
    return epoch(asked.params["start"], "%Y-%m-%dT%H") - 3600, epoch(asked.params["end"], "%Y-%m-%dT%H")


def open_electricity(grid: Grid, _asked: Asked, times: list[int]) -> Reply:
    def result(fuel: str, rows: list[tuple[int, str | None]], region: str = "") -> dict[str, object]:
        data = [[iso(grid.stamp(at), "%Y-%m-%dT%H:%M:%S+10:00", 36_000), _number(mw)] for at, mw in rows]
        columns = {"network_region": region or grid.zone("NSW1", "VIC1"), "fueltech": fuel}
        return {"name": fuel, "columns": columns, "data": data}

    results = [
        result("nuclear", [(at, "1000") for at in times]),
        result("gas_ccgt", [(at, mw) for at in times for mw in burnt(grid, at)]),
        result("coal_black", [(at, "900") for at in times if grid.fault(at) == ZONE], "VIC1"),
    ]
    whole = {"network_code": "NEM", "metric": "power", "unit": "MW", "interval": "5m", "results": results}
    return as_json({"success": True, "data": [whole]})


def _number(text: str | None) -> object:
    return int(text) if text and text.isdigit() else text


ONE = frozenset({DOUBLE, MISSING, ZERO, NONSENSE})
MIX = frozenset({DOUBLE, MISSING, ZERO, GONE, NONSENSE})
MINUTES = "%Y%m%d%H%M"
GRIDS: dict[str, tuple[str, Callable[[], Grid]]] = {
    "electricitymaps": (
        "DE",
        lambda: Grid(
            3600, electricity_maps, params("start", "end", "%Y-%m-%dT%H:%M:%SZ"), ONE | {ZONE, SCOPE}, named=True
        ),
    ),
    "uk": ("GB", lambda: Grid(1800, uk, uk_span, ONE)),
    "uk:13": ("GB", lambda: Grid(1800, uk, uk_span, ONE, named=True)),
    "energidata:DK1": (
        "DK",
        lambda: Grid(300, energidata, params("start", "end", "%Y-%m-%dT%H:%M"), ONE | {ZONE}, named=True),
    ),
    "rte": ("FR", lambda: Grid(900, rte, rte_span, ONE)),
    "energycharts": ("DE", lambda: Grid(900, energy_charts, params("start", "end", "%Y-%m-%dT%H:%M:%SZ"), ONE)),
    "entsoe": (
        "DE",
        lambda: Grid(3600, entsoe, params("periodStart", "periodEnd", MINUTES), MIX | {ZONE}, mix=True, named=True),
    ),
    "eia:CISO": ("US-CA", lambda: Grid(3600, eia, eia_span, MIX | {ZONE}, mix=True, named=True)),
    "openelectricity:NSW1": (
        "AU",
        lambda: Grid(
            300,
            open_electricity,
            params("date_start", "date_end", "%Y-%m-%dT%H:%M:%S", 36_000),
            MIX | {ZONE},
            mix=True,
            named=True,
        ),
    ),
}
"""Which faults a protocol can have: one that gives grams has no fuels, only Electricity Maps states a scope, and the
national series of Great Britain, France and Energy-Charts name no zone.
"""
