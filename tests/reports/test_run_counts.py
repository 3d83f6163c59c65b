# SPDX-License-Identifier: MIT
"""What the database counts of a month is what one would count going over its runs one by one."""

from __future__ import annotations

import json
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exists, insert, select

from accounting.samples import configure
from carbon_acct.db.models import Association, Cluster, FactorSource, Job, JobDay
from carbon_acct.db.rows import table_of
from carbon_acct.queries.quality import Verdict
from carbon_acct.site import open_site
from carbon_collector import settings
from carbon_collector.meters.base import COMPONENTS
from carbon_reports import facts, held, run_counts, runs
from carbon_reports.period import month_of
from carbon_reports.run_counts import Tally
from carbon_reports.scope import Scope
from carbon_reports.write import Wanted, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from accounting.db.fixtures import Backend

DAY_S = 86_400
START, DAYS = 19_000 * DAY_S, 5
SCOPE = Scope(START, START + DAYS * DAY_S, START + (DAYS + 1) * DAY_S)
JOBS, ASSOCIATIONS, MOST = 300, 4, 5
TRES = (
    None,
    "",
    "cpu=4,mem=4G",
    "billing=4,cpu=4,gres/gpu=2,gres/gpu:a100=2",
    "cpu=1,gres/gpu=0",
    "gres/gpu=11,node=3",
)


def a_job(random: Random, key: int) -> dict[str, Any]:
    """A run that may lie before, in or after the month, or across its borders; that waits, runs on, or has no nodes."""
    start = random.choice((None, START, START + random.randrange(-2 * DAY_S, (DAYS + 1) * DAY_S)))
    end = None if start is None else random.choice((None, start, start + random.randrange(2 * DAY_S)))
    row = {column.name: None for column in table_of(Job).columns}
    row |= {"id": key, "cluster_id": 1, "job_id_raw": key, "job_id": str(key), "leader_id": key, "name": "x"}
    row |= {"state": random.choice(("COMPLETED", "RESIZED")), "submit": START, "start": start, "end": end}
    row |= {"nnodes": random.choice((None, 0, 1, 3)), "association_id": random.randint(1, ASSOCIATIONS)}
    row |= {"ncpus": random.choice((None, 1, 64)), "alloc_tres": random.choice(TRES)}
    return row | {"unmetered_us": random.choice((0, 0, 10**9)), "unmetered_nodes": random.choice((0, 0, 0, 1))}


def a_day(random: Random, job: int, day: int) -> dict[str, Any]:
    """A day of a run; most of them are of the kinds that the database can judge."""
    row: dict[str, Any] = {column.name: None for column in table_of(JobDay).columns}
    row |= {"job_id": job, "day": day, "sources": "1", "simulated": random.random() < 0.2}
    row |= {"g_per_kwh_weight": 1.0, "pue_weight": 1.0}
    for c in COMPONENTS:
        method = random.choice((None, "counter", "counter", "integrated", "missing", "modelled", "shared"))
        whole = random.random() < 0.8
        row[f"{c}_method"] = method
        if method is not None:
            row[f"{c}_alloc_us"] = 10**9 if whole else random.choice((0, 10**9))
            row[f"{c}_metered_us"] = (
                10**9 if whole and method in ("counter", "integrated") else random.choice((0, 10**8))
            )
        if method in ("counter", "integrated") and (whole or random.random() < 0.5):
            row[f"{c}_uj"] = random.choice((0, random.randrange(2**60)))
    row["estimated_uj"] = random.choice((None, random.randrange(2**60)))
    known = [row[f"{c}_uj"] for c in COMPONENTS if row[f"{c}_uj"] is not None]
    row["energy_uj"] = sum(known) if known else None
    if known or row["estimated_uj"] is not None:
        row["carbon_ug"] = random.choice((None, random.randrange(2**60)))
    return row


def filled(session: Any, random: Random) -> None:
    """A month of all of them."""
    session.add(Cluster(id=1, name="c", polled_until=None))
    session.add(FactorSource(id=1, zone="Z", provider="p", text="T", scope="lifecycle", purpose="location"))
    session.flush()
    session.add_all(Association(id=at, key=str(at), cluster_id=1) for at in range(1, ASSOCIATIONS + 1))
    session.flush()
    session.execute(insert(table_of(Job)), [a_job(random, key) for key in range(1, JOBS + 1)])
    days = [
        a_day(random, key, START + day * DAY_S)
        for key in range(1, JOBS + 1)
        if random.random() < 0.8
        for day in random.sample(range(-1, DAYS + 1), random.choice((1, 1, 2, 3)))
    ]
    session.execute(insert(table_of(JobDay)), days)


@pytest.mark.parametrize("seed", range(4))
def test_counted_in_the_database_as_one_by_one(backend: Backend, seed: int) -> None:
    """Runs, their quality, energy, node-time and coverage, and those with the most energy, for each association."""
    with backend.site() as site:
        with site.database.write() as session:
            filled(session, Random(seed))
        with site.database.read() as session:
            every = list(runs.read(session, run_counts.all_runs(session, SCOPE), SCOPE))
            tallies, had = run_counts.tallies(session, SCOPE)
            alone = held.held(session, SCOPE)
            jobs = {row.id: row for row in session.execute(select(Job.id, Job.ncpus, Job.unmetered_nodes))}
            silent, without = run_counts.silent(session, SCOPE, MOST)
            greatest = run_counts.greatest(session, SCOPE, MOST)
    expected: dict[int, Tally] = defaultdict(Tally)
    for run in every:
        verdict = Verdict(run.record["coverage"], run.record["quality"], ())
        node_s = (run.record["elapsed_s"] or 0) * (run.record["nnodes"] or 1)
        expected[run.association].count(verdict, 1, run.used_uj, node_s)
    assert len(every) > JOBS / 2
    for key, whole in expected.items():
        parts = [found[key] for found in (tallies, silent) if key in found]
        assert sum((part.runs for part in parts), start=type(whole.runs)()) == whole.runs
        assert sum((part.used_uj for part in parts), start=type(whole.used_uj)()) == whole.used_uj
        assert sum(part.node_s for part in parts) == whole.node_s
        assert sum(part.covered for part in parts) == pytest.approx(whole.covered)
        ranked = sorted((-((run.used_uj or 0) // 1000), run.id) for run in every if run.association == key)
        found = sorted((-run.used_mj, run.id) for run in (*greatest, *without) if run.association == key)
        assert [mj for mj, _ in found[:MOST]] == pytest.approx([mj for mj, _ in ranked[:MOST]], abs=DAYS)
    assert tallies.keys() | silent.keys() == expected.keys()
    assert had == alone == held_one_by_one(every, jobs)


def held_one_by_one(every: list[runs.Run], jobs: dict[int, Any]) -> held.Held:
    """What the runs with energy held, and their energy and carbon."""
    found = held.Held()
    for run in every:
        if run.used_uj is None:
            continue
        seconds, record = run.record["elapsed_s"] or 0, run.record
        amounts = run.used_uj, record["carbon_ug"] or 0
        gpus = [int(word.partition("=")[2]) for word in (record["alloc_tres"] or "").split(",") if "gres/gpu=" in word]
        found.nodes.add(seconds * (record["nnodes"] or 1), *amounts)
        if any(gpus):
            found.gpus.add(seconds * gpus[0], *amounts)
        else:
            found.cores.add(seconds * (jobs[run.id].ncpus or 0), *amounts)
        found.silent += jobs[run.id].unmetered_nodes > 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("new_owner", [True, False])
def test_what_comes_meanwhile_is_in_no_part_of_the_report(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_owner: bool
) -> None:
    """A run of somebody new, or the first rows of one, stored while a month is read: sums, lists and files agree."""
    real, random, arrived = facts._associations, Random(9), []
    with backend.fresh() as url:
        config = settings.load(str(configure(tmp_path, aggregator_database=url, site_timezone="UTC")))
        site = open_site(config)
        with site.database.write() as session:
            filled(session, random)

        def then_more_comes(session: Any) -> Any:
            found = real(session)
            if not arrived:
                arrived.append(True)
                with site.database.write() as other:
                    more(other, random, new_owner)
            return found

        monkeypatch.setattr(facts, "_associations", then_more_comes)
        wanted = Wanted(("html", "csv", "json"), lists=True)
        output = tmp_path / "reports"
        write_report(config, month_of("2022-01", "UTC", SCOPE.now), output, wanted, SCOPE.now)
        site.database.close()
    assert arrived
    report = json.loads((output / "2022-01" / "report.json").read_text())
    assert len(report["jobs"]) == report["total"]["jobs"] == sum(report["total"]["qualities"].values())
    for path in set(output.rglob("*.json")) - set(output.glob("*/figures.json")):
        content = json.loads(path.read_text())
        assert len(content["jobs"]) == content["total"]["jobs"]
    for name, column in (("users", "owner"), ("accounts", "project")):
        assert sum(share["total"]["jobs"] for share in report[name]) == report["total"]["jobs"], column


def more(session: Any, random: Random, new_owner: bool) -> None:
    """What comes meanwhile."""
    new = {"id": 99, "key": "99", "cluster_id": 1, "user": "new", "account": "new"}
    if new_owner:
        session.add(Association(**new))
        session.flush()
        job = a_job(random, JOBS + 1) | {"start": START, "end": START + 60, "association_id": 99, "user": "new"}
        session.execute(insert(table_of(Job)), [job])
    else:
        silent = select(Job.id).where(Job.start < SCOPE.end, ~exists().where(JobDay.job_id == Job.id)).limit(1)
        session.execute(insert(table_of(JobDay)), [a_day(random, session.scalar(silent), START)])
