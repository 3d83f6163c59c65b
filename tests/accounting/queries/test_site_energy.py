# SPDX-License-Identifier: MIT
"""What becomes of the site's energy: idle and system beside the jobs, exact, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import (
    JOB,
    NOW,
    SLOT,
    configure,
    job_slot,
    ledger,
    new_site,
    node_share,
    node_slot,
    segment,
    share,
)
from carbon_acct.cli.mgr import main
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.factors.slot_factor import SiteTerms, Source
from carbon_acct.grid import intensity
from carbon_acct.grid.provider import Period
from carbon_acct.queries.site_energy import SiteEnergy, site_energy, spread
from carbon_acct.site import Site
from carbon_acct.sums import recalculate
from carbon_acct.sync.jobs import record_jobs

GRID = Source("rte", "RTE", "direct")
KWH = 3_600_000_000_000
DAY = SLOT // 86_400 * 86_400
YEAR_S = 31_557_600
IDLE, SYSTEM = [KWH // 7, KWH // 11, 1], [KWH // 13, 0, 2]


def deliver(site: Site, terms: SiteTerms) -> None:
    """A job in the first of three slots, and its node in all of them."""
    jobs_uj = (10**9, 0, 0)
    nodes = [
        node_slot({"cpu": node_share(jobs_uj[i] + IDLE[i] + SYSTEM[i], IDLE[i], SYSTEM[i])}, slot=SLOT + 900 * i)
        for i in range(3)
    ]
    rows = [ledger(), job_slot({"cpu": share(10**9)}), *nodes]
    with site.database.write() as session:
        record_jobs(session, [JOB], terms)
        assert not store_segment(session, parse_segment(segment(rows), NOW), terms, NOW).refused


def asked(site: Site, terms: SiteTerms, end: int = DAY + 86_400) -> SiteEnergy:
    return site.database.run(lambda session: site_energy(session, terms, DAY, end))


def grams(energies: Sequence[int], g_per_kwh: Sequence[str]) -> int:
    return sum(
        round(uj * Fraction("1.3") * Fraction(g) * 10**6 / KWH) for uj, g in zip(energies, g_per_kwh, strict=True)
    )


def test_each_slot_at_its_own_intensity(site: Site) -> None:
    """Idle and system cost what the grid had when they were, also where no job ran, and again when a better value comes."""
    terms = replace(site.terms, sources={"DE": (GRID,)})
    deliver(site, terms)
    before = asked(site, terms)
    with site.database.write() as session:
        source = intensity.source_of(session, "DE", *GRID)
        intensity.keep(session, source, [Period(SLOT, SLOT + 900, "50"), Period(SLOT + 900, SLOT + 1800, "400")], NOW)
        recalculate.refresh(session, terms, 0, NOW)
        while recalculate.sweep(session, terms):
            pass
    after = asked(site, terms)

    assert (before.idle.energy_uj, before.system.energy_uj) == (sum(IDLE), sum(SYSTEM))
    assert before.idle.carbon_ug == grams(IDLE, ["344.14"] * 3)
    assert after.idle.carbon_ug == grams(IDLE, ["50", "400", "344.14"])
    assert after.system.carbon_ug == grams(SYSTEM, ["50", "400", "344.14"])
    assert (before.jobs.carbon_ug, after.jobs.carbon_ug) == (grams([10**9], ["344.14"]), grams([10**9], ["50"]))
    assert after.all.energy_uj == 10**9 + sum(IDLE) + sum(SYSTEM)
    assert (after.idle.market_ug, after.idle.embodied_ug) == (None, None)


def test_a_lifetime_is_all_of_the_hardware(tmp_path: Path) -> None:
    """Embodied emissions of jobs and of the time that nobody held are, over the lifetime, what making the node emitted."""
    (tmp_path / "nodes.csv").write_text("nodes,embodied_kg,gpu_kg,gpus,lifetime_years,source\nn1,1500,150,4,5,PCF\n")
    site = new_site(tmp_path, site_hardware=str(tmp_path / "nodes.csv"))
    deliver(site, site.terms)
    found = asked(site, site.terms, DAY + 5 * YEAR_S)
    site.database.close()

    assert found.jobs.embodied_ug
    assert found.system.embodied_ug is None
    assert found.all.embodied_ug == (1500 + 4 * 150) * 10**9


def test_nothing_known(site: Site) -> None:
    """Where nothing was delivered nothing is known: empty, not 0."""
    found = asked(site, site.terms)

    assert set(vars(found.all).values()) == {None}


@given(st.integers(0, 10**18), st.dictionaries(st.text(max_size=3), st.integers(0, 10**18), max_size=6))
def test_spread(amount: int, energies: dict[str, int]) -> None:
    """By energy, in whole micrograms that add up; who has no energy gets nothing."""
    parts = spread(amount, energies)

    assert sum(parts.values()) == (amount if any(energies.values()) else 0)
    assert all(parts[who] == 0 for who, energy in energies.items() if not energy)
    for who, energy in energies.items():
        assert abs(parts[who] - Fraction(amount * energy, sum(energies.values()) or 1)) < 1


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for jobs, idle, system and all; JSON in whole numbers; nothing stated by the site is invented."""
    site = new_site(tmp_path)
    deliver(site, site.terms)
    site.database.close()
    asking = ["--config", str(configure(tmp_path)), "energy", "-S", "2012-01-01", "-E", "2013-01-01"]
    assert main(asking) == 0
    table = capsys.readouterr().out.splitlines()
    assert main([*asking, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)

    assert [line.split()[0] for line in table[1:6]] == ["energy", "jobs", "idle", "system", "all"]
    assert figures["idle"]["carbon_ug"] == grams(IDLE, ["344.14"] * 3)
    assert figures["all"]["energy_uj"] == 10**9 + sum(IDLE) + sum(SYSTEM)
    assert figures["all"]["market_ug"] is None
    assert main([*asking[:4], "2013-01-01", "-E", "2012-01-01"]) == 2
