# SPDX-License-Identifier: MIT
"""The arithmetic is exact: every figure equals one computed with fractions by another road."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client.zones import factors, search
from carbon_acct.errors import ZoneError
from carbon_acct.factors.arithmetic import Emissions, Factors, emissions
from carbon_acct.grid.factors import factor

DECIMALS = st.decimals(min_value=0, max_value=3000, allow_nan=False, places=6).map(str)
PUES = st.decimals(min_value=1, max_value=3, places=4).map(str)
ENERGY = st.integers(0, 2**63 - 1)


def by_decimals(energy_uj: int, pue: str, g_per_kwh: str) -> int:
    """The same figure without fractions: 100 digits are more than these factors can have."""
    with localcontext() as context:
        context.prec = 100
        kwh_times_3600 = Decimal(energy_uj) * Decimal(pue) * Decimal(g_per_kwh) * 10**6
        whole, rest = divmod(kwh_times_3600, Decimal(3_600_000_000_000))
        half = Decimal(1_800_000_000_000)
        up = rest > half or (rest == half and int(whole) % 2 == 1)
        return int(whole.to_integral_value(ROUND_HALF_EVEN)) + up


@given(ENERGY, PUES, DECIMALS)
def test_carbon_is_exact(energy: int, pue: str, g_per_kwh: str) -> None:
    """Micrograms equal the brute-force reference, for any energy, PUE and factor."""
    assert emissions(energy, Factors(pue, g_per_kwh)).carbon_ug == by_decimals(energy, pue, g_per_kwh)


def test_half_to_even() -> None:
    """Exactly half a microgram goes to the even neighbour, not up."""
    factors = Factors("1", "1800000")  # half a microgram for each microjoule
    assert [emissions(energy, factors).carbon_ug for energy in (1, 2, 3, 5)] == [0, 1, 2, 2]


def test_one_kwh() -> None:
    """A kilowatt-hour at 344.14 g/kWh and PUE 1.3 is 447.382 g."""
    assert emissions(3_600_000_000_000, Factors("1.3", "344.14")).carbon_ug == 447_382_000


@given(ENERGY, PUES)
def test_facility_is_exact(energy: int, pue: str) -> None:
    """Facility energy is the exact product, rounded half to even."""
    assert emissions(energy, Factors(pue, "1")).facility_uj == round(energy * Fraction(pue))


@given(ENERGY, PUES, DECIMALS)
def test_each_scope_is_a_figure_of_its_own(energy: int, pue: str, g_per_kwh: str) -> None:
    """Market-based, upstream and T&D grams are calculated like the location-based ones, apart, and unknown where not stated."""
    factors = Factors(pue, "1", market_g_per_kwh=g_per_kwh, td_g_per_kwh="0")
    found = emissions(energy, factors)

    assert found.market_ug == by_decimals(energy, pue, g_per_kwh)
    assert (found.carbon_ug, found.upstream_ug, found.td_ug) == (by_decimals(energy, pue, "1"), None, 0)
    assert emissions(None, factors) == Emissions()


def test_every_factor_can_be_applied() -> None:
    """Every shipped factor is a positive decimal with its year, scope, source and licence."""
    assert len(factors()) > 250
    for f in factors().values():
        assert 0 < Decimal(f.g_per_kwh) < 3000
        assert f.year.isdigit()
        assert f.scope in ("lifecycle", "direct")
        assert f.source
        assert f.licence


def test_source_text() -> None:
    """The source of an intensity is named as people cite it."""
    assert factor("PT").text == "Ember 2024 via Our World in Data, yearly average, lifecycle"
    assert factor("us-ca").text == "US EPA eGRID2023 (2023), yearly average, direct"


def test_namibia() -> None:
    """Zone NA is Namibia, never a missing value."""
    assert factor("NA").name == "Namibia"
    assert [f.zone for f in search("namib")] == ["NA"]


@pytest.mark.parametrize(("zone", "near"), [("GERMANY", "DE"), ("US-CAL", "US-CA"), ("Portugl", "PT")])
def test_unknown_zone(zone: str, near: str) -> None:
    """An unknown zone is an error that names the nearest."""
    with pytest.raises(ZoneError, match=rf"no such zone; did you mean .*{near} \("):
        factor(zone)


def test_zone_like_nothing() -> None:
    """Where nothing is near, the error says where the zones are listed."""
    with pytest.raises(ZoneError, match="carbon-mgr zones"):
        factor("###")
