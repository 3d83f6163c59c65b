# SPDX-License-Identifier: MIT
"""Regions of cloud providers and sub-national factors: each can be used, and says where it is from."""

from __future__ import annotations

import pytest

from carbon_acct.client.regions import region, regions
from carbon_acct.client.zones import factors
from carbon_acct.grid.factors import factor
from carbon_collector.errors import UsageError


def test_every_region_lies_in_a_zone_with_a_factor() -> None:
    """Each of 254 regions has a shipped zone and a source; a PUE is one, with the year and the file that gives it."""
    assert len(regions()) == 254
    for one in regions().values():
        assert one.zone in factors()
        assert one.place
        assert one.source
        assert one.verified in {"yes", "no"}
        assert not one.pue or (1 <= float(one.pue) < 2 and one.pue_year and "GSF" in one.source + one.note)


@pytest.mark.parametrize(
    ("name", "zone", "g_per_kwh", "scope"),
    [
        ("aws:ca-central-1", "CA-QC", "2.6", "direct"),
        ("gcp:northamerica-northeast1", "CA-QC", "2.6", "direct"),
        ("AWS:eu-west-3", "FR", "44.18", "lifecycle"),
        ("aws:ap-southeast-2", "AU-NSW", "600", "direct"),
    ],
)
def test_a_region_has_the_factor_of_its_province(name: str, zone: str, g_per_kwh: str, scope: str) -> None:
    """Montreal is Quebec's few grams and not Canada's mean; each factor keeps its scope."""
    found = factor(region(name).zone)

    assert (found.zone, found.g_per_kwh, found.scope) == (zone, g_per_kwh, scope)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("aws:eu-wst-3", "did you mean aws:eu-west-3"),
        ("eu-west-3", "write PROVIDER:REGION, e.g. aws:eu-west-3; providers are aws"),
        ("foo:bar", "providers are aws"),
    ],
)
def test_an_unknown_region_leads_to_the_right_one(name: str, says: str) -> None:
    """The error names what to write instead."""
    with pytest.raises(UsageError, match=says):
        region(name)


def test_provinces_and_states_name_their_licence() -> None:
    """Canada's and Australia's rows are direct, under their governments' open licences."""
    finer = [f for f in factors().values() if f.zone.startswith(("CA-", "AU-"))]

    assert len(finer) == 20
    assert {f.scope for f in finer} == {"direct"}
    assert {f.licence for f in finer} == {"Open Government Licence - Canada", "CC BY 4.0"}
    assert factor("CA-QC").text == "ECCC (2024), yearly average, direct"
