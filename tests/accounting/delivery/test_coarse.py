# SPDX-License-Identifier: MIT
"""What a node with a full spool sends: rows of several slots are stored slot by slot, and dropped_total are told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from accounting.delivery.test_store import deliver, only, tell
from accounting.samples import JOB, MINUTE_US, NOW, SLOT, job_slot, ledger, node_share, node_slot, segment, share
from carbon_acct.client import status
from carbon_acct.client.units import joules
from carbon_acct.delivery.records import JobSlotRecord
from carbon_acct.delivery.segment import MAX_ROWS, parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.queries import totals
from carbon_acct.queries.nodes import DroppedTotal, Loss, dropped_total
from carbon_acct.site import Site
from collector.history import KIB, START, live_of

DAY = SLOT // 86400 * 86400
LATE = NOW + 200_000
MAYBE = st.one_of(st.none(), st.integers(0, 2**40))


def dropped(revision: int, rows: int, **energy_uj: int) -> dict[str, Any]:
    """A record of what was lost so far."""
    return {
        "type": "dropped",
        "revision": revision,
        "rows": rows,
        "since": SLOT,
        "until": SLOT + 900,
        "energy_uj": energy_uj,
    }


def take(site: Site, *rows: Any, sequence: int = 1, **header: Any) -> list[str]:
    """Deliver records; returns why some were refused."""
    with site.database.write() as session:
        found = parse_segment(segment(list(rows), sequence=sequence, **header), LATE)
        return [line.reason for line in store_segment(session, found, site.terms, LATE).refused]


@given(MAYBE, MAYBE, st.integers(0, 10**9), st.integers(1, 96), st.booleans())
def test_a_merged_row_is_as_many_rows(
    energy_uj: int | None, cpu_us: int | None, alloc_us: int, slots: int, counted: bool
) -> None:
    """Every figure is spread evenly, its sum is the same, what is unknown is so everywhere, and each row is good by itself."""
    metered_us = min(alloc_us, 900) if energy_uj is not None else 0
    component = share(energy_uj, metered_us=metered_us) if energy_uj is None or counted else share(energy_uj)
    row = job_slot({"cpu": component}, slot=DAY, slots=slots, alloc_us=alloc_us, cpu_us=cpu_us)
    parsed = parse_segment(segment([row]), 2**39)
    if parsed.refused:
        assert "more than" in parsed.refused[0].reason
        return
    rows = [r for r in parsed.records if isinstance(r, JobSlotRecord)]
    energies = [r.components["cpu"].energy_uj for r in rows]

    assert parsed.accepted == 1
    assert [r.slot for r in rows] == [DAY + 900 * i for i in range(slots)]
    assert {r.slots for r in rows} == {1}
    assert sum(r.alloc_us for r in rows) == alloc_us
    assert ([r.cpu_us for r in rows] == [None] * slots) == (cpu_us is None)
    assert sum(r.cpu_us or 0 for r in rows) == (cpu_us or 0)
    assert (energies == [None] * slots) == (energy_uj is None)
    assert sum(e or 0 for e in energies) == (energy_uj or 0)
    assert max(e or 0 for e in energies) - min(e or 0 for e in energies) <= 1
    for r in rows:
        assert JobSlotRecord.model_validate_json(r.model_dump_json()) == r


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"slots": 0}, "slots: Input should be greater than or equal to 1"),
        ({"slots": 97}, "slots: Input should be less than or equal to 96"),
        ({"slots": True}, "slots: Input should be a valid integer"),
        ({"slot": DAY + 900, "slots": 96}, "its slots lie in two days of UTC"),
        ({"slots": 2, "alloc_us": 3_600_000_001}, "alloc_us is longer than its slots"),
        (
            {"slots": 2, "components": {"cpu": share(1, metered_us=3_600_000_001)}},
            "components.cpu.metered_us is longer than its slots",
        ),
        ({"slot": LATE // 900 * 900, "slots": 12}, "slot is in the future"),
    ],
)
def test_a_merged_row_that_cannot_be(site: Site, changes: dict[str, Any], reason: str) -> None:
    """Refused by number; the others are taken."""
    assert take(site, job_slot(**{"slot": DAY, **changes}), job_slot(slot=DAY + 900 * 50)) == [reason]


def test_rows_that_overlap_in_one_segment(site: Site) -> None:
    """The same slot of a job twice is once too often, however it is said."""
    assert take(site, job_slot(slot=DAY, slots=4), job_slot(slot=DAY + 2700)) == [
        "a second record with the same key in one segment"
    ]


@pytest.mark.slow
def test_a_segment_of_too_many_slots() -> None:
    """A few megabytes do not become gigabytes in the aggregator: what is beyond is refused, line by line."""
    rows = [job_slot(job_id=n, slot=DAY, slots=96) for n in range(1, MAX_ROWS // 96 + 3)]
    parsed = parse_segment(segment(rows), 2**39)

    assert len(parsed.records) <= MAX_ROWS
    assert [line.line for line in parsed.refused] == [len(rows), len(rows) + 1]


def test_merged_rows_replace_and_have_emissions(site: Site) -> None:
    """Slot by slot by revision, whatever comes first; the sum, the conservation and the factor are those of the merged row."""
    tell(site, JOB)
    single = [job_slot({"cpu": share(100 * n)}, slot=SLOT + 900 * n, revision=n) for n in (1, 2, 3)]
    merged = job_slot({"cpu": share(601)}, slot=SLOT + 900, slots=3, revision=9, alloc_us=3 * MINUTE_US)
    parts = (201, 200, 200)
    nodes = [
        node_slot({"cpu": node_share(uj + 7, 7, 0)}, slot=SLOT + 900 * n, revision=9) for n, uj in enumerate(parts, 1)
    ]
    take(site, single[0])
    take(site, ledger(), merged, *nodes, sequence=2)
    take(site, single[1], single[2], sequence=3)
    with site.database.read() as session:
        rows = session.execute(text("SELECT slot, cpu_uj, revision FROM node_job_slot ORDER BY slot")).all()
        stored = session.execute(text("SELECT slot, cpu_uj, carbon_ug FROM job_slot ORDER BY slot")).all()
        balance = totals.conservation(session).components["cpu"]

    assert rows == [(SLOT + 900 * n, uj, 9) for n, uj in enumerate(parts, 1)]
    assert [(slot, uj) for slot, uj, _ in stored] == [(slot, uj) for slot, uj, _ in rows]
    assert all(ug is not None for *_, ug in stored)
    assert only(site).cpu_uj == 601
    assert (balance.metered_uj, balance.jobs_uj, balance.difference_uj) == (622, 601, 0)


def test_losses_are_told(site: Site) -> None:
    """A node's total so far, replaced by a later one only; two streams and two nodes add up; the status has a line of it."""
    take(site, dropped(5, 10, cpu=1000, dram=5))
    take(site, dropped(4, 8, cpu=900), sequence=2)
    take(site, dropped(5, 1, cpu=3), sequence=3, stream="0badcafe")
    with site.database.read() as session:
        assert dropped_total(session, NOW) == DroppedTotal(1, Loss(11, 1008), Loss())
    take(site, dropped(6, 20, cpu=10**12, gpu=1), sequence=4)
    take(site, dropped(1, 2, cpu=10**12), sequence=1, node="n2")
    with site.database.read() as session:
        assert dropped_total(session, NOW) == DroppedTotal(2, Loss(23, 2 * 10**12 + 4), Loss())
    assert take(site, dropped(7, 2**63 - 1, cpu=1), sequence=6) == [
        f"rows: Input should be less than or equal to {2**40}"
    ]
    assert take(site, {**dropped(7, 1), "energy_uj": {"cpu": -1}}, sequence=5) == [
        "energy_uj.cpu: Input should be greater than or equal to 0"
    ]


def test_the_status_tells_losses_only_where_there_are_any(site: Site) -> None:
    """A line with the records, the nodes and the joules."""
    answer = {
        "version": "1",
        "zone": "DE",
        "database": "x",
        "slurm": {"cluster": "c", "source": "s", "polled_at": None, "error": "", "behind_s": 0},
        "grid": [{"zone": "DE", "text": "RTE", "fetched_at": 5, "error": "out of order"}],
        "jobs": 1,
        "nodes": 1,
        "segments": 1,
        "unmatched": 0,
        "simulated": False,
        "conservation": {},
        "last_slot": None,
        "silent": {"never": 0, "never_nodes": [], "day": 0, "day_nodes": []},
        "dropped": {
            "nodes": 2,
            "records": 23,
            "energy_uj": "1500000",
            "apart_records": 4,
            "apart_energy_uj": str(37 * 10**18),
        },
    }
    none = {
        **answer,
        "dropped": {"nodes": 0, "records": 0, "energy_uj": "0", "apart_records": 0, "apart_energy_uj": "0"},
    }

    assert "dropped:   23 records of 2 nodes whose spools were full, 1.500000 J" in list(status.lines(answer))
    claimed = f"apart:     4 dropped records, {joules(37 * 10**18)} J: no node can have lost that in that time"
    assert claimed in list(status.lines(answer))
    assert not any("dropped" in line for line in status.lines(none))
    late = {**answer, "slurm": {"cluster": "c", "source": "s", "polled_at": None, "error": "", "behind_s": 129600}}
    assert [line for line in status.lines(late) if "last 1.5 days have not been queried yet" in line]
    assert not any("not been queried" in line for line in status.lines(answer))
    assert deliver(site, segment([ledger()])).accepted == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_the_database_of_a_long_outage_adds_up(site: Site, tmp_path: Path, seed: int) -> None:
    """What a small spool is after two days, originals that had been stored before and came late: the joules are the truth."""
    node = live_of(3, 192, tmp_path, 96 * KIB)
    chance = random.Random(seed)
    bodies = node.segments() * 2 + chance.sample(node.sealed, 40)
    chance.shuffle(bodies)
    for body in bodies:
        with site.database.write() as session:
            assert not store_segment(session, parse_segment(body, 2**33), site.terms, 2**33).refused
    with site.database.read() as session:
        found = totals.conservation(session).components
        windows = [totals.conservation(session, START + at, START + at + 900) for at in range(0, 192 * 900, 900)]
        jobs = session.execute(
            text("SELECT job_id, SUM(cpu_uj) FROM node_job_slot JOIN ledger ON id = ledger_id GROUP BY 1")
        )

        assert {job: int(uj) for job, uj in jobs} == {job: uj for (job, name), uj in node.had.items() if name == "cpu"}
    assert node.lost()["rows"] == 0
    assert any(b'"slots":' in body for body in bodies)
    assert {name: balance.metered_uj for name, balance in found.items()} == node.counted
    assert {b.difference_uj for window in windows for b in window.components.values()} == {0}
