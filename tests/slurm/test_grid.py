# SPDX-License-Identifier: MIT
"""A job that runs while the grid's provider is away: shown with the fallback and its name, and right by itself later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from carbon_acct.grid.factors import factor
from carbon_collector.units import UJ_PER_KWH
from collector.process import eventually
from slurm import grid
from slurm.cluster import Cluster
from slurm.jobs import burn
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

DAY_S = 86_400
PUE = Fraction("1.3")
FIELDS = ("CarbonRaw", "Intensity", "IntensitySource", "Zone")
SLOTS = """
select s.job_id, j.association_id, s.slot, s.carbon_ug, p.zone,
    coalesce(s.energy_uj, 0) + coalesce(s.estimated_uj, 0) as uj
from job_slot s join job j on j.id = s.job_id
join slot_factor p on p.id = s.factor_id where s.carbon_ug is not null
"""
GramsPerKwh = Callable[[str, int], Fraction]


def shown(cluster: Cluster, job: int) -> dict[str, str]:
    """What the job's owner sees of it; nothing before the aggregator has heard of the job."""
    out = cluster.run_as("alice", ["carbon-acct", "-n", "-P", "-j", str(job), "-o", ",".join(FIELDS)]).stdout
    return dict(zip(FIELDS, out.strip().split("|"), strict=True)) if out.strip() else dict.fromkeys(FIELDS, "")


def yearly(zone: str, _slot: int) -> Fraction:
    """While the provider is away."""
    return Fraction(factor(zone).g_per_kwh)


def true(zone: str, slot: int) -> Fraction:
    """When it is back: Great Britain's slots have what it says."""
    return Fraction(grid.intensity(slot)) if zone == "GB" else yearly(zone, slot)


def from_scratch(product: Product, g_per_kwh: GramsPerKwh) -> Counter[tuple[int, int]]:
    """Micrograms by (association, day) of all jobs, by this test's own arithmetic."""
    days: Counter[tuple[int, int]] = Counter()
    for row in product.rows(SLOTS):
        grams = round(row["uj"] * PUE * g_per_kwh(row["zone"], row["slot"]) * 10**6 / UJ_PER_KWH)
        days[row["association_id"], row["slot"] // DAY_S * DAY_S] += grams
    return days


def kept(product: Product) -> Counter[tuple[int, int]]:
    """The same as reports read it."""
    rows = product.rows("select association_id, day, carbon_ug from day_sum where carbon_ug_jobs > 0")
    return Counter({(row["association_id"], row["day"]): row["carbon_ug"] for row in rows})


def month(product: Product) -> int:
    """Micrograms of all jobs, by the jobs' own days."""
    rows: list[dict[str, Any]] = product.rows("select carbon_ug from job_day where carbon_ug is not null")
    return sum(row["carbon_ug"] for row in rows)


def test_outage_and_recovery(cluster: Cluster, product: Product) -> None:
    """The fallback applies and is named; then the true figure comes by itself, in the job, its days and the month alike,
    to the last digit of what those are from scratch, before and after.
    """
    with grid.followed(cluster):
        job = cluster.sbatch("alice", "-w", "n1", "-n", "2", script=burn(4))
        assert cluster.wait_for([job]) == {str(job): "COMPLETED"}
        product.wait_for([job])
        eventually(lambda: shown(cluster, job)["CarbonRaw"], "the job has carbon", 30)
        away = cluster.run(["carbon-mgr", "status"]).stdout
        fallback, before = shown(cluster, job), kept(product)
        assert before == from_scratch(product, yearly)
        assert month(product) == before.total()

        with grid.running(cluster):
            eventually(lambda: "UK" in shown(cluster, job)["IntensitySource"], "the provider is believed again", 120)
            here = cluster.run(["carbon-mgr", "status"]).stdout
            used = cluster.run(["carbon-mgr", "intensity", "-z", "GB"]).stdout
        recovered, after = shown(cluster, job), kept(product)
        assert after == from_scratch(product, true)
        assert month(product) == after.total()

    assert fallback["IntensitySource"] == factor("GB").text
    assert "UK Carbon Intensity API" in away
    assert "; now: " in away
    assert recovered["IntensitySource"].startswith("UK Carbon Intensity API (NESO)")
    assert "Ember" not in recovered["IntensitySource"]
    assert (fallback["Zone"], recovered["Zone"]) == ("GB", "GB")
    assert float(fallback["Intensity"]) < 400 < float(recovered["Intensity"])
    assert float(fallback["CarbonRaw"]) < float(recovered["CarbonRaw"])
    assert before.total() < after.total()
    assert "; now: " not in here
    assert "UK Carbon Intensity API" in used
