# SPDX-License-Identifier: MIT
"""Denmark's, France's and Fraunhofer's services over HTTP on loopback."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import Period

from .conftest import Make
from .services import Asked, Reply, Service, as_json

T0 = 1_767_225_600
DENMARK = ZoneInfo("Europe/Copenhagen")
# 2026-10-25, when Denmark's clocks have the hour from 02:00 twice; 2026-03-29, when they have none from 02:00.
AUTUMN = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp())
SPRING = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp())


def danish(asked: Asked, *, local: bool) -> Reply:
    """Answers as Energi Data Service does: every five minutes between two times, which it reads in its own zone."""
    zone = DENMARK if local else UTC
    start, end = (
        int(datetime.fromisoformat(asked.params[k]).replace(tzinfo=zone).timestamp()) for k in ("start", "end")
    )
    records = [
        {
            "Minutes5UTC": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "Minutes5DK": datetime.fromtimestamp(at, DENMARK).strftime("%Y-%m-%dT%H:%M:%S"),
            "PriceArea": re.sub(r'.*\["(.*)"\].*', r"\1", asked.params["filter"]),
            "CO2Emission": 80.0 + at // 300 % 50,
        }
        for at in range(start, end, 300)
    ]
    return as_json({"total": len(records), "limit": 0, "dataset": asked.path.rpartition("/")[2], "records": records})


@pytest.mark.parametrize("midnight", [T0, AUTUMN, SPRING])
@pytest.mark.parametrize("local", [True, False])
def test_danish_nights(make: Make, service: Service, midnight: int, local: bool) -> None:
    """Each five minutes of a night are there once, when clocks are set as well, however the service reads times."""
    service.answer = lambda asked: danish(asked, local=local)
    start, end = midnight - 3600, midnight + 4 * 3600

    assert make("energidata:DK1", "DK").history(start, end) == [
        Period(at, at + 300, str(80 + at // 300 % 50)) for at in range(start, end, 300)
    ]
    assert (service.asked[0].path, service.asked[0].params["limit"]) == ("/dataset/CO2Emis", "0")


def test_danish_prognosis(make: Make, service: Service) -> None:
    """The prognosis is another data set, and estimated; the zone names the area."""
    service.answer = lambda asked: danish(asked, local=True)
    found = make("energidata", "DK2").forecast(T0, T0 + 600)

    assert [(p.start, p.estimated) for p in found] == [(T0, True), (T0 + 300, True)]
    assert service.asked[0].path == "/dataset/CO2EmisProg"
    assert service.asked[0].params["filter"] == '{"PriceArea": ["DK2"]}'


def test_another_area_than_asked(make: Make, service: Service) -> None:
    """The filter of the request is not trusted: a record of the other area refuses the answer."""
    service.say(as_json({"records": [{"Minutes5UTC": "2026-01-01T00:00:00", "PriceArea": "DK2", "CO2Emission": 80}]}))

    with pytest.raises(ProviderError, match="PriceArea is 'DK2'; expected DK1"):
        make("energidata:DK1").history(T0, T0 + 300)


def portal(records: dict[str, list[dict[str, object]]], most: int = 100) -> object:
    """Answers as an Opendatasoft portal does: pages of a data set between two dates."""

    def answer(asked: Asked) -> Reply:
        dataset = asked.path.split("/")[-2]
        first, last = re.findall(r"date'([^']+)'", asked.params["where"])
        rows = [
            r
            for r in records.get(dataset, [])
            if datetime.fromisoformat(first)
            <= datetime.fromisoformat(str(r["date_heure"]))
            < datetime.fromisoformat(last)
        ]
        offset = int(asked.params["offset"])
        return as_json(
            {"total_count": len(rows), "results": rows[offset : offset + min(most, int(asked.params["limit"]))]}
        )

    return answer


def french(at: int, value: object) -> dict[str, object]:
    return {"date_heure": datetime.fromtimestamp(at, ZoneInfo("Europe/Paris")).isoformat(), "taux_co2": value}


def test_france_by_pages_and_weeks(make: Make, service: Service) -> None:
    """Ten days of quarters come in pages of a hundred, none lost, none twice; a null is a gap."""
    rows = [french(T0 + n * 900, None if n == 5 else 30 + n % 7) for n in range(960)]
    service.answer = portal({"eco2mix-national-tr": rows})  # type: ignore[assignment]
    found = make("rte", "FR").history(T0, T0 + 10 * 86_400)

    assert found == [Period(T0 + n * 900, T0 + n * 900 + 900, str(30 + n % 7)) for n in range(960) if n != 5]
    assert len(service.asked) == 7 + 3


@pytest.mark.parametrize("midnight", [AUTUMN, SPRING])
def test_french_nights(make: Make, service: Service, midnight: int) -> None:
    """The nights when clocks are set have each quarter once, by the offset of its time."""
    quarters = range(midnight - 3600, midnight + 4 * 3600, 900)
    service.answer = portal({"eco2mix-national-tr": [french(at, 33) for at in quarters]})  # type: ignore[assignment]

    assert [p.start for p in make("rte", "FR").history(quarters[0], quarters[-1] + 900)] == list(quarters)


def test_what_is_older_comes_consolidated(make: Make, service: Service) -> None:
    """Where the real-time set has nothing any more, the consolidated one has half-hours."""
    rows = [french(T0 + n * 900, 40 if n % 2 == 0 else None) for n in range(4)]
    service.answer = portal({"eco2mix-national-cons-def": rows})  # type: ignore[assignment]

    assert make("rte", "FR").history(T0, T0 + 3600) == [
        Period(T0, T0 + 1800, "40"),
        Period(T0 + 1800, T0 + 3600, "40"),
    ]


@pytest.mark.parametrize("begins", [1800, 2700])
def test_where_the_french_sets_meet(make: Make, service: Service, begins: int) -> None:
    """A range that begins before the real-time set does has no gap: what is older comes consolidated, up to there."""
    service.answer = portal(  # type: ignore[assignment]
        {
            "eco2mix-national-tr": [french(T0 + at, 30) for at in range(begins, 5400, 900)],
            "eco2mix-national-cons-def": [french(T0 + at, 40) for at in range(0, 5400, 1800)],
        }
    )
    found = make("rte", "FR").history(T0, T0 + 5400)

    assert [(p.start - T0, p.end - T0, p.g_per_kwh) for p in found if p.start < T0 + begins] == (
        [(0, 1800, "40")] if begins == 1800 else [(0, 1800, "40"), (1800, 2700, "40")]
    )
    assert [(p.start - T0, p.g_per_kwh) for p in found if p.start >= T0 + begins] == [
        (at, "30") for at in range(begins, 5400, 900)
    ]


def test_a_portal_that_never_ends(make: Make, service: Service) -> None:
    """A count that is never reached ends the paging, with one line."""
    service.say(as_json({"total_count": 10**9, "results": [french(T0, 33)]}))

    with pytest.raises(ProviderError, match="more than 10000 records in a week"):
        make("rte", "FR").history(T0, T0 + 3600)


def columns(step: int, values: list[object], forecast: list[object]) -> dict[str, object]:
    return {
        "unix_seconds": [T0 + n * step for n in range(len(values))],
        "co2eq": values,
        "co2eq_forecast": forecast,
        "substitute": False,
        "deprecated": False,
    }


def test_energy_charts(make: Make, service: Service) -> None:
    """A quarter has its value, else its forecast as an estimate, else nothing."""
    service.say(as_json(columns(900, [301.25, None, None, 310], [300, 305.5, None, 1])))

    assert make("energycharts", "DE").history(T0, T0 + 3600) == [
        Period(T0, T0 + 900, "301.25"),
        Period(T0 + 900, T0 + 1800, "305.5", estimated=True),
        Period(T0 + 2700, T0 + 3600, "310"),
    ]
    assert service.asked[0].params == {
        "country": "de",
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T01:00:00Z",
    }


def test_energy_charts_by_the_hour(make: Make, service: Service) -> None:
    """A country that reports by the hour has hours, the one that holds the start included."""
    service.say(as_json(columns(3600, [100, 200, 300], [1, 1, 1])))

    assert make("energycharts:CH").history(T0 + 1800, T0 + 7200) == [
        Period(T0, T0 + 3600, "100"),
        Period(T0 + 3600, T0 + 7200, "200"),
    ]


def test_energy_charts_forecast(make: Make, service: Service) -> None:
    """A forecast takes the forecast's column alone."""
    service.say(as_json(columns(900, [301, None], [300, 305])))

    assert [(p.g_per_kwh, p.estimated) for p in make("energycharts").forecast(T0, T0 + 1800)] == [
        ("300", True),
        ("305", True),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"co2eq": [1]}, "co2eq has 1 values; expected 2"),
        ({"unix_seconds": [T0 * 1000, T0 * 1000 + 1]}, "expected a time between"),
        ({"unix_seconds": ["a", "b"]}, "unix_seconds has text; expected whole seconds"),
        ({"unix_seconds": [T0, T0]}, "is both 301 and 302"),
        ({"co2eq": [0.301, 0.302]}, "looks like kg/kWh"),
    ],
)
def test_energy_charts_changed(make: Make, service: Service, change: dict[str, object], says: str) -> None:
    """Columns of different lengths, milliseconds, a time twice and other units are each named."""
    service.say(as_json({**columns(900, [301, 302], [300, 300]), **change}))

    with pytest.raises(ProviderError) as e:
        make("energycharts").history(T0, T0 + 3600)
    assert says in str(e.value)
