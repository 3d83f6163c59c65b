# SPDX-License-Identifier: MIT
"""The zones that are shipped: each has a factor that can be used, and a wrong one leads to the right one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from carbon_acct.cli import mgr
from carbon_acct.client import zones
from carbon_acct.client.zones import factors, renamed
from carbon_acct.errors import ProviderError, ZoneError
from carbon_acct.grid.check import amount, plain
from carbon_acct.grid.factors import factor
from carbon_acct.grid.providers import Means, parse_spec, suggested


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


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("AUS-NSW", "since 2023-01 it is AU-NSW; write that"),
        ("de_at_lu", "in 2018-10 it was split into DE, AT and LU; write the one that feeds the nodes"),
        ("OVEC", "since 2018-12 it is PJM; write that"),
        ("US-NW-WACM", "it was retired in 2026-03, and no zone replaces it; name the grid that feeds the nodes now"),
    ],
)
def test_a_zone_that_was_renamed_names_the_new_one(old: str, now: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A zone that a grid or a provider renamed, split or retired is one line with what became of it, wherever it is
    written: as the site's zone, behind a provider's name, and in `carbon-mgr zones`.
    """
    with pytest.raises(ZoneError, match=f"{old}: no such zone; {now}"):
        factor(old)
    token = Means(token_files={"electricitymaps": Path("token")})
    with pytest.raises(ProviderError, match=f"electricitymaps:{old}: {now}"):
        parse_spec(f"electricitymaps:{old}", "DE", token)
    assert mgr.main(["zones", old]) == 2
    assert now in capsys.readouterr().err


def test_no_zone_that_is_known_counts_as_renamed() -> None:
    """The table of old names holds none that has a factor; a new name is no old one; and each
    row says since when, and where that stands.
    """
    text = (Path(zones.__file__).parent / "data" / "renamed-zones.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert rows
    for row in rows:
        assert row["name"] not in factors()
        assert not any(renamed(new) for new in row["new"].split())
        assert row["since"]
        assert row["source"]


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
