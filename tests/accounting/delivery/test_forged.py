# SPDX-License-Identifier: MIT
"""Rows that a node's root forges: none counts for a job that did not run there, then, or for so long; no honest one is lost.

`pytest -s` prints the table: each kind, how many rows were tried, what became of them, and how many counted for a job.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from accounting.db.fixtures import Backend
from accounting.delivery.test_store import content, deliver, only, shown, tell
from accounting.samples import JOB, NOW, SLOT, job, job_slot, ledger, new_site, node_slot, segment, share
from carbon_acct.client import status
from carbon_acct.client.units import joules
from carbon_acct.db.models import Ledger, SiteSlot
from carbon_acct.delivery import ceilings
from carbon_acct.delivery.late import late_changes
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import Receipt, store_segment, store_segments
from carbon_acct.estimates.arithmetic import CLOCK_SLACK_S, EPILOG_SLACK_S
from carbon_acct.queries import totals
from carbon_acct.queries.nodes import DroppedTotal, Loss, dropped_total
from carbon_acct.site import Site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sums import apart, fit, rebuild
from carbon_collector.units import DAY_S

HONEST = segment([ledger(), job_slot(), node_slot()])
"""What n1 says of job 7, which ran there for a minute: 1100 uJ."""

UJ = 3 * 10**13
MUCH = {"cpu": share(UJ, metered_us=1_800_000_000)}


def forged_rows(slots: Sequence[int], node: str, streams: int = 1, job_id: int = 7) -> list[bytes]:
    """Segments of a node with rows of a job, each with as much as a row may say."""
    rows: list[Any] = [ledger(job_id=job_id)]
    rows += [job_slot(MUCH, job_id=job_id, alloc_us=1_800_000_000, slot=slot) for slot in slots]
    return [segment(rows, node=node, stream=f"0bad{n:04x}") for n in range(streams)]


class Forged(NamedTuple):
    """What a node's root says of a job of n1: its slots, its node, how often, and why that does not count."""

    slots: list[int]
    node: str
    streams: int
    reason: str


FORGED = {
    "another node": Forged([SLOT], "n3", 1, "node"),
    "many streams of another node": Forged([SLOT], "n3", 8, "node"),
    "a day after the end": Forged([SLOT + 96 * 900], "n1", 1, "time"),
    "a day before the start": Forged([SLOT - 96 * 900], "n1", 1, "time"),
    "days of slots": Forged([SLOT - 900 * n for n in range(200, 400)], "n1", 1, "time"),
    "node-time that the job did not have": Forged([SLOT + 900 * n for n in range(3, 12)], "n1", 1, "node_time"),
    "many streams of its node": Forged([SLOT + 900 * n for n in range(3, 12)], "n1", 8, "node_time"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "order", ["forged first", "honest first", pytest.param("Slurm last", marks=pytest.mark.each_kind)]
)
def test_forged_rows_count_for_nobody(backend: Backend, order: str) -> None:
    """Of every kind, and on every kind of database: the job keeps what its own node says, to the microjoule; what was
    forged is counted apart; honest rows are taken; and all sums made anew are the same.
    """
    with backend.site() as site:
        for number, kind in enumerate(FORGED):
            _forge(site, kind, order, number)
        before = content(site)
        with site.database.write() as session:
            rebuild.rebuild_all(session, site.terms)
        assert content(site) == before


def _forge(site: Site, told_as: str, order: str, number: int) -> None:
    """Deliver a job's honest row and the forged ones, from nodes of its own."""
    kind = FORGED[told_as]
    job_id, own = 100 + number, f"n1of{number}"
    node = own if kind.node == "n1" else f"{kind.node}of{number}"
    honest = segment([ledger(job_id=job_id), job_slot(job_id=job_id), node_slot()], node=own)
    bodies = forged_rows(kind.slots, node, kind.streams, job_id)
    told = job(job_id_raw=job_id, job_id=str(job_id), nodelist=own)
    before = _apart(site)
    if order != "Slurm last":
        tell(site, told)
    refused = 0
    for body in [honest, *bodies] if order == "honest first" else [*bodies, honest]:
        lines = deliver(site, body).refused
        assert body != honest or not lines
        assert {line.kind for line in lines} <= {"ceiling"}
        refused += len(lines)
    if order == "Slurm last":
        tell(site, told)
    (record,) = shown(site, jobs=[str(job_id)])
    counted_uj = (record.energy_uj or 0) - 1100
    # Its own node may say something of the time that an epilog may have taken: two rows of half an hour.
    assert counted_uj in ((0, UJ, 2 * UJ) if kind.reason == "node_time" else (0,))
    new = {reason: rows - before.get(reason, 0) for reason, rows in _apart(site).items() if rows != before.get(reason)}
    assert set(new) == {kind.reason}
    tried = len(kind.slots) * kind.streams
    assert new[kind.reason] + refused + counted_uj // UJ == tried
    outcome = f"refused {refused:3}, apart {new[kind.reason]:4}, within the slack of an epilog {counted_uj // UJ}"
    print(f"\n{told_as:<36}{tried:5} rows tried: {outcome}", end="")


def _apart(site: Site) -> dict[str, int]:
    with site.database.read() as session:
        return {one.reason: one.rows for one in apart.sums(session)}


@pytest.mark.each_kind
def test_a_job_of_forging_nodes_stays_within_64_bits(backend: Backend) -> None:
    """Where the roots of a job's own nodes all claim the most that a node may, the largest rows are kept apart before the
    job's day exceeds 64 bits. Small rows count, and the deliveries of others and Slurm's polls go on.
    """
    nodes = 560
    row = {"other": share(CEILING_ROW, metered_us=1_800_000_000, static_uj=0)}
    large = job(nodelist=f"n[1-{nodes}]", nnodes=nodes)
    bodies = [segment([ledger(), job_slot(row)], node=f"n{n}") for n in range(2, nodes + 1)]
    with backend.site() as site:
        tell(site, large, job(job_id_raw=8, job_id="8", nodelist="n1"))
        segments = [parse_segment(body, NOW) for body in [*bodies, HONEST]]
        answers = site.database.run(lambda session: store_segments(session, segments, site.terms, NOW))
        assert all(isinstance(answer, Receipt) and not answer.refused for answer in answers)
        (record,) = shown(site, jobs=["7"])
        many, rest = divmod(record.energy_uj or 0, CEILING_ROW)
        assert rest == 1100
        each = CEILING_ROW * site.terms.facility("n2", SLOT)
        assert many * each <= fit.MOST_OF_SLOT < (many + 1) * each
        assert _apart(site) == {"ceiling": nodes - 1 - many}
        tell(site, replace(large, state="FAILED"))
        assert deliver(site, segment([job_slot(job_id=8)], sequence=2)).accepted == 1
        assert 200 * fit.MOST_OF_SLOT < 2**63
        assert _apart(site) == {"ceiling": nodes - 1 - many}


@given(st.lists(st.tuples(*[st.integers(0, fit.MOST_OF_SLOT)] * 3), max_size=40))
def test_the_small_rows_count_first(figures: list[tuple[int, int, int]]) -> None:
    """Whatever rows say, those that are left add up to no more than a run may have; none is kept
    apart where all of them fit.
    """
    rows = [fit.Amount(number, *each) for number, each in enumerate(figures)]
    gone = fit.over_ceiling(rows)
    left = [row for row in rows if row.ledger not in gone]
    assert all(sum(column) <= fit.MOST_OF_SLOT for column in list(zip(*left, strict=True))[1:])
    assert bool(gone) == any(sum(column) > fit.MOST_OF_SLOT for column in list(zip(*rows, strict=True))[1:])


def test_who_says_nothing_is_still_missing(site: Site) -> None:
    """A forged row of another node does not hide that the job's own node told of nothing."""
    tell(site, JOB)
    deliver(site, forged_rows([SLOT], "n3")[0])
    record = only(site)
    assert (record.energy_uj, record.quality) == (None, "none")
    assert record.notes == ("no node reported this job",)


HONEST_RUNS: dict[str, tuple[list[SlurmJob], list[bytes]]] = {
    "a clock two hours ahead": (
        [JOB],
        [
            segment(
                [
                    ledger(opened=SLOT + 7210, closed=SLOT + 7270, run=f"start:{SLOT + 10}"),
                    job_slot(opened=SLOT + 7210, run=f"start:{SLOT + 10}", slot=SLOT + 7200),
                ]
            )
        ],
    ),
    "a clock two hours behind": (
        [JOB],
        [
            segment(
                [
                    ledger(opened=SLOT - 7190, closed=SLOT - 7130, run=f"start:{SLOT + 10}"),
                    job_slot(opened=SLOT - 7190, run=f"start:{SLOT + 10}", slot=SLOT - 7200),
                ]
            )
        ],
    ),
    "requeued": (
        [job(state="REQUEUED"), job(submit=SLOT + 100, start=SLOT + 200, end=SLOT + 260, nodelist="n2")],
        [
            HONEST,
            segment(
                [
                    ledger(run="restart:1", opened=SLOT + 200, closed=SLOT + 260),
                    job_slot(run="restart:1", opened=SLOT + 200),
                ],
                node="n2",
            ),
        ],
    ),
    "resized": (
        [
            job(state="RESIZING", end=SLOT + 40, elapsed_s=30, nodelist="n[1-2]", nnodes=2),
            job(submit=SLOT + 40, start=SLOT + 40, end=SLOT + 70, elapsed_s=30, nodelist="n1"),
        ],
        [HONEST, segment([ledger(), job_slot()], node="n2")],
    ),
    "a late epilog": (
        [JOB],
        [
            segment(
                [
                    ledger(closed=SLOT + 1870),
                    job_slot(alloc_us=890_000_000),
                    job_slot(slot=SLOT + 900, alloc_us=900_000_000),
                    job_slot(slot=SLOT + 1800, alloc_us=70_000_000),
                ]
            )
        ],
    ),
    "no node list yet": ([job(nodelist=None, state="RUNNING", end=None), job(nodelist=None)], [HONEST]),
    "a node list that cannot be read": ([job(nodelist="n[")], [HONEST]),
    "a node that was renamed": (
        [JOB, job(job_id_raw=8, job_id="8", submit=JOB.submit + 1, nodelist="m1")],
        [HONEST, segment([ledger(job_id=8), job_slot(job_id=8)], node="m1", sequence=2)],
    ),
    "many nodes": (
        [job(nodelist="n[1-9]", nnodes=9)],
        [segment([ledger(), job_slot()], node=f"n{n}") for n in range(1, 10)],
    ),
    "two streams": ([JOB], [HONEST, segment([ledger(), job_slot()], stream="00000002")]),
    "a day that ended days ago": (
        [job(start=SLOT - 86400 * 9, end=SLOT + 70)],
        [
            segment(
                [
                    ledger(opened=SLOT - 86400 * 9 + 5, closed=SLOT + 70, run=f"start:{SLOT - 86400 * 9}"),
                    *(
                        job_slot(
                            slot=SLOT - 900 * n,
                            alloc_us=900_000_000,
                            run=f"start:{SLOT - 86400 * 9}",
                            opened=SLOT - 86400 * 9 + 5,
                        )
                        for n in range(860)
                    ),
                ]
            )
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HONEST_RUNS)
@pytest.mark.parametrize("seed", range(3))
def test_honest_rows_all_count(site: Site, kind: str, seed: int) -> None:
    """Whatever a run went through, and in whatever order it is told, each honest row counts, and none is refused."""
    jobs, bodies = HONEST_RUNS[kind]
    if jobs[0] == jobs[-1] or len(jobs) == 1 or jobs[0].submit != jobs[1].submit:
        events: list[Any] = [*jobs, *bodies]
    else:  # Slurm's own order of what it says of one run
        events = [jobs[-1], *bodies]
    random.Random(seed).shuffle(events)
    for event in events:
        if isinstance(event, bytes):
            assert not deliver(site, event).refused
        else:
            tell(site, event)
    rows = sum(json.loads(line)["type"] == "job_slot" for body in bodies for line in body.splitlines())
    assert sum(record.energy_uj or 0 for record in shown(site)) == 1100 * rows
    with site.database.read() as session:
        assert apart.sums(session) == []
    print(f"\n{kind:<36}{rows:5} honest rows: refused 0, apart 0", end="")


def test_what_slurm_says_later_counts(site: Site) -> None:
    """A row that did not fit counts when Slurm's record changes so that it does, and the other way round."""
    tell(site, job(nodelist="n2"))
    deliver(site, HONEST)
    assert only(site).energy_uj is None
    tell(site, job(nodelist="n[1-2]", nnodes=2))
    assert only(site).energy_uj == 1100
    tell(site, job(nodelist="n2"))
    assert only(site).energy_uj is None


CEILING_ROW = 100_000 * 1_860_000_000
"""Most microjoules of a row's `other`."""


def test_the_ceiling_holds_over_all_streams(site: Site) -> None:
    """As many streams as a node's root likes say no more of a slot than one: the sums stay far below 64 bits, honest rows
    of others are taken, and the refusals name their lines.
    """
    tell(site, JOB, job(job_id_raw=8, job_id="8", nodelist="n2"))
    node_row = {
        "other": {
            "energy_uj": CEILING_ROW,
            "idle_uj": 0,
            "system_uj": 0,
            "metered_us": 1_800_000_000,
            "method": "counter",
        }
    }
    job_row = {"other": share(CEILING_ROW, metered_us=1_800_000_000, static_uj=0)}
    refused = 0
    for n in range(12):
        rows = [
            ledger(),
            node_slot(node_row, elapsed_us=1_800_000_000),
            job_slot(job_row, alloc_us=0),
            job_slot(job_id=9),
        ]
        receipt = deliver(site, segment(rows, stream=f"0bad{n:04x}"))
        refused += len(receipt.refused)
        assert receipt.accepted + len(receipt.refused) == 4
        assert {line.kind for line in receipt.refused} <= {"ceiling"}
        assert deliver(site, segment(rows, stream=f"0bad{n:04x}")) == receipt
    assert refused == 2 * 11
    assert not deliver(site, segment([ledger(job_id=8), job_slot(job_id=8), node_slot()], node="n2")).refused
    assert [record.energy_uj for record in shown(site, jobs=["8"])] == [1100]
    with site.database.read() as session:
        assert totals.conservation(session).components["other"].metered_uj == CEILING_ROW


@pytest.mark.each_kind
def test_sums_of_the_site_beyond_64_bits(backend: Backend) -> None:
    """Totals over slots whose sum has more than 64 bits are exact on each kind of database."""
    slots, most_uj = 4, 2**62
    row = {"other": {"energy_uj": 1, "idle_uj": 1, "system_uj": 0, "metered_us": 1_800_000_000, "method": "counter"}}
    with backend.site() as site:
        rows = [node_slot(row, slot=SLOT - 900 * at, elapsed_us=1_800_000_000) for at in range(slots)]
        deliver(site, segment(rows))
        with site.database.write() as session:  # as many rows of the most that a node may claim would take minutes
            session.execute(update(SiteSlot).values(other_uj=most_uj, other_idle_uj=most_uj))
        with site.database.read() as session:
            balance = totals.conservation(session).components["other"]
    assert balance.metered_uj == slots * most_uj > 2**63
    assert (balance.idle_uj, balance.difference_uj) == (balance.metered_uj, 0)


@pytest.mark.parametrize(("opened", "closed"), [(1, NOW), (1, None), (SLOT + 10, NOW), (SLOT - DAY_S, SLOT + 70)])
def test_forged_times_of_a_ledger_cost_hours_at_most(tmp_path: Path, opened: int, closed: int | None) -> None:
    """A ledger says when its node held a job, and what it left out is estimated. Whatever a node's root writes there, a job
    of a minute is estimated for no longer than the stated slack; a time to come is refused by its line.
    """
    site = new_site(tmp_path / "site", aggregator_estimate="yes")
    tell(site, JOB)
    eight_watts = job_slot({"cpu": share(480_000_000)})
    assert not deliver(site, segment([ledger(opened=opened, closed=closed), eight_watts])).refused
    (refused,) = deliver(site, segment([ledger(closed=2**40, revision=2)], sequence=2)).refused
    assert refused.kind == "future"
    assert (only(site).estimated_uj or 0) <= 8_000_000 * (60 + 2 * CLOCK_SLACK_S + EPILOG_SLACK_S)
    site.database.close()


def test_a_record_of_decades_stops_no_poll(tmp_path: Path) -> None:
    """A controller whose clock was in 1970 when a job of 9,000 nodes began tells of decades: the record is taken, no slots
    of decades are made, and the job beside it has its estimate.
    """
    site = new_site(tmp_path / "site", aggregator_estimate="yes")
    decades = job(start=60, elapsed_s=SLOT, nnodes=9000, ncpus=900_000, nodelist="n[1-9000]")
    tell(site, decades, job(job_id_raw=8, job_id="8", submit=JOB.submit + 1))
    found = {record.job_id: record for record in shown(site)}
    assert (found["7"].estimated_uj, found["7"].quality) == (None, "none")
    assert found["8"].estimated_uj
    site.database.close()


@pytest.mark.parametrize("first_start", [SLOT - DAY_S, SLOT - 900, SLOT + 60, 60])
def test_a_run_that_moves_leaves_no_estimate_behind(tmp_path: Path, first_start: int) -> None:
    """Where Slurm corrects the start of an ended run and not its length, its estimate moves along: all sums made anew are
    the same.
    """
    site = new_site(tmp_path / "site", aggregator_estimate="yes")
    for told in (job(start=first_start), JOB, job(start=first_start)):
        tell(site, told)
        before = content(site)
        with site.database.write() as session:
            rebuild.rebuild_all(session, site.terms)
        assert content(site) == before
    site.database.close()


LOSSES = {
    "ends before it begins": (SLOT, SLOT - 900, 1, 37 * 10**17),
    "much in no time": (SLOT, SLOT, 1, 2 * 10**14),
    "much in a slot": (SLOT - 900, SLOT, 3, 2**63 - 1),
    "of the future": (SLOT, NOW + 86_400, 3, 5),
    "more records than a node has": (SLOT - 900, SLOT, 2**40, 5),
    "more than a year's": (0, SLOT, 3, 2**63 - 1),
}
"""What a node's root says that it lost: since, until, the records, and the microjoules of `other`."""


@pytest.mark.each_kind
def test_forged_losses_count_for_nobody(backend: Backend) -> None:
    """A node says what it lost as it likes. What no node can have had in that time is apart, on each kind of database, alone
    and over many streams; what honest nodes lost counts to the microjoule, a ledger without any slot too.
    """

    def lost(since: int, until: int, rows: int, uj: int, revision: int = 1) -> dict[str, Any]:
        energy = {"other": uj} if uj else {}
        return {
            "type": "dropped",
            "revision": revision,
            "rows": rows,
            "since": since,
            "until": until,
            "energy_uj": energy,
        }

    honest = [(SLOT - 90 * DAY_S, SLOT, 40_000, 7 * 10**15 + 1), (SLOT, SLOT, 7, 0), (SLOT, NOW + 7200, 2, 1)]
    week = (SLOT - 7 * DAY_S, SLOT, 9, CEILING_ROW * 600)
    with backend.site() as site:
        for number, one in enumerate(honest):
            assert not deliver(site, segment([lost(*one)], node=f"h{number}")).refused
        for number, one in enumerate(LOSSES.values()):
            assert not deliver(site, segment([lost(*one)], node=f"n{number}")).refused
        with site.database.read() as session:
            found = dropped_total(session, NOW)
        assert found.lost == Loss(40_009, 7 * 10**15 + 2)
        assert found.nodes == len(honest)
        assert found.apart.energy_uj == sum(one[3] for one in LOSSES.values())
        for stream in range(2):  # each could be true, both cannot
            assert dropped_total_of(site).nodes == len(honest) + (stream > 0)
            deliver(site, segment([lost(*week)], node="many", stream=f"0bad{stream:04x}"))
        assert dropped_total_of(site).lost == found.lost


def dropped_total_of(site: Site) -> DroppedTotal:
    """What is shown of losses now."""
    with site.database.read() as session:
        return dropped_total(session, NOW)


def test_invented_jobs_have_a_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node cannot have any number of jobs in a slot."""
    monkeypatch.setitem(ceilings.MOST, "jobs", 50)
    receipt = deliver(site, segment([job_slot(job_id=n) for n in range(1, 71)]))
    assert (receipt.accepted, len(receipt.refused)) == (50, 20)
    receipt = deliver(site, segment([job_slot(job_id=1, revision=2), job_slot(job_id=99, revision=2)], sequence=2))
    assert [line.line for line in receipt.refused] == [3]


@pytest.mark.parametrize("kind", ["streams", "runs", "ledgers without rows"])
def test_invented_ledgers_of_a_job_have_a_bound(site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ledgers of a job are read whenever anybody delivers for it. A node's root cannot make as many as it likes: what
    is above the bound is refused by its line, again with the same answer, and the job's own node is not concerned.
    """
    monkeypatch.setattr(ceilings, "MAX_LEDGERS", 20)
    tell(site, JOB)
    taken = 0
    for n in range(30):
        run = f"start:{SLOT - n}" if kind == "runs" else f"start:{SLOT + 10}"
        rows = [ledger(run=run)] if kind == "ledgers without rows" else [ledger(run=run), job_slot(run=run)]
        body = segment(rows, node="n3", stream="0bad0000" if kind == "runs" else f"0bad{n:04x}", sequence=n + 1)
        receipt = deliver(site, body)
        assert receipt.accepted + len(receipt.refused) == len(rows)
        assert receipt.accepted in (0, len(rows))
        assert {line.kind for line in receipt.refused} <= {"ceiling"}
        assert deliver(site, body) == receipt
        taken += receipt.accepted == len(rows)
    assert taken == 20
    with site.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Ledger)) == 20
    assert not deliver(site, HONEST).refused
    known = {"run": f"start:{SLOT if kind == 'runs' else SLOT + 10}", "revision": 2}
    again = segment([ledger(**known), job_slot(**known)], node="n3", stream="0bad0000", sequence=99)
    assert not deliver(site, again).refused
    assert only(site).energy_uj == 1100


def test_a_change_of_a_closed_month(site: Site) -> None:
    """What a node changes of a month after it was closed is counted with the node's name and by how much."""
    tell(site, JOB)
    deliver(site, HONEST)
    later = NOW + 86400 * 60

    def revise(energy_uj: int, revision: int) -> None:
        body = segment([job_slot({"cpu": share(energy_uj), "dram": share(100)}, revision=revision)], sequence=revision)
        with site.database.write() as session:
            store_segment(session, parse_segment(body, later), site.terms, later)

    with site.database.read() as session:
        assert late_changes(session) == []
    revise(5000, 2)
    revise(4000, 3)
    with site.database.read() as session:
        (found,) = late_changes(session)
    assert (found.cluster, found.node, found.rows, found.energy_uj, found.changed_at) == ("demo", "n1", 2, 3000, later)
    assert found.month <= SLOT < found.month + 32 * 86400


def test_status_shows_it() -> None:
    """A person who asks for the status sees what counts for nobody, and what changed closed months."""
    shown = {
        "apart": [{"reason": "node", "rows": 3, "energy_uj": "2000000"}],
        "late": [{"node": "n1", "month": 1_790_000_000, "rows": 2, "energy_uj": "-3000000", "changed_at": 0}],
    }
    rest = {"version": "1", "zone": "DE", "database": "d", "grid": [], "last_slot": None, "jobs": 0, "nodes": 0}
    more = {
        "segments": 0,
        "unmatched": 0,
        "silent": {"never": 0, "day": 0},
        "dropped": {"records": 0},
        "simulated": False,
    }
    slurm = {"cluster": "c", "polled_at": None, "source": "", "error": "", "behind_s": 0}
    text = "\n".join(status.lines({**shown, **rest, **more, "slurm": slurm, "conservation": {}}))
    assert f"3 rows that count for no job, {joules(2_000_000)} J: their node is not in the job's NodeList" in text
    assert f"node n1 changed 2026-10 after it was closed: 2 rows, {joules(-3_000_000)} J" in text
