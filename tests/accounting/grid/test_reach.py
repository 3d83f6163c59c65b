# SPDX-License-Identifier: MIT
"""A fault in an answer costs its own period; a plausible answer to another question is not believed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import Sample, checked, live
from carbon_acct.grid.provider import DIRECT, LIFECYCLE, Period
from carbon_acct.grid.shift import shift

from .conftest import Make
from .services import Service, as_json
from .test_electricitymaps import hour
from .test_national import columns
from .test_uk import NATIONAL, REGIONAL

T0 = 1_767_225_600
QUARTER = 900


def quarter(n: int, value: object = 100) -> Sample:
    return Sample(T0 + n * QUARTER, T0 + (n + 1) * QUARTER, value)


FAULTS = [
    quarter(3, 101),  # doubles the one that is there
    quarter(3, -1),
    quarter(3, "low"),
    Sample(T0 + 3 * QUARTER + 60, T0 + 4 * QUARTER + 60, 100),
    Sample(T0 + 3 * QUARTER, T0 + 5 * QUARTER, 100),
    Sample(T0 + 3 * QUARTER, T0, 100),
]


@given(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=3), st.permutations(range(12)))
def test_faults_cost_their_own_periods(faults: list[Sample], order: list[int]) -> None:
    """Whatever is wrong at one time, in whatever order it comes, all periods that it does not touch are kept."""
    good = [quarter(n) for n in order]
    answer = checked(
        "the provider", "value", LIFECYCLE, [*good, *faults], T0, T0 + 12 * QUARTER, live(LIFECYCLE, [900])
    )

    assert {p.start for p in answer} >= {T0 + n * QUARTER for n in range(12) if n not in (3, 4)}
    assert all(p.g_per_kwh == "100" for p in answer)
    assert answer.refused


def test_a_period_that_is_twice(make: Make, service: Service) -> None:
    """One half-hour of 2021 is there twice for ever (carbon-intensity/api-definitions, issue 17): the others are good."""
    (last, first, second) = NATIONAL["data"]
    double = {**first, "intensity": {"forecast": 266, "actual": 171, "index": "low"}}
    service.say(as_json({"data": [last, first, double, second]}))
    answer = make("uk").history(T0 - 1800, T0 + 3600)

    assert [p.start for p in answer] == [T0 - 1800, T0 + 1800]
    assert "is both 263 and 171 g/kWh" in answer.refused[0]


@pytest.mark.parametrize(
    ("scope", "values", "kept"),
    [
        (LIFECYCLE, [310, 0, 305], [310, 305]),
        (LIFECYCLE, [310, "0.7", 305], [310, 305]),
        (DIRECT, [310, 0, 0, 305], [310, 305]),
        (DIRECT, [3, 0, 0, 4], [3, 0, 0, 4]),
        (DIRECT, [0, 0, 0, 0], [0, 0, 0, 0]),
        (DIRECT, ["0.4", 19, 0], [Decimal("0.4"), 19, 0]),
    ],
)
def test_what_a_grid_cannot_be(scope: str, values: list[object], kept: list[object]) -> None:
    """A lifecycle below 1 g/kWh, and a zero beside much, stand for nothing known (opennem, issue 333); a grid of water
    alone may have a direct 0.
    """
    found = [quarter(n, Decimal(v) if isinstance(v, str) else v) for n, v in enumerate(values)]
    answer = checked("the provider", "value", scope, found, T0, T0 + 3600, live(scope, [900]))

    assert [Decimal(p.g_per_kwh) for p in answer] == kept


def test_national_zeros(make: Make, service: Service) -> None:
    """Great Britain as a whole never comes to nothing; a region may."""
    zero = {"from": "2026-01-01T00:00Z", "to": "2026-01-01T00:30Z", "intensity": {"forecast": 0, "actual": 0}}
    service.say(as_json({"data": [zero]}))
    with pytest.raises(ProviderError, match="no grid comes below 1 g/kWh"):
        make("uk").history(T0, T0 + 1800)

    service.say(as_json({"data": {"regionid": 1, "data": [zero]}}))
    assert [p.g_per_kwh for p in make("uk:1", "GB").history(T0, T0 + 1800)] == ["0"]


def test_another_region(make: Make, service: Service) -> None:
    """London's values are not Yorkshire's."""
    service.say(as_json(REGIONAL))

    with pytest.raises(ProviderError, match="regionid is 13; expected 5"):
        make("uk:5", "GB").history(T0, T0 + 1800)


def test_a_day_instead_of_half_an_hour(make: Make, service: Service) -> None:
    """A mean of a day among half-hours is another question's answer, and takes none of them with it."""
    (last, first, second) = NATIONAL["data"]
    day = {"from": "2026-01-01T00:00Z", "to": "2026-01-02T00:00Z", "intensity": {"forecast": 1, "actual": 150}}
    service.say(as_json({"data": [last, day, first, second]}))
    answer = make("uk").history(T0, T0 + 3600)

    assert [p.g_per_kwh for p in answer] == ["263", "250"]
    assert "has 1440 minutes; expected 30 minutes" in answer.refused[0]


@pytest.mark.parametrize(("said", "seconds"), [("5_minutes", 300), ("15_minutes", 900), ("hourly", 3600)])
def test_electricity_maps_by_granularity(make: Make, service: Service, said: str, seconds: int) -> None:
    """Each value holds as long as the answer's own temporalGranularity says (electricitymaps-contrib, issue 8034)."""
    rows = [hour(T0 + n * seconds, 120 + n) for n in range(3)]
    service.say(as_json({"zone": "DE", "temporalGranularity": said, "data": rows}))

    assert [(p.start, p.end - p.start) for p in make("electricitymaps").history(T0, T0 + 3 * seconds)] == [
        (T0 + n * seconds, seconds) for n in range(3)
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"temporalGranularity": "monthly"}, "temporalGranularity is 'monthly'"),
        ({"zone": "FR"}, "zone is 'FR'; expected 'DE'"),
        ({"_disclaimer": "This data is sandboxed."}, "the token is of the sandbox"),
        ({"emissionFactorType": "direct"}, "emissionFactorType is 'direct'"),
    ],
)
def test_an_answer_to_another_question(make: Make, service: Service, more: dict[str, object], says: str) -> None:
    """Another resolution, zone, scope, or made-up values (Electricity Maps' documentation, «Auto fallback», «Sandbox»)."""
    service.say(as_json({"zone": "DE", "data": [hour(T0, 120)], **more}))

    with pytest.raises(ProviderError) as e:
        make("electricitymaps").history(T0, T0 + 3600)
    assert says in str(e.value)


def test_a_row_of_another_zone(make: Make, service: Service) -> None:
    """A single row of another zone or scope costs its hour."""
    rows = [hour(T0, 301), hour(T0 + 3600, 20, zone="NO-NO2"), hour(T0 + 7200, 90, emissionFactorType="direct")]
    service.say(as_json({"zone": "DE", "data": [*rows, hour(T0 + 10_800, 310)]}))
    answer = make("electricitymaps").history(T0, T0 + 14_400)

    assert [p.g_per_kwh for p in answer] == ["301", "310"]
    assert len(answer.refused) == 2


def test_an_answer_that_does_not_name_its_zone(make: Make, service: Service) -> None:
    """Where neither the answer nor its rows say which zone they are of, none is believed."""
    row = {k: v for k, v in hour(T0, 301).items() if k != "zone"}
    service.say(as_json({"data": [row]}))

    with pytest.raises(ProviderError, match="zone is missing; expected 'DE'"):
        make("electricitymaps").history(T0, T0 + 3600)


def test_one_wrong_time_among_hours(make: Make, service: Service) -> None:
    """Energy-Charts by the hour stays by the hour where one time is off."""
    answer = columns(3600, [100, 200, 300, 400, 500], [1] * 5)
    answer["unix_seconds"][2] -= 1800  # type: ignore[index]
    service.say(as_json(answer))
    found = make("energycharts:CH").history(T0, T0 + 5 * 3600)

    assert [(p.start - T0, p.g_per_kwh) for p in found if p.end - p.start == 3600] == [
        (0, "100"),
        (3 * 3600, "400"),
        (4 * 3600, "500"),
    ]
    assert not any(p.g_per_kwh == "300" and p.end - p.start == 3600 for p in found)


def test_measured_before_it_was(make: Make, service: Service) -> None:
    """Local times with a Z behind them run ahead of the clock: none of such an answer is used."""
    import time

    now = int(time.time()) // 3600 * 3600
    rows = [hour(now + n * 3600, 300 + n) for n in range(-6, 3)]
    service.say(as_json({"zone": "DE", "data": rows}))

    with pytest.raises(ProviderError, match="its times are shifted"):
        make("electricitymaps").history(now - 6 * 3600, now + 900)


series = st.lists(st.integers(100, 400), min_size=40, max_size=40, unique=True)


@given(series, st.integers(-20, 20), st.integers(0, 3), st.booleans())
def test_a_shift_is_told_and_a_revision_is_none(values: list[int], by: int, revised: int, estimated: bool) -> None:
    """The known values at other times are a shift, by as much; a few new values of known times are a revision. So it is
    where a series has nothing but estimates, as that of a region.
    """
    known = {T0 + n * 1800: str(v) for n, v in enumerate(values)}
    of = list(known.items())[10:30]
    moved = [Period(at + by * 1800, at + by * 1800 + 1800, v, estimated) for at, v in of]
    new = [Period(at, at + 1800, v if n >= revised else "999", estimated) for n, (at, v) in enumerate(of)]

    assert shift(known, moved) == by * 1800
    assert shift(known, new) == 0
    assert shift({}, moved) == 0


def test_a_steady_grid_is_not_shifted() -> None:
    """Where every hour is like the other, none is at a wrong time."""
    known = {T0 + n * 1800: "24" for n in range(40)}

    assert shift(known, [Period(T0 + n * 1800, T0 + n * 1800 + 1800, "24") for n in range(5, 20)]) == 0
