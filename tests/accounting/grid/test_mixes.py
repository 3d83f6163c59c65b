# SPDX-License-Identifier: MIT
"""Mixes of fuels: the EIA's and OpenElectricity's protocols on loopback, and a fuel that went missing for days."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.errors import ProviderError
from carbon_acct.grid.curves import SUDDEN, Curves, Habit, Mix, false_zeros, mixes
from carbon_acct.grid.provider import Period

from .conftest import TOKEN, Make
from .month import epoch, iso
from .services import Asked, Reply, Service, as_json
from .test_entsoe import document, series

T0 = 1_767_225_600
DAY = 86_400


def generated(ends: int, fuel: str, value: object, **more: object) -> dict[str, object]:
    """A row as the EIA writes it: the hour by its end."""
    return {
        "period": iso(ends, "%Y-%m-%dT%H"),
        "respondent": "CISO",
        "fueltype": fuel,
        "value": value,
        "value-units": "megawatthours",
        **more,
    }


def response(*rows: dict[str, object], **more: object) -> Reply:
    return as_json({"response": {"total": str(len(rows)), "frequency": "hourly", "data": rows, **more}})


def test_eia(make: Make, service: Service) -> None:
    """Half gas (490), half nuclear (12) is 251 g/kWh in the hour before its stamp; batteries and unknown fuels aside."""
    service.say(
        response(
            generated(T0 + 3600, "NG", "1000"),
            generated(T0 + 3600, "NUC", 1000),
            generated(T0 + 3600, "BAT", "-400"),
            generated(T0 + 3600, "XYZ", "20"),
            generated(T0 + 7200, "NG", None),
            generated(T0 + 7200, "NUC", 1000),
        )
    )

    assert make("eia", "US-CAL-CISO").history(T0, T0 + 7200) == [Period(T0, T0 + 3600, "251")]
    asked = service.asked[0]
    assert asked.path == "/electricity/rto/fuel-type-data/data/"
    assert (asked.params["facets[respondent][]"], asked.params["api_key"]) == ("CISO", TOKEN)
    assert (asked.params["start"], asked.params["end"]) == ("2025-12-31T01", "2026-01-01T02")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (response(generated(T0, "NG", "1"), frequency="local-hourly"), "frequency is 'local-hourly'"),
        (response(generated(T0, "NG", "1", respondent="PJM")), "respondent is 'PJM'; expected 'CISO'"),
        (response(generated(T0, "NG", "many")), "value is 'many'; expected megawatthours"),
        (response(generated(T0, "NG", "1") | {"value-units": "MWd"}), "value-units is 'MWd'"),
        (response(generated(T0, "NG", "1", period="2026-01-01T00-08")), "period is '2026-01-01T00-08'"),
    ],
)
def test_eia_answers_another_question(make: Make, service: Service, reply: Reply, says: str) -> None:
    """Local hours, another authority, and what is no amount are each named."""
    service.say(reply)

    with pytest.raises(ProviderError) as e:
        make("eia:CISO").history(T0 - 3600, T0)
    assert says in str(e.value)
    assert TOKEN not in str(e.value)


def test_eia_by_pages(make: Make, service: Service) -> None:
    """A full page is followed by the next one, and an end that never comes ends."""
    service.say(response(*(generated(T0 + 3600, "NG", "1") for _ in range(5000))))

    with pytest.raises(ProviderError, match="more than 20000 rows in a week"):
        make("eia:CISO").history(T0, T0 + 3600)
    assert [a.params["offset"] for a in service.asked] == ["0", "5000", "10000", "15000"]


def test_eia_gives_less_than_a_page(make: Make, service: Service) -> None:
    """A service that gives fewer rows at once than were asked for is asked again until it has given its total; one that
    stops before is named.
    """
    rows = [generated(T0 + 3600 * (1 + n // 2), fuel, "1000") for n, fuel in enumerate(["NG", "NUC"] * 24)]

    def answer(asked: Asked) -> Reply:
        at = int(asked.params["offset"])
        return response(*rows[at : at + 13], total=str(len(rows)))

    service.answer = answer
    assert len(make("eia:CISO").history(T0, T0 + DAY)) == 24
    service.answer = lambda asked: response(*rows[:4] if asked.params["offset"] == "0" else [], total="48")
    cut = make("eia:CISO").history(T0, T0 + DAY)
    assert [p.start for p in cut] == [T0, T0 + 3600]
    assert "it gives 4 of 48 rows" in cut.refused[0]


def test_new_fuels_take_no_period(make: Make, service: Service) -> None:
    """Two fuels that nobody has heard of are left out like any without a factor: they are not two values of one fuel."""
    new = (generated(T0 + 3600, "H2X", "20"), generated(T0 + 3600, "FUS", "30"))
    service.say(response(generated(T0 + 3600, "NUC", 1000), *new))
    assert [p.g_per_kwh for p in make("eia:CISO").history(T0, T0 + 3600)] == ["12"]
    service.say(network(powers("wind", 1000), powers("hydrogen", 20), powers("fusion", 30)))
    assert [p.g_per_kwh for p in make("openelectricity", "AU-NSW").history(T0, T0 + 300)] == ["11"]


def powers(fuel: str, *values: object, step: int = 300, region: str = "NSW1") -> dict[str, object]:
    data = [[iso(T0 + n * step, "%Y-%m-%dT%H:%M:%S+10:00", 36_000), value] for n, value in enumerate(values)]
    return {"name": f"power_{fuel}", "columns": {"network_region": region, "fueltech": fuel}, "data": data}


def network(*results: dict[str, object], **more: object) -> Reply:
    whole = {"network_code": "NEM", "metric": "power", "unit": "MW", "interval": "5m", "results": results, **more}
    return as_json({"success": True, "data": [whole]})


def test_openelectricity(make: Make, service: Service) -> None:
    """Coal of both kinds (820), two kinds of gas (490), wind (11): each by its power; half an hour of roofs holds in each
    five minutes; pumps and batteries take nothing.
    """
    service.say(
        network(
            powers("coal_black", 1000, 0, 500),
            powers("coal_brown", 1000, 0, 500),
            powers("gas_ccgt", 1000, 500, 0),
            powers("gas_ocgt", 1000, 500, 0),
            powers("wind", 0, 1000, 1000),
            powers("battery_charging", 900, 900, 900),
            powers("imports", 700, 700, 700),
        )
    )

    assert make("openelectricity", "AU-NSW").history(T0, T0 + 900) == [
        Period(T0, T0 + 300, "655"),
        Period(T0 + 300, T0 + 600, "250.5"),
        Period(T0 + 600, T0 + 900, "415.5"),
    ]
    asked = service.asked[0]
    assert (asked.path, asked.headers["authorization"]) == ("/data/network/NEM", f"Bearer {TOKEN}")
    assert (asked.params["date_start"], asked.params["network_region"]) == ("2025-12-31T10:00:00", "NSW1")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (network(powers("wind", 1, region="VIC1")), "network_region is 'VIC1'; expected 'NSW1'"),
        (network(powers("wind", 1), network_code="WEM"), "network_code is 'WEM'"),
        (network(powers("wind", 1), unit="MWh"), "unit is 'MWh'; expected 'MW'"),
        (network(powers("wind", 1), interval="1d"), "interval is '1d'"),
        (network(powers("wind", "much")), "power of wind is 'much'"),
        (network(powers("wind", 1) | {"data": [["2026-01-01T10:00:00", 1]]}), "expected its offset"),
    ],
)
def test_openelectricity_answers_another_question(make: Make, service: Service, reply: Reply, says: str) -> None:
    """Another region, network, unit or interval, times without an offset, and what is no power are each named."""
    service.say(reply)

    with pytest.raises(ProviderError) as e:
        make("openelectricity:NSW1").history(T0, T0 + 300)
    assert says in str(e.value)


@pytest.mark.parametrize("days", [0, 1, 2, 6, 13, 27])
def test_a_fuel_that_says_nothing_for_days(make: Make, service: Service, days: int) -> None:
    """Gas that stopped reporting some days ago is missed as long as four weeks: without it 251 g/kWh would look like 12
    (electricitymaps-contrib, issue 2302: for days Germany reported no gas).
    """
    stopped = T0 - days * DAY

    def answer(asked: Asked) -> Reply:
        first, last = (_minute(asked.params[name]) for name in ("periodStart", "periodEnd"))
        hours = (last - first) // 3600
        burnt = ["1000"] * max(0, (min(last, stopped) - first) // 3600)
        return document(series("B14", ["1000"] * hours, at=first), *([series("B04", burnt, at=first)] if burnt else []))

    service.answer = answer

    assert make("entsoe", "DE").history(T0, T0 + 3600) == []


def test_a_fuel_that_closed_is_missed_no_more(make: Make, service: Service) -> None:
    """What has been silent on every day that is looked at, four weeks back, is gone; what says 0 has said it."""
    service.say(document(series("B14", ["1000"] * 24), series("B05", ["0"] * 24)))

    assert [p.g_per_kwh for p in make("entsoe", "DE").history(T0, T0 + 3600)] == ["12"]


def _minute(text: str) -> int:
    return epoch(text, "%Y%m%d%H%M")


def test_the_weeks_before_are_asked_for_once(make: Make, service: Service) -> None:
    """The days that show which fuels an area has are asked for once a day, not at each request."""
    service.say(document(series("B14", ["1000"] * 48, at=T0)))
    provider = make("entsoe", "DE")
    provider.history(T0, T0 + 3600)
    once = len(service.asked)
    provider.history(T0, T0 + 7200)

    assert (once, len(service.asked)) == (5, 6)


fuels = st.dictionaries(st.sampled_from(["B01", "B04", "B05", "B14", "B19"]), st.integers(1, 5000), min_size=1)


@given(fuels, st.sets(st.sampled_from(["B01", "B04", "B05", "B14", "B19"])))
def test_no_mix_without_a_usual_fuel(made: dict[str, int], silent: set[str]) -> None:
    """Where a fuel that makes a twentieth or more of a day says nothing, there is no mix; else it is of all that said."""
    before, now = Curves(), Curves()
    for fuel, mw in made.items():
        for hour in range(24):
            before.add("it", fuel, T0 + hour * 3600, 3600, Decimal(mw))
        if fuel not in silent:
            now.add("it", fuel, T0 + 3 * DAY, 3600, Decimal(mw))
    habit = Habit()
    habit.learn(T0, before)
    usual = habit.usual(T0 + 3 * DAY)
    found = list(mixes(now, usual))

    assert usual == {fuel for fuel, mw in made.items() if mw * 20 >= sum(made.values())}
    assert bool(found) == (not usual & silent and bool(made.keys() - silent))
    assert all(set(mix) == made.keys() - silent for _, _, mix in found)


ROWS = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=4, max_size=12)


@given(ROWS, st.data())
def test_a_zero_that_was_not_measured(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    """Whatever a mix is: where gas that made much of it is written as 0 for a while, those periods and no others are
    left out; where others make up for it, the plant stopped, and none is (opennem, issue 333).
    """
    first = data.draw(st.integers(1, len(rows) - 2))
    last = data.draw(st.integers(first, len(rows) - 2))
    curves = Curves()

    def mixed(make_up: int) -> list[Mix]:
        return [
            Mix(T0 + n * 3600, 3600, {"B04": Decimal(0), "B14": Decimal(2000 + make_up * 2000)})
            if first <= n <= last
            else Mix(T0 + n * 3600, 3600, {"B04": Decimal(2000 + gas), "B14": Decimal(2000), "B19": Decimal(wind)})
            for n, (gas, wind) in enumerate(rows)
        ]

    edges = [mixed(0)[n].mw for n in (first - 1, last + 1)]
    is_much = all(mix["B04"] >= SUDDEN * sum(mix.values()) for mix in edges)
    expected = {T0 + n * 3600: "B04" for n in range(first, last + 1)} if is_much else {}
    assert false_zeros(mixed(0), curves) == expected
    assert false_zeros(mixed(3), curves) == {}


def test_two_resolutions_of_one_fuel(make: Make, service: Service) -> None:
    """Where an hour and its quarters say something else of one fuel, in whatever order they come, none of both is used."""
    hour, quarters = series("B04", ["1000"]), series("B04", ["1000", "500", "1000", "1000"], step=15)
    for order in ((hour, quarters), (quarters, hour)):
        service.say(document(series("B14", ["1000"]), *order))
        found = make("entsoe", "DE").history(T0, T0 + 3600)
        assert [p.start - T0 for p in found] == [0, 1800, 2700]
