# SPDX-License-Identifier: MIT
"""A month of very many short jobs, put straight into the tables of an embedded database: for what has to go through all of it.

The rows are those that the product would have made: emissions by the yearly factor, slots of jobs, their days, the roll-ups.
"""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.db.associations import association_id
from carbon_acct.db.models import Cluster
from carbon_acct.factors.arithmetic import emissions
from carbon_acct.sums import day_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carbon_acct.factors.arithmetic import Factors
    from carbon_acct.site import Site

SLOT_S = 900
PEOPLE = 300
MEDIAN_S, SPREAD, LONGEST_S = 900.0, 1.5, 86_400
BATCH = 20_000
JOB = (
    "id",
    "cluster_id",
    "job_id_raw",
    "job_id",
    "leader_id",
    "name",
    "state",
    "submit",
    "start",
    "end",
    "partition",
    "association_id",
    "unmetered_us",
    "unmetered_nodes",
)
SLOT = (
    *(
        "job_id",
        "slot",
        "factor_id",
        "cpu_us",
        "cpu_uj",
        "cpu_static_uj",
        "cpu_metered_us",
        "cpu_alloc_us",
        "cpu_method",
    ),
    *("dram_uj", "dram_static_uj", "dram_metered_us", "dram_alloc_us", "dram_method"),
    *("energy_uj", "facility_uj", "carbon_ug", "simulated"),
)


class Span(NamedTuple):
    """A job: its id, first second, and the second after its last."""

    job: int
    start: int
    end: int


def fill(site: Site, file: Path, count: int, month: tuple[int, int], done: Callable[[int], object]) -> int:
    """Put `count` jobs into the month; how many slots they have. `done` is told how many jobs have been put since."""
    terms = _factors(site, month)
    slots = 0
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA synchronous = OFF")
    spans = _spans(count, *month)
    while part := [span for _, span in zip(range(BATCH), spans, strict=False)]:
        connection.executemany(_insert("job", JOB), map(_job, part))
        rows = [row for span in part for row in _slots(span, terms)]
        connection.executemany(_insert("job_slot", SLOT), rows)
        slots += len(rows)
        done(len(part))
    for statement in _sums(site, month):
        connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return slots


def _factors(site: Site, month: tuple[int, int]) -> dict[int, Factors]:
    with site.database.write() as session:
        session.add(Cluster(id=1, name="demo"))
        associations: dict[str, int] = {}
        for number in range(PEOPLE):
            who = {"uid": number, "user": f"u{number}", "account": f"a{number % 40}", "partition": "p", "qos": "normal"}
            association_id(session, associations, cluster_id=1, **who)
        found = site.terms.factors(session, {(site.terms.home, slot) for slot in range(*month, SLOT_S)})
    return {slot: factors for (_, slot), factors in found.items()}


def _spans(count: int, start: int, end: int) -> Iterator[Span]:
    """By start, as Slurm numbers them."""
    chance = random.Random(1)  # noqa: S311 - a schedule
    lengths = [max(5, min(round(chance.lognormvariate(0, SPREAD) * MEDIAN_S), LONGEST_S)) for _ in range(count)]
    starts = sorted(chance.randrange(start, end - LONGEST_S) for _ in range(count))
    for job, (at, seconds) in enumerate(zip(starts, lengths, strict=True), 1):
        yield Span(job, at, at + seconds)


def _job(span: Span) -> tuple[object, ...]:
    job, start, end = span
    who = 1 + job * 7919 % PEOPLE
    return (job, 1, job, str(job), job, "job", "COMPLETED", start, start, end, "p", who, 0, 0)


def _slots(span: Span, terms: dict[int, Factors]) -> Iterator[tuple[object, ...]]:
    watts = 40 + span.job * 104_729 % 600
    for slot in range(span.start - span.start % SLOT_S, span.end, SLOT_S):
        here_us = (min(span.end, slot + SLOT_S) - max(span.start, slot)) * 10**6
        cpu, dram = watts * here_us + span.job % 997, watts * here_us // 9
        cost = emissions(cpu + dram, terms[slot])
        meter = (here_us, here_us, "counter")
        amounts = (cpu + dram, cost.facility_uj, cost.carbon_ug)
        yield (span.job, slot, terms[slot].id, here_us, cpu, cpu // 3, *meter, dram, dram // 2, *meter, *amounts, 0)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own names


def _sums(site: Site, month: tuple[int, int]) -> Iterator[str]:
    """Days of jobs and roll-ups, by statements of the benchmark's own."""
    methods = ", ".join(f"max({name})" for name in day_sum.METHODS)
    summed = ", ".join(f"sum({name})" for name in day_sum.SUMMED)
    used = "coalesce(energy_uj, 0) + coalesce(estimated_uj, 0)"
    names = ", ".join((*day_sum.SUMMED, *day_sum.METHODS))
    day = month[0]
    while day < month[1]:
        after = site.terms.days.after(day)
        yield (
            f"INSERT INTO job_day (job_id, day, {names}, simulated, sources, g_per_kwh_weight, pue_weight)"  # noqa: S608
            f" SELECT job_id, {day}, {summed}, {methods}, max(simulated), cast(min(p.source_id) AS text),"
            f" sum(({used}) * p.g_per_kwh_float), sum(({used}) * p.pue_float)"
            f" FROM job_slot JOIN slot_factor p ON p.id = factor_id WHERE job_slot.slot >= {day} AND job_slot.slot < {after}"
            " GROUP BY job_id"
        )
        day = after
    rolled = ", ".join(f"{name}, {name}_jobs" for name in day_sum.ROLLED)
    sums = ", ".join(f"coalesce(sum(d.{name}), 0), count(d.{name})" for name in day_sum.ROLLED)
    yield (
        f"INSERT INTO day_sum (association_id, day, state, jobs, first_jobs, simulated_jobs, {rolled})"  # noqa: S608
        f" SELECT j.association_id, d.day, j.state, count(*), sum(d.day = f.first), sum(d.simulated), {sums}"
        " FROM job_day d JOIN job j ON j.id = d.job_id"
        " JOIN (SELECT job_id, min(day) AS first FROM job_day GROUP BY job_id) f ON f.job_id = d.job_id"
        " GROUP BY j.association_id, d.day, j.state"
    )
