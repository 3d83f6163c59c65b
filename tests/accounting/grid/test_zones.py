# SPDX-License-Identifier: MIT
"""The zones that are shipped: each has a factor that can be used, and a wrong one leads to the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from carbon_acct.cli import mgr
from carbon_acct.client.zones import factors
from carbon_acct.errors import ZoneError
from carbon_acct.grid.check import amount, plain
from carbon_acct.grid.factors import factor
from carbon_acct.grid.providers import parse_spec, suggested


def test_every_zone_has_a_usable_factor() -> None:
    """Each shipped factor is a number of g/kWh with year, scope, source and licence."""
    from decimal import Decimal

    for zone, f in factors().items():
        assert plain(amount(zone, "factor", f.year, Decimal(f.g_per_kwh)))
        assert f.scope in {"lifecycle", "direct"}
        assert all((f.name, f.year, f.source, f.licence))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("Germny", "DE (Germany)"), ("USA-CA", "US-CA"), ("frnce", "FR (France)"), ("UK", "GB (United Kingdom)")],
)
def test_an_unknown_zone_names_the_nearest(wrong: str, right: str) -> None:
    """A zone that is not known is an error with those that look like it."""
    with pytest.raises(ZoneError) as e:
        factor(wrong)
    assert f"{wrong}: no such zone; did you mean " in str(e.value)
    assert right in str(e.value)


def test_a_search_that_finds_nothing_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`carbon-mgr zones` with a misspelt name leads to the zone."""
    assert mgr.main(["zones", "Germny"]) == 2
    assert "did you mean DE (Germany)" in capsys.readouterr().err


def test_every_zone_has_a_suggestion() -> None:
    """For each zone a chain of known providers is suggested that ends with the yearly table, and asks no network here."""
    for zone in factors():
        chain = suggested(zone)
        assert chain[-1] == "yearly"
        assert len(set(chain)) == len(chain) >= 2
        assert parse_spec(chain[-1], zone).history(0, 1)
