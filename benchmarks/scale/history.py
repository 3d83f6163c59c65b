# SPDX-License-Identifier: MIT
"""A site's year, put straight into the tables of an embedded database: the last days in detail, the rest as days of jobs.

Jobs come evenly, 500 users in 250 accounts, each on one node for up to two hours. All rows are made by SQL, and are
those that the product would have made: its own rebuild gives the same sums. Energies are whole multiples of 360 J and
the PUE is 1, so that two decimals of grams a kilowatt-hour come out in whole micrograms without rounding.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from carbon_acct.db import meta
from carbon_acct.db.associations import association_id
from carbon_acct.db.models import Base, Cluster, Node
from carbon_acct.site import Site
from carbon_acct.sums import day_sum
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import SLOT_S
from scale.nodes import CLUSTER, PARTITION

DAY_S = 86_400
END = DAY_S * 20_000
"""The site's last second: in October 2024."""

USERS, ACCOUNTS, NODES = 500, 250, 100
MAX_SLOTS = 9
STATE = "CASE WHEN j.state LIKE 'CANCELLED%' THEN 'CANCELLED' ELSE j.state END"
GRAIN_UJ = 360_000_000


@dataclass(frozen=True)
class Year:
    """How many jobs, over how many days, how many of them in detail."""

    jobs: int
    days: int = 365
    detailed: int = 31
    end: int = END

    @property
    def start(self) -> int:
        """Its first second."""
        return self.end - self.days * DAY_S

    @property
    def detail(self) -> int:
        """First second of the days in detail."""
        return self.end - min(self.detailed, self.days) * DAY_S


def fill(site: Site, file: Path, year: Year) -> None:
    """Make the rows. The database is empty; its indexes are made at the end, which takes a fraction of the time."""
    g_per_kwh = _frame(site, year)
    connection = sqlite3.connect(file)
    for setting in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {setting}")
    indexes = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql <> ''")]
    for table in Base.metadata.sorted_tables:
        for index in table.indexes:
            connection.execute(f"DROP INDEX {index.name}")
    for statement in (*_rows(year, g_per_kwh), *indexes, "ANALYZE"):
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _frame(site: Site, year: Year) -> Fraction:
    """What there are few of: cluster, nodes, associations, terms. The grams that were applied to the year's jobs."""
    with site.database.write() as session:
        session.add(Cluster(id=1, name=CLUSTER))
        session.flush()
        session.add_all(Node(id=1 + number, cluster_id=1, name=f"n{number}") for number in range(NODES))
        associations: dict[str, int] = {}
        for number in range(USERS):
            who = {"uid": 1000 + number, "user": f"u{number}", "account": f"a{number % ACCOUNTS}"}
            association_id(session, associations, cluster_id=1, **who, partition=PARTITION, qos="normal")
        slots = range(year.detail - MAX_SLOTS * SLOT_S, year.end + MAX_SLOTS * SLOT_S, SLOT_S)
        terms = site.terms.factors(session, {(site.terms.home, slot) for slot in slots})
        if year.detailed < year.days:
            meta.put(session, meta.SLOTS_FROM, str(year.detail))
            meta.put(session, meta.DELIVERED_FROM, str(year.detail))
    (g_per_kwh,) = {Fraction(factors.g_per_kwh) for factors in terms.values()}
    return g_per_kwh


def _rows(year: Year, g_per_kwh: Fraction) -> Iterator[str]:
    yield _jobs(year)
    detailed = f"job.start >= {year.detail}"
    yield f"""
        INSERT INTO ledger (id, cluster_id, node_id, stream, job_id, run, revision, opened, closed, uid, user, account,
            partition, restart_count, cpus, node_cpus, gpus, source, matched_id)
        SELECT id, 1, 1 + id % {NODES}, '00c0ffee', job_id_raw, 'start:' || start, 2, start, "end", uid, user, account,
            partition, 0, 1, 64, '[]', 'prolog', id
        FROM job WHERE {detailed}"""
    seconds = f'(min(job."end", slot + {SLOT_S}) - max(job.start, slot))'
    yield f"""
        INSERT INTO node_job_slot (ledger_id, slot, revision, alloc_us, cpu_us, simulated, cpu_uj, cpu_static_uj,
            cpu_metered_us, dram_uj, dram_static_uj, dram_metered_us, cpu_method, dram_method)
        SELECT id, slot, 2, {seconds} * 1000000, {seconds} * 900000, 0,
            {seconds} * (1 + id % 7) * {GRAIN_UJ}, {seconds} * {GRAIN_UJ} / 4, {seconds} * 1000000,
            {seconds} * {GRAIN_UJ}, {seconds} * {GRAIN_UJ} / 2, {seconds} * 1000000, 'counter', 'counter'
        FROM (SELECT *, start - start % {SLOT_S} + k * {SLOT_S} AS slot FROM job CROSS JOIN ({_numbers(MAX_SLOTS)})
            WHERE {detailed}) AS job WHERE slot < job."end\""""
    yield f"""
        INSERT INTO job_slot (job_id, slot, factor_id, cpu_us, simulated, cpu_uj, cpu_static_uj, cpu_metered_us,
            cpu_alloc_us, cpu_method, dram_uj, dram_static_uj, dram_metered_us, dram_alloc_us, dram_method,
            energy_uj, facility_uj, carbon_ug, core_us, cpu_unused_uj)
        SELECT ledger_id, s.slot, p.id, cpu_us, simulated, cpu_uj, cpu_static_uj, cpu_metered_us, alloc_us, cpu_method,
            dram_uj, dram_static_uj, dram_metered_us, alloc_us, dram_method,
            cpu_uj + dram_uj, cpu_uj + dram_uj, {_grams("cpu_uj + dram_uj", g_per_kwh)}, alloc_us, 0
        FROM node_job_slot s JOIN slot_factor p ON p.slot = s.slot ORDER BY ledger_id, s.slot"""
    yield from _site_rows()
    yield from _days(year, g_per_kwh)


def _numbers(count: int) -> str:
    return " UNION ALL ".join(f"SELECT {number} AS k" for number in range(count))


def _grams(energy_uj: str, g_per_kwh: Fraction) -> str:
    """Micrograms; whole, see above."""
    over, under = (g_per_kwh * 10**6 * GRAIN_UJ / 3_600_000_000_000).as_integer_ratio()
    if under != 1:
        raise ValueError("the zone's factor has more than two decimals")
    return f"({energy_uj}) / {GRAIN_UJ} * {over}"


def _jobs(year: Year) -> str:
    start = f"{year.start} + i * {year.days * DAY_S - 2 * 3600} / {year.jobs}"
    return f"""
        INSERT INTO job (id, cluster_id, job_id_raw, job_id, leader_id, name, user, uid, account, partition, qos, state,
            exit_code, restarts, submit, eligible, start, "end", elapsed_s, nnodes, ncpus, alloc_tres, nodelist,
            unmetered_us, unmetered_nodes, association_id)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {year.jobs}),
            j AS (SELECT i, i * 7919 % {USERS} AS u, {start} AS start, 30 + i * 104729 % 7000 AS seconds FROM n)
        SELECT i, 1, i, i, i, 'train-' || (i % 1000), 'u' || u, 1000 + u, 'a' || (u % {ACCOUNTS}), '{PARTITION}', 'normal',
            CASE i / {USERS} % 20 WHEN 0 THEN 'FAILED' WHEN 1 THEN 'TIMEOUT' WHEN 2 THEN 'CANCELLED by ' || (1000 + u)
            ELSE 'COMPLETED' END, '0:0', 0, start, start, start, start + seconds, seconds, 1, 1, 'billing=1,cpu=1,mem=4G,node=1',
            'n' || (i % {NODES}), 0, 0, 1 + u FROM j"""


def _site_rows() -> Iterator[str]:
    """What the nodes' meters counted: a tenth more than the jobs, idle and system half of it each."""
    jobs = "SELECT ledger_id % {nodes} AS node, slot, sum(cpu_uj) AS cpu, sum(dram_uj) AS dram FROM node_job_slot"
    parts = ", ".join(f"{c} + {c} / 10, {c} / 10 - {c} / 20, {c} / 20, 900000000, 'counter'" for c in ("cpu", "dram"))
    names = ", ".join(
        f"{c}_{kind}" for c in ("cpu", "dram") for kind in ("uj", "idle_uj", "system_uj", "metered_us", "method")
    )
    yield f"""
        INSERT INTO node_slot (node_id, stream, slot, revision, elapsed_us, simulated, {names})
        SELECT 1 + node, '00c0ffee', slot, 2, 900000000, 0, {parts}
        FROM ({jobs.format(nodes=NODES)} GROUP BY node, slot)"""
    columns = {f"{c}_{kind}": "0" for c in COMPONENTS for kind in ("uj", "idle_uj", "system_uj", "jobs_uj", "nodes")}
    for c in ("cpu", "dram"):
        columns |= {f"{c}_{kind}": f"sum(n.{c}_{kind})" for kind in ("uj", "idle_uj", "system_uj")}
        columns |= {f"{c}_jobs_uj": f"max(j.{c})", f"{c}_nodes": "count(*)"}
    yield f"""
        INSERT INTO site_slot (cluster_id, slot, elapsed_us, simulated_nodes, {", ".join(columns)})
        SELECT 1, n.slot, sum(n.elapsed_us), 0, {", ".join(columns.values())} FROM node_slot n
        JOIN ({jobs.format(nodes=1)} GROUP BY slot) j ON j.slot = n.slot GROUP BY n.slot"""


def _days(year: Year, g_per_kwh: Fraction) -> Iterator[str]:
    """Days of jobs: in detail from their slots, else as if each job's slots were of the day that it started on."""
    names = [*day_sum.SUMMED, *day_sum.METHODS, "simulated", "sources", "g_per_kwh_weight", "pue_weight"]
    into = f"INSERT INTO job_day (job_id, day, {', '.join(names)})"
    sums = [f"sum(s.{name})" for name in day_sum.SUMMED] + [f"max(s.{name})" for name in day_sum.METHODS]
    weights = ["max(s.simulated)", "max(p.source_id)", "sum(energy_uj * g_per_kwh_float)", "sum(energy_uj * pue_float)"]
    cpu, dram = f"elapsed_s * (1 + id % 7) * {GRAIN_UJ}", f"elapsed_s * {GRAIN_UJ}"
    energy = f"({cpu} + {dram})"
    folded = dict.fromkeys(names, "NULL") | {
        "cpu_us": "elapsed_s * 900000",
        "cpu_uj": cpu,
        "cpu_static_uj": f"elapsed_s * {GRAIN_UJ} / 4",
        "dram_uj": dram,
        "dram_static_uj": f"elapsed_s * {GRAIN_UJ} / 2",
        **{f"{c}_{kind}": "elapsed_s * 1000000" for c in ("cpu", "dram") for kind in ("metered_us", "alloc_us")},
        "cpu_method": "'counter'",
        "dram_method": "'counter'",
        "energy_uj": energy,
        "facility_uj": energy,
        "carbon_ug": _grams(energy, g_per_kwh),
        "core_us": "elapsed_s * 1000000",
        "cpu_unused_uj": "0",
        "simulated": "0",
        "sources": "(SELECT max(source_id) FROM slot_factor)",
        "g_per_kwh_weight": f"{energy} * {float(g_per_kwh)}",
        "pue_weight": energy,
    }
    yield f"""{into} SELECT id, start - start % {DAY_S}, {", ".join(folded.values())} FROM job
        WHERE start < {year.detail}"""
    yield f"""{into} SELECT job_id, s.slot - s.slot % {DAY_S} AS day, {", ".join([*sums, *weights])}
        FROM job_slot s JOIN slot_factor p ON p.id = factor_id GROUP BY job_id, day"""
    rolled = ", ".join(f"{name}, {name}_jobs" for name in day_sum.ROLLED)
    totals = ", ".join(f"coalesce(sum(d.{name}), 0), count(d.{name})" for name in day_sum.ROLLED)
    yield f"""
        INSERT INTO day_sum (association_id, day, state, jobs, first_jobs, simulated_jobs, {rolled})
        SELECT j.association_id, d.day, {STATE} AS state, count(*), sum(d.day = f.first), sum(d.simulated), {totals}
        FROM job_day d JOIN job j ON j.id = d.job_id
        JOIN (SELECT job_id, min(day) AS first FROM job_day GROUP BY job_id) f ON f.job_id = d.job_id
        GROUP BY j.association_id, d.day, state"""
