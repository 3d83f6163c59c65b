# SPDX-License-Identifier: MIT
"""From intensities to the grams of a job: fall-back, recovery, revisions, and each scope apart."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from accounting.samples import JOB, NOW, SLOT, configure, job, job_slot, ledger, new_site, segment, share
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.errors import ZoneError
from carbon_acct.factors.slot_factor import SiteTerms, Source, load_terms
from carbon_acct.grid import intensity
from carbon_acct.grid.provider import Period
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import JobRecord, list_jobs
from carbon_acct.site import Site
from carbon_acct.sums import recalculate
from carbon_acct.sync.jobs import record_jobs
from carbon_collector import settings
from carbon_collector.errors import SettingsError

GRID = Source("rte", "RTE", "direct")
OTHER = Source("csv", "our own", "direct")
KWH = 3_600_000_000_000


def with_sources(site: Site, *sources: Source) -> SiteTerms:
    return replace(site.terms, sources={"DE": sources})


def fetched(site: Site, source: Source, *periods: Period) -> None:
    with site.database.write() as session:
        intensity.keep(session, intensity.source_of(session, "DE", *source), periods, NOW)


def deliver(site: Site, terms: SiteTerms, *rows: dict[str, Any]) -> None:
    with site.database.write() as session:
        record_jobs(session, [JOB], terms)
        store_segment(session, parse_segment(segment([ledger(), *rows]), NOW), terms, NOW)


def recalculate_slots(site: Site, terms: SiteTerms) -> None:
    with site.database.write() as session:
        recalculate.refresh(session, terms, 0, NOW)
        while recalculate.sweep(session, terms):
            pass


def only(site: Site) -> JobRecord:
    with site.database.read() as session:
        (record,) = list_jobs(session, Filters(EVERYTHING))
    return record


def test_outage_and_recovery(site: Site) -> None:
    """A slot gets at once what is known, named so, and with the better source as soon as that has it."""
    terms = with_sources(site, GRID, OTHER)
    deliver(site, terms, job_slot({"cpu": share(KWH // 10, metered_us=900_000_000)}))
    sources = [only(site).intensity_source]
    fetched(site, OTHER, Period(SLOT, SLOT + 3600, "100"))
    recalculate_slots(site, terms)
    sources.append(only(site).intensity_source)
    fetched(site, GRID, Period(SLOT, SLOT + 900, "50", estimated=True))
    recalculate_slots(site, terms)
    record = only(site)

    assert sources == ["Ember 2024 via Our World in Data, yearly average, lifecycle", "our own"]
    assert (record.intensity_source, record.intensity_g_per_kwh, record.carbon_ug) == ("RTE", 50, 6_500_000)


def test_a_revised_value(site: Site) -> None:
    """A value that its source revises recalculates what it touches; the first one stays as a revision."""
    terms = with_sources(site, GRID)
    fetched(site, GRID, Period(SLOT, SLOT + 900, "50"))
    deliver(site, terms, job_slot({"cpu": share(KWH // 10, metered_us=900_000_000)}))
    for value in ("50", "40", "40"):
        fetched(site, GRID, Period(SLOT, SLOT + 900, value))
        recalculate_slots(site, terms)
    with site.database.read() as session:
        query = "SELECT g_per_kwh, revision FROM intensity WHERE period_end IS NOT NULL ORDER BY id"
        kept = session.execute(text(query)).all()

    assert kept == [("50", 1), ("40", 2)]
    assert only(site).carbon_ug == round(KWH // 10 * Fraction("1.3") * 40 * 10**6 / KWH)


@pytest.mark.slow
@hypothesis_settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 900)), min_size=1, max_size=4))
def test_each_slot_at_its_own_intensity(tmp_path: Path, slots: list[tuple[int, int]]) -> None:
    """A job's grams are the sum over its slots of energy x PUE x the mean of the 5-minute values in it, each rounded once."""
    site = new_site(tmp_path / str(abs(hash(tuple(slots)))))
    terms = with_sources(site, GRID)
    starts = [SLOT + 900 * i for i, _ in enumerate(slots)]
    fives = {start + 300 * k: g + k for start, (_, g) in zip(starts, slots, strict=True) for k in range(3)}
    fetched(site, GRID, *(Period(at, at + 300, str(g)) for at, g in fives.items()))
    rows = [
        job_slot({"cpu": share(energy, metered_us=900_000_000)}, slot=start)
        for start, (energy, _) in zip(starts, slots, strict=True)
    ]
    deliver(site, terms, *rows)
    expected = [
        round(energy * Fraction("1.3") * Fraction(sum(fives[start + 300 * k] for k in range(3)), 3) * 10**6 / KWH)
        for start, (energy, _) in zip(starts, slots, strict=True)
    ]
    record = only(site)
    site.database.close()

    assert record.carbon_ug == sum(expected)


def test_scopes_apart(tmp_path: Path) -> None:
    """Market-based, upstream, T&D and embodied figures stand beside the location-based one and change nothing in it."""
    (tmp_path / "nodes.csv").write_text("nodes,embodied_kg,lifetime_years,overhead,source\nn1,1500,5,1.5,PCF\n")
    stated = {"grid_market": "2012-01-01:10", "grid_upstream": "30", "grid_td_losses": "0.2"}
    site = new_site(tmp_path, site_hardware=str(tmp_path / "nodes.csv"), **stated)
    deliver(site, site.terms, job_slot({"cpu": share(10**9)}))
    record = only(site)
    site.database.close()
    facility = Fraction(15 * 10**8) * Fraction("1.3")
    life_us = 5 * 31_557_600 * 10**6

    assert (record.energy_uj, record.estimated_uj, record.facility_uj) == (10**9, 5 * 10**8, int(facility))
    assert record.carbon_ug == round(facility * Fraction("344.14") * 10**6 / KWH)
    assert record.carbon_market_ug == round(facility * 10 * 10**6 / KWH)
    assert record.upstream_ug == round(facility * 30 * 10**6 / KWH)
    assert record.td_ug == round(facility * Fraction("344.14") * Fraction(1, 4) * 10**6 / KWH)
    assert record.embodied_ug == 1500 * 10**9 * 60_000_000 // (2 * life_us)
    assert record.quality == "estimated"
    assert "other: the node is taken as 1.5 x its components" in record.notes


def test_zones_of_partitions(tmp_path: Path) -> None:
    """A partition that another grid feeds has that zone's factor; the rest has the site's."""
    site = new_site(tmp_path, grid_zones="demo/gpu:FR")
    with site.database.write() as session:
        record_jobs(session, [JOB, job(job_id_raw=8, job_id="8", partition="gpu")], site.terms)
        rows = [job_slot(job_id=j) for j in (7, 8)]
        store_segment(session, parse_segment(segment(rows), NOW), site.terms, NOW)
    with site.database.read() as session:
        zones = [record.zone for record in list_jobs(session, Filters(EVERYTHING))]
    site.database.close()

    assert zones == ["DE", "FR"]


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"grid_zones": "hpc/gpu:XX-YY"}, ZoneError, r"\[grid\] zones = XX-YY: no such zone"),
        ({"grid_zones": "FR"}, SettingsError, "'FR' is not cluster:zone"),
        ({"site_pue": "2026-01-01:1.2"}, SettingsError, "what holds before its first date"),
        ({"site_pue": "0.9"}, SettingsError, "between 1 and 10"),
        ({"grid_td_losses": "6"}, SettingsError, "between 0 and 0.5"),
    ],
)
def test_wrong_settings(tmp_path: Path, values: dict[str, str], error: type[Exception], says: str) -> None:
    """A wrong setting is one line that names it."""
    with pytest.raises(error, match=says):
        load_terms(settings.load(str(configure(tmp_path, **values))))
