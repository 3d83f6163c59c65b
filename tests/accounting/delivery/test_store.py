# SPDX-License-Identifier: MIT
"""The database is a function of what was delivered, not of how often or in which order; and energy is conserved."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from accounting.db.fixtures import Backend
from accounting.samples import (
    JOB,
    MINUTE_US,
    NOW,
    SLOT,
    job,
    job_slot,
    ledger,
    node_share,
    node_slot,
    segment,
    share,
)
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db import checksum
from carbon_acct.db.clusters import cluster_named
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import Receipt, store_segment
from carbon_acct.errors import RefusedError
from carbon_acct.queries import totals
from carbon_acct.queries.job_filter import Between, Filters
from carbon_acct.queries.jobs import JobRecord, list_jobs
from carbon_acct.queries.unmatched import unmatched_ledgers
from carbon_acct.site import Site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sums import rebuild
from carbon_acct.sums.job_slot import SHARDS
from carbon_acct.sums.settle import update_estimates
from carbon_acct.sync.jobs import record_jobs
from carbon_acct.window import Window


def deliver(site: Site, body: bytes) -> Receipt:
    with site.database.write() as session:
        return store_segment(session, parse_segment(body, NOW), site.terms, NOW)


def tell(site: Site, *jobs: SlurmJob) -> None:
    with site.database.write() as session:
        record_jobs(session, jobs, site.terms)


def shown(site: Site, **filters: Any) -> list[JobRecord]:
    with site.database.read() as session:
        return list_jobs(session, Filters(EVERYTHING, **{"duplicates": True} | filters))


def only(site: Site, **filters: Any) -> JobRecord:
    (record,) = shown(site, **filters)
    return record


def content(site: Site) -> list[tuple[str, str]]:
    """Everything in the database but its own numbering."""
    with site.database.read() as session:
        return sorted(checksum.lines(session))


def test_repeat(site: Site) -> None:
    """The same segment again gets the same answer and changes nothing, refused lines included."""
    body = segment([ledger(), job_slot(), node_slot(), b"{}"])
    tell(site, JOB)
    first = deliver(site, body)
    before = content(site)
    assert deliver(site, body) == first
    assert content(site) == before
    assert [r.line for r in first.refused] == [5]


def test_other_content_under_the_same_name(site: Site) -> None:
    """A segment's name is unique for ever: another content under it is refused."""
    deliver(site, segment([ledger()]))
    with pytest.raises(RefusedError, match="another content"):
        deliver(site, segment([ledger(user="bob")]))


def test_revision(site: Site) -> None:
    """A row is replaced by a higher revision only, and never added to."""
    tell(site, JOB)
    deliver(site, segment([ledger(revision=2), job_slot({"cpu": share(2000)}, revision=2)], sequence=2))
    deliver(site, segment([ledger(), job_slot({"cpu": share(1000)})], sequence=1))
    assert only(site).cpu_uj == 2000
    deliver(site, segment([ledger(revision=3), job_slot({"cpu": share(1500)}, revision=3)], sequence=3))
    assert only(site).cpu_uj == 1500


def test_streams_add_up(site: Site) -> None:
    """Rows of two streams of a node are different rows of the same job."""
    tell(site, JOB)
    for stream in ("00000001", "00000002"):
        deliver(site, segment([ledger(), job_slot()], stream=stream))
    assert only(site).cpu_uj == 2000


@st.composite
def deliveries(draw: st.DrawFn, nodelists: tuple[str | None, ...] = ("n[1-3]",)) -> tuple[list[bytes], list[SlurmJob]]:
    """Segments of three nodes, with rows that grow from segment to segment, and Slurm's runs of two jobs."""
    bodies = []
    for node in ("n1", "n2", "n3"):
        for sequence in range(1, draw(st.integers(1, 3)) + 1):
            rows: list[Any] = []
            energy = {"cpu": 0, "dram": 0}
            for job_id, run, opened in (
                (7, "restart:0", SLOT + 10),
                (7, "restart:1", SLOT + 200),
                (8, "restart:0", SLOT),
            ):
                if not draw(st.booleans()):
                    continue
                cpu, dram = draw(st.integers(0, 10**9)), draw(st.none() | st.integers(0, 10**9))
                energy["cpu"] += cpu
                energy["dram"] += dram or 0
                who = {"job_id": job_id, "run": run, "opened": opened, "revision": sequence}
                if draw(st.booleans()):
                    rows.append(ledger(**who))
                rows.append(job_slot({"cpu": share(cpu), "dram": share(dram)}, **who))
            parts = {name: node_share(total + 15, 10, 5) for name, total in energy.items()}
            rows.append(node_slot(parts, revision=sequence))
            bodies.append(segment(rows, node=node, sequence=sequence))
    where = st.sampled_from(nodelists)
    first = job(state="REQUEUED", end=SLOT + 100, nodelist=draw(where))
    second = job(submit=SLOT + 101, start=SLOT + 190, end=SLOT + 400, nnodes=2, nodelist=draw(where))
    running = {"start": SLOT, "end": None, "state": "RUNNING", "user": "bob", "nnodes": 3}
    other = job(job_id_raw=8, job_id="8", nodelist=draw(where), **running)
    return bodies, [first, second, other]


@pytest.mark.slow
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deliveries(("n1", "n[2-3]", "n[1-3]", None)), st.randoms(use_true_random=False))
def test_order_and_repetition(
    backend: Backend, given_: tuple[list[bytes], list[SlurmJob]], chance: random.Random
) -> None:
    """Segments and Slurm's records in any order, any of them twice, leave the identical database.

    Its sums are those that are made of the delivered rows from scratch.
    """
    bodies, runs = given_
    events: list[Any] = [*bodies, *runs]
    again = events + chance.sample(events, len(events) // 2)
    chance.shuffle(again)
    dumps = []
    for order in (events, again):
        with backend.site(aggregator_estimate="yes") as site:
            for event in order:
                tell(site, event) if isinstance(event, SlurmJob) else deliver(site, event)
            site.database.run(partial(update_estimates, terms=site.terms, since=0))
            dumps.append(content(site))
            if order is again:
                site.database.run(partial(rebuild.rebuild_all, terms=site.terms))
                dumps.append(content(site))

    assert dumps[0] == dumps[1] == dumps[2]


@pytest.mark.slow
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deliveries())
def test_conservation(backend: Backend, given_: tuple[list[bytes], list[SlurmJob]]) -> None:
    """Jobs, idle and system are what was metered, per component, and each job got its part."""
    bodies, runs = given_
    with backend.site() as site:
        for body in {body.split(b'"node": "')[1][:2]: body for body in bodies if b'"sequence": 1,' in body}.values():
            deliver(site, body)
        tell(site, *runs)
        with site.database.read() as session:
            balance = totals.conservation(session)
            energies = [record.energy_uj or 0 for record in list_jobs(session, Filters(EVERYTHING, duplicates=True))]
    assert [b.difference_uj for b in balance.components.values()] == [0, 0]
    assert sum(energies) == balance.total.jobs_uj


def test_site_total_beyond_64_bits(site: Site) -> None:
    """A site's energy may exceed 64 bits of microjoules; the sums stay exact."""
    huge = 2**63 - 1
    deliver(site, segment([node_slot(slot=SLOT - 900 * i) for i in range(4)]))
    with site.database.write() as session:
        session.execute(text(f"UPDATE site_slot SET cpu_uj = {huge}, cpu_idle_uj = {huge}, cpu_system_uj = 0"))
    with site.database.read() as session:
        balance = totals.conservation(session)
    assert balance.components["cpu"].metered_uj == 4 * huge
    assert balance.components["cpu"].difference_uj == 0


def test_a_broken_node_stops_no_other(site: Site) -> None:
    """Counts as large as 64 bits go: refused with their line; what another node says of the same job's slot is taken."""
    tell(site, job(nodelist="n[1-2]", nnodes=2))
    deliver(site, segment([ledger(), job_slot(cpu_us=2**63 - 1)]))
    deliver(site, segment([ledger(), job_slot(cpu_us=5)], node="n2"))

    assert only(site).energy_uj == 1100


def test_unmatched_energy_beyond_64_bits(site: Site) -> None:
    """What hangs on a ledger is summed exactly, however much it is: the list of them is what shows that a node lies."""
    deliver(site, segment([ledger(), job_slot(), job_slot(slot=SLOT + 900)]))
    with site.database.write() as session:
        session.execute(text(f"UPDATE node_job_slot SET cpu_uj = {2**63 - 1}"))
    with site.database.read() as session:
        (row,) = unmatched_ledgers(session)

    assert row.energy_uj == 2 * (2**63 - 1) + 200


def test_difference_shows(site: Site) -> None:
    """Energy that went nowhere is a difference, not rounded away."""
    deliver(site, segment([job_slot({"cpu": share(999)}), node_slot({"cpu": node_share(1500, 300, 200)})]))
    with site.database.read() as session:
        assert totals.conservation(session).total.difference_uj == 1


@pytest.mark.parametrize(
    ("polled_until", "purged_before", "why"),
    [
        (None, 0, "waiting"),
        (SLOT + 60, 0, "waiting"),
        (SLOT + 3000, 0, "waiting"),
        (SLOT + 7200, 0, "never knew"),
        (SLOT + 7200, SLOT + 70, "never knew"),
        (SLOT + 7200, SLOT + 71, "purged"),
    ],
)
def test_why_unmatched(site: Site, polled_until: int | None, purged_before: int, why: str) -> None:
    """Slurm may tell yet, or was asked and does not know, or keeps nothing of that time."""
    deliver(site, segment([ledger(), job_slot()]))
    with site.database.write() as session:
        cluster_named(session, "demo").polled_until = polled_until
        (row,) = unmatched_ledgers(session, purged_before)
    assert row.why == why


def test_unmatched_then_matched(site: Site) -> None:
    """A ledger without a job stays visible, and finds its job when Slurm tells of it."""
    deliver(site, segment([ledger(), job_slot()]))
    with site.database.read() as session:
        (row,) = unmatched_ledgers(session)
    assert (row.node, row.job_id, row.user, row.energy_uj) == ("n1", 7, "alice", 1100)
    assert not shown(site)
    tell(site, JOB)
    with site.database.read() as session:
        assert not unmatched_ledgers(session)
    assert only(site).energy_uj == 1100


def test_job_without_ledgers(site: Site) -> None:
    """A job that no node reported is shown: its energy is unknown, not 0."""
    tell(site, JOB)
    record = only(site)
    assert (record.energy_uj, record.carbon_ug, record.cpu_uj, record.pue) == (None, None, None, None)
    assert (record.quality, record.coverage) == ("none", 0.0)


def test_cancelled_before_start(site: Site) -> None:
    """A job that never ran has no coverage to speak of."""
    tell(site, job(state="CANCELLED by 1000", start=None, end=SLOT + 5, elapsed_s=0, nodelist=None))
    assert (only(site).coverage, only(site).quality) == (None, "none")


def test_requeue(site: Site) -> None:
    """Each run of a requeued job has its own energy; without duplicates the newest is shown."""
    tell(site, job(state="REQUEUED", end=SLOT + 100), job(submit=SLOT + 101, start=SLOT + 230, end=SLOT + 300))
    rows = [ledger(), job_slot()]
    again = {"run": "restart:1", "opened": SLOT + 231}
    rows += [ledger(**again, closed=SLOT + 300), job_slot({"cpu": share(5)}, **again)]
    deliver(site, segment(rows))
    assert [record.cpu_uj for record in shown(site)] == [1000, 5]
    assert [record.cpu_uj for record in shown(site, duplicates=False)] == [5]


def test_a_resized_job(site: Site) -> None:
    """What a job was before it was resized is shown as sacct shows it, and says where its energy is."""
    tell(site, job(state="RESIZING", end=SLOT + 40), job(submit=SLOT + 40, start=SLOT + 40))
    deliver(site, segment([ledger(), job_slot()]))
    before, after = shown(site, duplicates=False)

    assert (before.energy_uj, before.notes) == (None, ("resized: the run's energy is with its newest record",))
    assert after.energy_uj == 1100


def test_arrays_and_het_jobs(site: Site) -> None:
    """Array tasks and het components have their own energy, and are found by their parent."""
    tell(
        site,
        job(job_id_raw=20, job_id="19_0"),
        job(job_id_raw=19, job_id="19_1"),
        job(job_id_raw=31, job_id="30+1"),
        job(job_id_raw=30, job_id="30+0"),
    )
    deliver(site, segment([job_slot({"cpu": share(n)}, job_id=n) for n in (19, 20, 30, 31)]))
    found = {
        text_: sorted((r.cpu_uj or 0) for r in shown(site, jobs=[text_])) for text_ in ("19", "19_0", "30", "30+1")
    }
    assert found == {"19": [19, 20], "19_0": [20], "30": [30, 31], "30+1": [31]}


def test_prolog_to_epilog_is_whole(site: Site) -> None:
    """A job metered from prolog to epilog is covered whole, although Slurm's times are whole seconds."""
    tell(site, job(elapsed_s=61, end=SLOT + 71))
    components = {"cpu": share(metered_us=59_400_000), "dram": share(metered_us=59_400_000)}
    deliver(site, segment([ledger(), job_slot(components, alloc_us=59_400_000)]))
    assert (only(site).coverage, only(site).quality, only(site).notes) == (100.0, "measured", ())


def test_shorter_than_a_second(site: Site) -> None:
    """A job that Slurm says took no time at all is measured all the same."""
    tell(site, job(start=SLOT + 10, end=SLOT + 10, elapsed_s=0))
    components = {"cpu": share(metered_us=40_000), "dram": share(metered_us=40_000)}
    deliver(site, segment([ledger(closed=SLOT + 10), job_slot(components, alloc_us=40_000)]))
    assert (only(site).coverage, only(site).quality) == (100.0, "measured")
    window = Window(SLOT, SLOT + 30)
    assert only(site, window=window, truncate=True).energy_uj == 2000


def test_node_without_rows(site: Site) -> None:
    """A node of the job that reported nothing counts as time that nobody metered."""
    tell(site, job(nnodes=2, nodelist="n[1-2]"))
    deliver(site, segment([ledger(), job_slot()]))
    record = only(site)
    assert (record.coverage, record.quality) == (50.0, "partial")
    assert record.notes == ("1 of the job's nodes reported nothing",)


def test_a_silent_node_is_estimated(backend: Backend) -> None:
    """What a silent node would have told is estimated from the job's other node, apart, and has emissions; and is gone when it tells."""
    with backend.site(aggregator_estimate="yes") as site:
        tell(site, job(nnodes=2, nodelist="n[1-2]", ncpus=4))
        deliver(site, segment([ledger(), job_slot()]))
        record = only(site)
        deliver(site, segment([ledger(), job_slot()], node="n2"))
        after = only(site)

    assert (record.energy_uj, record.estimated_uj, record.facility_uj) == (1100, 1100, 2860)
    assert (record.coverage, record.quality) == (50.0, "estimated")
    assert "cpu: 1 of 2 nodes estimated from the job's other nodes" in record.notes
    assert (after.energy_uj, after.estimated_uj, after.quality) == (2200, None, "measured")


def test_a_job_that_nobody_metered_is_estimated(backend: Backend) -> None:
    """Its energy is unknown, not 0; what the hardware would draw stands apart, and says what it rests on."""
    with backend.site(aggregator_estimate="yes") as site:
        tell(site, JOB)
        record = only(site)

    assert (record.energy_uj, record.cpu_uj, record.quality) == (None, None, "estimated")
    assert record.estimated_uj
    assert record.estimated_uj > 0
    assert any("the hardware's figures" in note for note in record.notes)


def test_rows_that_never_came(site: Site) -> None:
    """A ledger sealed after an hour of which one minute has rows does not pass for whole."""
    tell(site, job(end=SLOT + 3610, elapsed_s=3600))
    deliver(site, segment([ledger(closed=SLOT + 3610), job_slot()]))
    assert (only(site).coverage or 0) < 2
    assert only(site).quality == "partial"


def test_crashed_node(site: Site) -> None:
    """A job whose node crashed after a minute, which Slurm noticed after three, does not pass for whole."""
    tell(site, job(state="NODE_FAIL", end=SLOT + 190, elapsed_s=180))
    deliver(site, segment([ledger(), job_slot()]))
    assert only(site).coverage == pytest.approx(100 / 3, abs=1)
    assert only(site).quality == "partial"


def test_missing_component(site: Site) -> None:
    """A component without a meter is unknown, the job partial, and the reason is told."""
    tell(site, JOB)
    missing = share(None, reason="energy_uj: permission denied")
    deliver(site, segment([ledger(), job_slot({"cpu": share(), "dram": missing})]))
    record = only(site)
    assert (record.dram_uj, record.energy_uj, record.quality) == (None, 1000, "partial")
    assert record.notes == ("dram: energy_uj: permission denied",)


def test_nothing_metered(site: Site) -> None:
    """A node without any meter leaves the job's energy and carbon unknown."""
    tell(site, JOB)
    deliver(site, segment([ledger(), job_slot({"cpu": share(None), "dram": share(None)})]))
    record = only(site)
    assert (record.energy_uj, record.carbon_ug, record.facility_uj, record.quality) == (None, None, None, "none")


def test_modelled_is_kept_apart(site: Site) -> None:
    """Modelled energy is not in the measured one, but it has emissions."""
    tell(site, JOB)
    deliver(site, segment([ledger(), job_slot({"cpu": share(1000), "dram": share(500, method="modelled")})]))
    record = only(site)
    assert (record.energy_uj, record.estimated_uj, record.quality) == (1000, 500, "estimated")
    assert (record.dram_uj, record.facility_uj) == (None, 1950)


@pytest.mark.parametrize("reason", ["shared by CPUs held: no cgroup shows the job's own CPU time", None])
def test_what_is_shared_is_measured_energy_but_an_estimate_of_the_job(site: Site, reason: str | None) -> None:
    """A meter counted it, so it is in the sums; the job's part of it is no measurement, and the quality says why."""
    tell(site, JOB)
    why = {"reason": reason} if reason else {}
    deliver(site, segment([ledger(), job_slot({"cpu": share(1000, method="shared", **why), "dram": share(500)})]))
    record = only(site)
    assert (record.energy_uj, record.cpu_uj, record.estimated_uj) == (1500, 1000, None)
    assert (record.quality, record.coverage) == ("estimated", 100.0)
    assert record.notes == (f"cpu: {reason or 'shared'}",)


@pytest.mark.parametrize("is_told_late", [False, True])
def test_a_job_that_holds_shards_is_an_estimate(site: Site, is_told_late: bool) -> None:
    """The node knows nothing of shards and calls the GPU's energy measured; AllocTRES says better, also where Slurm tells
    it after the rows have come. No joule changes.
    """
    shards = replace(JOB, alloc_tres="cpu=2,gres/shard=1,node=1")
    tell(site, replace(JOB, alloc_tres=None) if is_told_late else shards)
    parts = {"cpu": share(1000), "dram": share(500), "gpu": share(4000)}
    deliver(site, segment([ledger(gpus=["GPU-1"]), job_slot(parts)]))
    tell(site, shards)
    record = only(site)
    assert (record.energy_uj, record.gpu_uj, record.quality) == (5500, 4000, "estimated")
    assert record.notes == (f"gpu: {SHARDS}",)


def test_gpu_of_one_node(site: Site) -> None:
    """A GPU held on one of two nodes is covered whole by that node's meter."""
    tell(site, job(nnodes=2, nodelist="n[1-2]"))
    deliver(site, segment([ledger(), job_slot({"cpu": share(), "dram": share(), "gpu": share()})]))
    deliver(site, segment([ledger(), job_slot()], node="n2"))
    assert (only(site).coverage, only(site).quality) == (100.0, "measured")


def test_simulated(site: Site) -> None:
    """What simulated counters had a part in says so."""
    tell(site, JOB)
    deliver(site, segment([ledger(), job_slot(simulated=True)]))
    assert only(site).simulated is True


def test_factors_of_slots(site: Site) -> None:
    """A job's carbon is the sum over its slots, each rounded once, at the zone's factor and the site's PUE."""
    tell(site, job(end=SLOT + 1800))
    kwh = [10**10 + 7, 10**10 + 11]
    rows = [job_slot({"cpu": share(e, metered_us=900_000_000)}, slot=SLOT + 900 * i) for i, e in enumerate(kwh)]
    deliver(site, segment(rows))
    record = only(site)
    each = [round(e * Fraction("1.3") * Fraction("344.14") * 10**6 / (36 * 10**11)) for e in kwh]
    assert record.carbon_ug == sum(each)
    assert record.facility_uj == round(sum(kwh) * Fraction("1.3"))
    assert (record.pue, record.intensity_g_per_kwh, record.zone) == (1.3, 344.14, "DE")


BORDERS = st.integers(SLOT - 100, SLOT + 2000) | st.integers(SLOT - 86400, SLOT + 4 * 86400)


@given(st.lists(BORDERS | BORDERS.map(lambda at: at - at % 86400), min_size=1, max_size=4))
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_add_up(site: Site, borders: list[int]) -> None:
    """Windows that adjoin share out a job's energy and carbon without loss, wherever the borders lie."""
    if not shown(site):
        tell(site, job(start=SLOT + 10, end=SLOT + 2 * 86400 + 500, elapsed_s=2 * 86400 + 490))
        slots = [SLOT, SLOT + 900, SLOT + 86400, SLOT + 2 * 86400]
        rows = [job_slot({"cpu": share(10**9 + 7), "dram": share(13)}, slot=slot) for slot in slots]
        deliver(site, segment([ledger(), *rows]))
    whole = only(site)
    edges = [None, *sorted(borders), None]
    parts = [
        record
        for start, end in itertools.pairwise(edges)
        for record in shown(site, window=Window(start, end), truncate=True)
    ]
    for name in ("energy_uj", "cpu_uj", "dram_uj", "static_uj", "carbon_ug", "elapsed_s"):
        assert sum(getattr(p, name) or 0 for p in parts) == getattr(whole, name), name


def test_tail_after_the_end(site: Site) -> None:
    """Energy in a slot after the job's last second belongs to the window of that slot, and is not lost."""
    tell(site, job(start=SLOT + 10, end=SLOT + 899))
    deliver(site, segment([ledger(), job_slot(), job_slot({"cpu": share(3)}, slot=SLOT + 900)]))
    later = only(site, window=Window(SLOT + 900, SLOT + 1800), truncate=True)
    assert later.energy_uj == 3
    assert not shown(site, window=Window(SLOT + 900, SLOT + 1800))


def test_days(site: Site) -> None:
    """Sums by day, user and account: those of the slots of the jobs, unknown where nothing is known of any of them."""
    day = SLOT - SLOT % 86400
    tell(site, job(end=SLOT + 90_000), job(job_id_raw=8, job_id="8", user="bob"))
    unknown = {"cpu": share(None), "dram": share(None)}
    rows = [job_slot(), job_slot(slot=SLOT + 900), job_slot(slot=SLOT + 86_400), job_slot(unknown, job_id=8)]
    deliver(site, segment(rows))
    with site.database.read() as session:
        found = totals.days(session, day, day + 2 * 86400)
        first = totals.days(session, day, day + 1)
    assert [(d.start - day, d.user, d.jobs, d.energy_uj, d.facility_uj) for d in found] == [
        (0, "alice", 1, 2200, 2860),
        (0, "bob", 1, None, None),
        (86400, "alice", 1, 1100, 1430),
    ]
    assert first == found[:2]


def test_another_association(site: Site) -> None:
    """A job that Slurm moves to another account takes its days along, and leaves nothing behind."""
    tell(site, JOB)
    deliver(site, segment([ledger(), job_slot()]))
    tell(site, job(account="optics"))
    with site.database.read() as session:
        found = totals.days(session, 0, NOW)

    assert [(d.account, d.jobs, d.energy_uj) for d in found] == [("optics", 1, 1100)]


def test_sacct_window(site: Site) -> None:
    """Jobs overlap a window as in sacct; states ask when the job was in them."""
    tell(
        site,
        JOB,
        job(job_id_raw=8, job_id="8", state="RUNNING", start=SLOT + 500, eligible=SLOT + 400, end=None),
        job(job_id_raw=9, job_id="9", state="PENDING", start=None, end=None, eligible=SLOT + 800),
    )

    def ids(start: int, end: int, *states: str) -> list[str]:
        return [r.job_id for r in shown(site, window=Window(SLOT + start, SLOT + end), states=states)]

    assert ids(0, 50) == ["7"]
    assert ids(70, 71) == ["7"]
    assert ids(71, 600) == ["8"]
    assert ids(600, 900) == ["8", "9"]
    assert ids(0, 900, "R") == ["7", "8"]
    assert ids(100, 900, "running") == ["8"]
    assert ids(0, 900, "CD") == ["7"]
    assert ids(100, 900, "PD") == ["8", "9"]
    with pytest.raises(ValueError, match="not a job state"):
        ids(0, 1, "TEA")


def test_filters(site: Site) -> None:
    """Every filter narrows, and a name full of SQL is only a name."""
    tell(site, JOB, job(job_id_raw=8, job_id="8", user="b'; DROP TABLE job; --", account="chem", nodelist="n[4-6],x"))
    assert [r.job_id for r in shown(site, users=["b'; DROP TABLE job; --"])] == ["8"]
    assert [r.job_id for r in shown(site, accounts=["chem", "none"])] == ["8"]
    assert [r.job_id for r in shown(site, nodes="n[5-9]")] == ["8"]
    assert [r.job_id for r in shown(site, clusters=["other"])] == []
    assert [r.job_id for r in shown(site, jobs=["7", "8_1"])] == ["7"]
    assert [r.job_id for r in shown(site, gids=[9_999_999_999])] == []
    for bad in ("x", "1%", "7_%", "99999999999999999999"):
        with pytest.raises(ValueError, match="not a JobID") if bad != "7_%" else pytest.raises(AssertionError):
            assert shown(site, jobs=[bad])


def test_filters_of_size(site: Site) -> None:
    """Groups, sizes and time limits choose among all runs before the newest of a JobID is taken, as in sacct. A job that
    waits was given nothing, and one without a time limit of its own is in no range.
    """
    first = job(gid=100, nnodes=2, ncpus=4, timelimit_s=5400, nodelist="n[1-2]")
    again = job(submit=SLOT + 5000, start=None, end=None, state="PENDING", gid=100, nnodes=2, ncpus=4, nodelist="")
    other = job(job_id_raw=8, job_id="8", gid=101, nnodes=1, ncpus=8, timelimit_s=None)
    tell(site, first, again, other)

    def ids(**filters: Any) -> list[tuple[str, str]]:
        return [(r.job_id, r.state) for r in shown(site, duplicates=False, **filters)]

    assert ids(gids=[100]) == [("7", "PENDING")]
    assert ids(nnodes=Between(2, 3)) == [("7", "COMPLETED")]
    assert ids(ncpus=Between(5, 9_999_999_999)) == [("8", "COMPLETED")]
    assert ids(ncpus=Between(9, 3)) == []
    assert ids(timelimit=Between(90, 90)) == [("7", "COMPLETED")]
    assert ids(timelimit=Between(91, 9_999_999_999)) == []


def test_metered_no_longer_than_allocated(site: Site) -> None:
    """A meter that claims more time than the job was there does not make up for one that slept."""
    tell(site, job(nnodes=2, nodelist="n[1-2]"))
    long = {"cpu": share(metered_us=2 * MINUTE_US), "dram": share()}
    none = {"cpu": share(metered_us=0), "dram": share()}
    deliver(site, segment([ledger(), job_slot(long)]))
    deliver(site, segment([ledger(), job_slot(none)], node="n2"))
    assert only(site).coverage == 50.0


def test_epilog_without_prolog(site: Site) -> None:
    """A job that was only met at its end has the energy of that end, and is covered hardly at all."""
    tell(site, JOB)
    late = {"opened": SLOT + 70}
    tail = {"cpu": share(metered_us=0), "dram": share(None, reason="before the collector's first reading")}
    deliver(site, segment([ledger(**late, source="epilog"), job_slot(tail, alloc_us=0, **late)]))
    record = only(site)
    assert (record.energy_uj, record.coverage, record.quality) == (1000, 0.0, "partial")
