# SPDX-License-Identifier: MIT
"""Sums of jobs as they are read: every figure in its own place, and parts that add up in any order."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from accounting.samples import NOW, SLOT, job, job_slot, ledger, new_site, segment
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.models import Cluster, FactorSource, Job, JobDay
from carbon_acct.db.rows import table_of
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.queries import jobs
from carbon_acct.queries.job_filter import SLURM_COLUMNS, Filters
from carbon_acct.queries.job_sums import NO_SUMS, JobSums, total
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.sums.job_day import METHODS, SUMMED, WEIGHTS
from carbon_acct.sync.jobs import record_jobs
from carbon_acct.window import Window

COUNTED = [name for name in JobSums._fields if name in SUMMED]
amounts = st.none() | st.integers(0, 2**62)
parts = st.builds(
    lambda values, methods, weights, simulated, sources: NO_SUMS._replace(
        **values, **methods, **weights, simulated=simulated, sources=",".join(map(str, sorted(sources)))
    ),
    st.fixed_dictionaries(dict.fromkeys(COUNTED, amounts)),
    st.fixed_dictionaries(dict.fromkeys(METHODS, st.sampled_from((None, "counter", "missing", "modelled", "shared")))),
    st.fixed_dictionaries(dict.fromkeys(WEIGHTS, st.integers(0, 2**40).map(float))),
    st.booleans(),
    st.sets(st.integers(1, 5), min_size=1),
)


@given(st.lists(parts, min_size=1, max_size=5), st.randoms())
def test_parts_add_up_in_any_order(many: list[JobSums], random: Any) -> None:
    """Each amount is the sum of what is known of it, and unknown where none is; the order does not matter."""
    found = total(many)
    for name in COUNTED:
        known = [value for value in (getattr(part, name) for part in many) if value is not None]
        assert getattr(found, name) == (sum(known) if known else None)
    shuffled = list(many)
    random.shuffle(shuffled)
    assert total(shuffled) == found
    assert total([total(many[:1]), *many[1:]]) == found


def test_every_figure_is_in_its_own_place(tmp_path: Path) -> None:
    """A job whose columns are all different comes out with each under its own name; what Slurm says comes first."""
    names = [field.name for field in fields(jobs.JobRecord)]
    assert tuple(names[: len(SLURM_COLUMNS)]) == SLURM_COLUMNS
    site = new_site(tmp_path)
    day: dict[str, Any] = {name: 1000 + at for at, name in enumerate(SUMMED)} | dict.fromkeys(METHODS, "counter")
    day |= {f"{c}_{kind}": 9000 for c in ("cpu", "dram", "gpu", "other") for kind in ("metered_us", "alloc_us")}
    used = day["energy_uj"] + day["estimated_uj"]
    day |= {"simulated": False, "sources": "1", "g_per_kwh_weight": 400.0 * used, "pue_weight": 1.5 * used}
    job = {
        name: 500 + at if Job.__table__.columns[name].type.python_type is int else f"{name}!"
        for at, name in enumerate(SLURM_COLUMNS)
        if name != "cluster"
    }
    with site.database.write() as session:
        session.add(Cluster(id=1, name="c", polled_until=None))
        session.add(FactorSource(id=1, zone="Z", provider="p", text="T", scope="lifecycle", purpose="location"))
        session.flush()
        rest = {"id": 1, "cluster_id": 1, "leader_id": 1, "unmetered_us": 0, "unmetered_nodes": 0}
        session.execute(insert(table_of(Job)), [job | rest])
        session.execute(insert(table_of(JobDay)), [day | {"job_id": 1, "day": 0}])
    with site.database.read() as session:
        (record,) = list_jobs(session, Filters(EVERYTHING))
    static = sum(day[f"{c}_static_uj"] for c in ("cpu", "dram", "gpu", "other"))
    expected = {name: day[name] for name in names if name in SUMMED} | job
    expected |= {"cluster": "c", "carbon_market_ug": day["market_ug"], "static_uj": static, "pue": 1.5}
    expected |= {"intensity_g_per_kwh": 400.0, "intensity_source": "T", "zone": "Z", "simulated": False}
    expected |= {"coverage": record.coverage, "quality": record.quality, "notes": record.notes}
    assert vars(record) == expected
    site.database.close()


def test_a_window_inside_a_slot_has_whose_time_is_in_it(tmp_path: Path) -> None:
    """With -T, of the jobs of one slot those are listed that ran in the window; their parts add up to the slot's."""
    site = new_site(tmp_path)
    known = [
        job(
            job_id_raw=n,
            job_id=str(n),
            submit=SLOT,
            eligible=SLOT + n * 100,
            start=SLOT + n * 100,
            end=SLOT + n * 100 + 60,
        )
        for n in range(1, 6)
    ]
    with site.database.write() as session:
        record_jobs(session, known, site.terms)
        for n in range(1, 6):
            times = {"opened": SLOT + n * 100, "run": f"start:{SLOT + n * 100}", "job_id": n}
            rows = [ledger(**times, closed=SLOT + n * 100 + 60), job_slot(slot=SLOT, **times)]
            store_segment(session, parse_segment(segment(rows, sequence=n), NOW), site.terms, NOW)

    def listed(start: int, end: int) -> dict[str, int | None]:
        asked = Filters(EVERYTHING, window=Window(SLOT + start, SLOT + end), truncate=True)
        with site.database.read() as session:
            return {found.job_id: found.energy_uj for found in list_jobs(session, asked)}

    assert listed(210, 330) == {"2": 1100 - 1100 * 10 // 60, "3": 1100 * 30 // 60}
    assert listed(370, 390) == {}
    assert sum(uj or 0 for cut in (0, 333) for uj in listed(cut, 333 if not cut else 900).values()) == 5 * 1100


def test_tasks_stand_in_order(tmp_path: Path) -> None:
    """The last task of an array has the array's number as JobIDRaw, and still stands last; components by their offset."""
    site = new_site(tmp_path)
    ids = {12: "12_3", 13: "12_1", 14: "14", 15: "12_2", 16: "12_10", 20: "20+0", 21: "20+1"}
    with site.database.write() as session:
        record_jobs(session, [job(job_id_raw=raw, job_id=text) for raw, text in ids.items()], site.terms)
    with site.database.read() as session:
        found = [row.job_id for row in list_jobs(session, Filters(EVERYTHING))]

    assert found == ["12_1", "12_2", "12_3", "12_10", "14", "20+0", "20+1"]
