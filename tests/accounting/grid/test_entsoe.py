# SPDX-License-Identifier: MIT
"""ENTSO-E's generation mix: its XML over HTTP on loopback, and the arithmetic of the mix."""

from __future__ import annotations

import tracemalloc
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import moment
from carbon_acct.grid.mix import fuel_factors, intensity
from carbon_acct.grid.provider import Period
from carbon_acct.grid.providers.entsoe import areas

from .conftest import TOKEN, Make
from .services import Asked, Reply, Service

T0 = 1_767_225_600
NAMESPACE = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"


def series(
    psr: str, points: list[str | None], step: int = 60, at: int = T0, curve: str = "A03", domain: str = "in"
) -> str:
    """A TimeSeries as the platform writes it; None leaves a point out."""
    inside = "".join(
        f"<Point><position>{n}</position><quantity>{mw}</quantity></Point>"
        for n, mw in enumerate(points, 1)
        if mw is not None
    )
    return f"""<TimeSeries><mRID>1</mRID><businessType>A01</businessType><objectAggregation>A08</objectAggregation>
        <{domain}BiddingZone_Domain.mRID codingScheme="A01">10Y1001A1001A83F</{domain}BiddingZone_Domain.mRID>
        <quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>{curve}</curveType>
        <MktPSRType><psrType>{psr}</psrType></MktPSRType><Period><timeInterval><start>{moment(at)}</start>
        <end>{moment(at + len(points) * step * 60)}</end></timeInterval><resolution>PT{step}M</resolution>
        {inside}</Period></TimeSeries>"""


def document(*inside: str, kind: str = "GL_MarketDocument") -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?><{kind} xmlns="{NAMESPACE}"><mRID>1</mRID>{"".join(inside)}</{kind}>'
    return Reply(body.encode(), content_type="text/xml")


DAY = 24


def values(make: Make, hours: int = 2) -> list[tuple[int, str]]:
    return [(p.start - T0, p.g_per_kwh) for p in make("entsoe", "DE").history(T0, T0 + hours * 3600)]


@pytest.mark.parametrize("many", [1, 40])
def test_a_short_answer_of_many_years(make: Make, service: Service, many: int) -> None:
    """A curve that repeats one point for a century stands for millions: they are counted before one is made."""
    one = series("B01", ["5"], step=15)
    years = one.replace(f"<end>{moment(T0 + 900)}</end>", "<end>2099-01-01T00:00Z</end>")
    week = one.replace(f"<end>{moment(T0 + 900)}</end>", f"<end>{moment(T0 + 90 * 86400)}</end>")
    service.say(document(years if many == 1 else week * many))
    tracemalloc.start()
    try:
        with pytest.raises(ProviderError, match="more than 200000 points; expected a week"):
            make("entsoe", "DE").history(T0, T0 + 7200)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_mix(make: Make, service: Service) -> None:
    """Half nuclear (12), half gas (490) is 251 g/kWh; the request names area, document and period."""
    service.say(document(series("B14", ["1000", "1000"]), series("B04", ["1000", "3000"])))

    assert make("entsoe", "DE").history(T0, T0 + 7200) == [
        Period(T0, T0 + 3600, "251"),
        Period(T0 + 3600, T0 + 7200, "370.5"),
    ]
    assert service.asked[0].path == "/api"
    assert service.asked[0].params == {
        "securityToken": TOKEN,
        "documentType": "A75",
        "processType": "A16",
        "in_Domain": "10Y1001A1001A83F",
        "periodStart": "202512310000",
        "periodEnd": "202601010200",
    }


def test_storage_and_pumping_are_left_out(make: Make, service: Service) -> None:
    """What storage gives back was counted when it was generated; what pumps take is no generation."""
    service.say(
        document(
            series("B14", ["1000", "1000"]),
            series("B10", ["5000", "5000"]),
            series("B25", ["5000", "5000"]),
            series("B04", ["9000", "9000"], domain="out"),
        )
    )

    assert values(make) == [(0, "12"), (3600, "12")]


def test_quarters_beside_hours(make: Make, service: Service) -> None:
    """The finest resolution sets the periods; an hour's megawatts hold in each of its quarters."""
    service.say(document(series("B14", ["1000"]), series("B04", ["1000", "3000", "250", "1000"], step=15)))

    assert values(make, 1) == [(0, "251"), (900, "370.5"), (1800, "107.6"), (2700, "251")]


def test_a_repeating_curve(make: Make, service: Service) -> None:
    """A point that is left out of an A03 curve repeats the one before; of an A01 curve it is unknown."""
    service.say(document(series("B14", ["1000", None, "1000"]), series("B04", ["1000", "1000", "3000"])))
    assert values(make, 3) == [(0, "251"), (3600, "251"), (7200, "370.5")]

    service.say(document(series("B14", ["1000", None, "1000"], curve="A01"), series("B04", ["1000", "1000", "3000"])))
    assert values(make, 3) == [(0, "251"), (7200, "370.5")]


def test_an_incomplete_hour_is_left_out(make: Make, service: Service) -> None:
    """An hour for which gas has not reported yet has no figure: nuclear alone would look clean. The sun may rest."""
    service.say(
        document(series("B14", ["1000"] * 3), series("B04", ["1000", "1000"]), series("B16", ["2000"], at=T0 + 3600))
    )

    assert values(make, 3) == [(0, "251"), (3600, "149.5")]


def test_what_is_late_in_all_of_the_range(make: Make, service: Service) -> None:
    """A type that has not reported once in the asked range is missed by what it reported the day before."""
    nuclear, gas = ["1000"] * (DAY + 3), ["1000"] * (DAY + 1)

    def answer(asked: Asked) -> Reply:
        """What the platform has of the asked hours, from the day before T0 on."""
        first = datetime.strptime(asked.params["periodStart"] + "+0000", "%Y%m%d%H%M%z").timestamp()
        skip = max(0, int(first - T0) // 3600 + DAY)
        at = T0 + (skip - DAY) * 3600
        return document(*(series(psr, mw[skip:], at=at) for psr, mw in (("B14", nuclear), ("B04", gas)) if mw[skip:]))

    service.answer = answer
    assert make("entsoe", "DE").history(T0, T0 + 3600) == [Period(T0, T0 + 3600, "251")]
    assert make("entsoe", "DE").history(T0 + 3600, T0 + 3 * 3600) == []


def test_a_type_that_seldom_runs(make: Make, service: Service) -> None:
    """An oil plant's one hour counts in that hour, and takes no other hour away."""
    service.say(document(series("B14", ["1000"] * 40), series("B06", ["10"], at=T0 + 3600)))
    found = values(make, 40)

    assert [at for at, _ in found] == [n * 3600 for n in range(40)]
    assert [at for at, value in found if value != "12"] == [3600]


def test_a_sun_that_is_late(make: Make, service: Service) -> None:
    """An hour in which the sun shone the day before has no figure without it; at night it is not missed."""
    yesterday = T0 - DAY * 3600
    service.say(
        document(
            series("B04", ["1000"] * (DAY + 2), at=yesterday),
            series("B16", ["0", "500"], at=yesterday),
        )
    )

    assert values(make) == [(0, "490")]


def test_night_sun_takes_nothing_away(make: Make, service: Service) -> None:
    """Less than nothing generated is nothing."""
    service.say(document(series("B14", ["1000"]), series("B16", ["-3"])))

    assert values(make, 1) == [(0, "12")]


def test_too_much_without_a_factor(make: Make, service: Service) -> None:
    """Waste and "other" have no factor: up to a quarter they count as the rest does, beyond there is no figure."""
    service.say(document(series("B14", ["300", "299"]), series("B20", ["100", "100"])))

    assert values(make) == [(0, "12")]


@pytest.mark.parametrize("status", [200, 400])
def test_nothing_there_yet(make: Make, service: Service, status: int) -> None:
    """That there are no data is no error, with whichever status it is said."""
    reply = document(
        "<Reason><code>999</code><text>No matching data found for Data item X</text></Reason>",
        kind="Acknowledgement_MarketDocument",
    )
    reply.status = status
    service.say(reply)

    assert values(make) == []


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            document(
                "<Reason><code>999</code><text>Delivered time interval is not valid</text></Reason>",
                kind="Acknowledgement_MarketDocument",
            ),
            "refuses the request (Delivered time interval is not valid)",
        ),
        (document(kind="Publication_MarketDocument"), "expected a GL_MarketDocument"),
        (document(series("B14", ["lots"])), "quantity is 'lots'; expected megawatts"),
        (document(series("B14", ["NaN"])), "expected megawatts"),
        (document(series("B14", ["1"], step=7)), "resolution is 'PT7M'"),
        (document(series("B14", ["1"]).replace("<position>1", "<position>2")), "position is '2'; expected 1 to 1"),
        (document(series("B14", ["1"]).replace("psrType>", "fuel>")), "MktPSRType/psrType is missing"),
        (document(series("B14", ["1"]).replace("Z</start>", "</start>")), "expected a time with its zone"),
        (document(series("B14", ["1"]), series("B14", ["2"])), "two values of B14"),
        (Reply(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "the answer is not XML"),
    ],
)
def test_a_changed_document_is_named(make: Make, service: Service, reply: Reply, says: str) -> None:
    """Each thing that is not as it was is named, with what was expected; entities are not even looked at."""
    service.say(reply)

    with pytest.raises(ProviderError) as e:
        make("entsoe", "DE").history(T0, T0 + 3600)
    assert says in str(e.value)
    assert len(str(e.value).splitlines()) == 1


def test_a_refused_token_is_not_shown(make: Make, service: Service) -> None:
    """The token travels in the address, and is in no message."""
    service.say(Reply(f"<html>{TOKEN}</html>".encode(), 401, "text/html"))

    with pytest.raises(ProviderError, match=r"refuses the token \(HTTP 401\); check /") as e:
        make("entsoe:NO2").history(T0, T0 + 3600)
    assert TOKEN not in str(e.value)


def test_areas(make: Make) -> None:
    """Every named area has a code of 16 characters; a code stands for itself."""
    assert all(len(eic) == 16 for eic in areas().values())
    assert len(set(areas().values())) == len(areas())
    for eic in areas().values():
        assert make(f"entsoe:{eic}").text.startswith(f"ENTSO-E generation mix of {eic}")


mixes = st.dictionaries(st.sampled_from(sorted(fuel_factors())), st.decimals(0, 100_000, places=2), min_size=1)


@given(mixes)
def test_a_mix_lies_between_its_fuels(mix: dict[str, Decimal]) -> None:
    """A mix is never cleaner than its cleanest fuel nor dirtier than its dirtiest; twice of all of it is the same."""
    found = intensity(mix)
    used = [fuel_factors()[t] for t, mw in mix.items() if mw]

    assert (found is None) == (not used)
    if found is not None:
        assert min(used) <= found <= max(used)
        assert intensity({t: 2 * mw for t, mw in mix.items()}) == found
        assert intensity({**mix, "B10": Decimal(10**6)}) == found
