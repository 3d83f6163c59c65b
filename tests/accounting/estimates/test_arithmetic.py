# SPDX-License-Identifier: MIT
"""What nobody measured: estimated from what is nearest, kept apart, never invented where nothing is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import JOB, MINUTE_US, NOW, SLOT, job, job_slot, ledger, segment, share
from carbon_acct.db.models import Job
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.estimates.arithmetic import (
    CLOCK_SLACK_S,
    EPILOG_SLACK_S,
    LONGEST_RUN_S,
    Basis,
    Estimate,
    Held,
    Power,
    UnitTime,
    UnmeteredRun,
    estimates,
    unmetered_run,
    unmetered_us,
    within_run,
)
from carbon_acct.estimates.hardware import (
    CPU_MW,
    Hardware,
    gpus_of,
    load_hardware,
    typical_cpu_mw,
    typical_gpu_mw,
    unpriced,
)
from carbon_acct.estimates.unmetered_runs import estimate_unmetered
from carbon_acct.site import Site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sync.jobs import record_jobs
from carbon_collector.errors import SettingsError
from carbon_collector.units import SLOT_S, US_PER_S

POWERS = st.builds(Power, st.integers(0, 10**15), st.integers(1, 10**15))
BASES = st.lists(
    st.builds(
        Basis,
        st.sampled_from(["job", "partition", "hardware"]),
        st.just("somewhere"),
        st.dictionaries(st.sampled_from(["cpu", "dram", "gpu", "other"]), POWERS),
        st.booleans(),
    ),
    max_size=3,
)
TIMES = st.integers(0, 10**15)


ANY_TIME = st.integers(0, 2**40)
SHORT = st.integers(0, 10 * 86_400)


@given(ANY_TIME, ANY_TIME, ANY_TIME, SHORT, st.integers(-CLOCK_SLACK_S, CLOCK_SLACK_S), SHORT)
def test_a_node_holds_a_run_for_as_long_as_slurm_says(
    begin: int, end: int, start: int, length_s: int, clock_s: int, resized_s: int
) -> None:
    """Whatever times a node writes, what is left lies around the run. Times that a wrong clock, a late epilog or a resize
    explains are left as they are.
    """
    job_end = start + length_s
    low, high = within_run(begin, end, start, job_end, start)
    assert low >= start - CLOCK_SLACK_S
    assert high <= job_end + CLOCK_SLACK_S + EPILOG_SLACK_S
    honest = start - resized_s + clock_s, job_end + clock_s + EPILOG_SLACK_S
    assert within_run(*honest, start, job_end, start - resized_s) == honest
    assert within_run(0, end, start, job_end, 0)[0] >= job_end - LONGEST_RUN_S


@given(POWERS, TIMES, TIMES)
def test_more_time_is_never_less_energy(power: Power, one: int, two: int) -> None:
    """Energy is a whole number, never negative, 0 for no time, grows with the time, and two parts are not more than both."""
    parts = power.over(one), power.over(two)
    assert all(isinstance(uj, int) and uj >= 0 for uj in parts)
    assert power.over(0) == 0
    assert (parts[0] <= parts[1]) or one >= two
    assert sum(parts) <= power.over(one + two) <= sum(parts) + 1


@given(BASES, TIMES, TIMES, TIMES)
def test_an_estimate_grows_with_what_is_missing(bases: list[Basis], cpu_us: int, gpu_us: int, more_us: int) -> None:
    """The longer nobody measured, the more is estimated, and nothing where nothing is missing."""

    def total(cpu_us: int, gpu_us: int) -> int:
        found = estimates(UnmeteredRun({SLOT: UnitTime(cpu_us, gpu_us, 10**40)}, 1), 1, bases)
        return sum(sum(estimate.uj.values()) for estimate in found.values())

    assert total(0, 0) == 0
    assert 0 <= total(cpu_us, gpu_us) <= total(cpu_us + more_us, gpu_us) <= total(cpu_us + more_us, gpu_us + more_us)


@given(st.integers(0, 3 * SLOT_S), st.integers(0, 4 * SLOT_S), st.data())
def test_time_without_rows(offset: int, length: int, data: st.DataObject) -> None:
    """What is missing and what is told make up the whole time, give or take the two seconds that are rounding."""
    begin, end = SLOT + offset, SLOT + offset + length
    whole = unmetered_us(Held(begin, end, 1, 0))
    told = {slot: data.draw(st.integers(0, us)) for slot, us in whole.items()}
    gaps = unmetered_us(Held(begin, end, 1, 0, told))
    short = length * US_PER_S - sum(told.values())
    assert sum(whole.values()) == length * US_PER_S
    assert sum(gaps.values()) == max(0, short - 2 * US_PER_S)
    assert all(0 < us <= SLOT_S * US_PER_S for us in gaps.values())
    assert unmetered_us(Held(begin, end, 1, 0, whole)) == {}


def test_nearest_basis_first() -> None:
    """Each component rests on the first basis that knows it; the note names all of them, the method the least certain."""
    near = Basis("job", "the job's other nodes", {"cpu": Power(3, 1)})
    far = Basis("hardware", "the hardware's figures", {"cpu": Power(100, 1), "gpu": Power(7, 1)}, simulated=True)
    run = UnmeteredRun({SLOT: UnitTime(10, 2, 10), SLOT + 900: UnitTime(10, 0, 10)}, without_rows=2)
    note = "2 of 4 nodes estimated from the job's other nodes"
    assert estimates(run, 4, [near, far]) == {
        SLOT: Estimate({"cpu": 30, "gpu": 14}, "hardware", f"{note} and the hardware's figures", True),
        SLOT + 900: Estimate({"cpu": 30}, "job", note, False),
    }


def test_no_power_beyond_any_node() -> None:
    """A power by which nodes would have more than any node has is passed over; where no other is known, nothing is estimated."""
    forged = Basis("job", "the job's other nodes", {"other": Power(6 * 10**12, 1), "cpu": Power(3, 1)})
    honest = Basis("partition", "its history", {"other": Power(100, 1)})
    run = UnmeteredRun({SLOT: UnitTime(64 * US_PER_S, 0, US_PER_S)}, 1)
    assert estimates(run, 2, [forged, honest])[SLOT].uj == {"cpu": 192 * US_PER_S, "other": 6400 * US_PER_S}
    assert estimates(run, 2, [forged])[SLOT].uj == {"cpu": 192 * US_PER_S}


def test_notes_tell_nodes_from_times() -> None:
    """A node that was silent for a time is told from one that never said anything."""
    held = Held(SLOT, SLOT + 60, 2, 0)
    basis = [Basis("job", "X", {"cpu": Power(1, 1)})]
    assert _note([replace(held, covered_us={})], basis) == "part of the time of 1 of 3 nodes estimated from X"
    assert (
        _note([held, replace(held, covered_us={})], basis)
        == "1 of 3 nodes and part of the time of 1 more estimated from X"
    )


def _note(nodes: list[Held], bases: list[Basis]) -> str:
    return estimates(unmetered_run(nodes), 3, bases)[SLOT].note


def test_hardware() -> None:
    """A node's CPUs are a plausible model's, a site's own figures come first, and what fits nothing has a figure too."""
    assert 1_000 <= typical_cpu_mw(128) <= 10_000
    assert typical_cpu_mw(7919) == typical_cpu_mw(None) == CPU_MW
    assert 100_000 <= typical_gpu_mw() <= 1_000_000
    own = Hardware(cpu_mw=2_500, gpu_mw=400_000).basis(128)
    assert own.power["cpu"].over(US_PER_S) == 2_500_000
    assert "2.5 W a CPU, 400 W a GPU" in own.text


@pytest.mark.parametrize(
    ("alloc_tres", "mw", "text"),
    [
        ("billing=8,cpu=8,gres/gpu:k80=4,gres/gpu=4,mem=4G,node=1", 149_000, "149 W a k80"),
        ("cpu=8,gres/gpu:a100=3,gres/gpu:t4=1,gres/gpu=4", 317_500, "317.5 W a a100 or t4"),
        ("cpu=8,gres/gpu=2", typical_gpu_mw(), "W a GPU"),
        ("cpu=8,gres/gpu:frobnicator=2,gres/gpu=2", typical_gpu_mw(), "W a GPU"),
        ("cpu=8,gres/gpu:a100_1g.5gb=2", 400_000 // 7, "W a a100_1g.5gb"),
        ("cpu=8,gres/gpu:3g.20gb=1", typical_gpu_mw() * 3 // 7, "W a 3g.20gb"),
        ("cpu=8,gres/gpu:a100=0,gres/gpu=0", typical_gpu_mw(), "W a GPU"),
        ("", typical_gpu_mw(), "W a GPU"),
    ],
)
def test_a_gpu_draws_what_its_type_does(alloc_tres: str, mw: int, text: str) -> None:
    """The type is AllocTRES's; several types are weighed by their number; an unknown one has the median's watts."""
    basis = Hardware().basis(128, alloc_tres)

    assert abs(basis.power["gpu"].over(US_PER_S) - mw * 1000) <= 1000
    assert text in basis.text


def test_gpus_that_are_named_by_type_alone() -> None:
    """Four of a type are four, where Slurm does not count them without it too; parts of a GPU are named."""
    assert [gpus_of(t) for t in ("cpu=1,gres/gpu:a100=4", "gres/gpu=4,gres/gpu:a100=4", "gres/gpu=2", "cpu=4", "")] == [
        *(4, 4, 2, 0, 0)
    ]
    assert unpriced("cpu=4,gres/shard=2,gres/mps:a100=50,gres/gpu=1") == "shard=2, mps:a100=50"


def test_a_sites_own_table_comes_first(tmp_path: Path) -> None:
    """A row of the site's file replaces the shipped one of that name; a wrong line is named."""
    file = tmp_path / "gpus.csv"
    file.write_text("name,watts,aliases\nh100,350,h100-pcie\n")
    assert load_hardware(str(file)).basis(64, "gres/gpu:h100=2").power["gpu"].over(US_PER_S) == 350_000_000
    assert load_hardware("").basis(64, "gres/gpu:h100=2").power["gpu"].over(US_PER_S) == 700_000_000
    file.write_text("name,watts\nh100,much\n")
    with pytest.raises(SettingsError, match=r"accelerators = .*gpus.csv: line 2: "):
        load_hardware(str(file))


# --- in the database ----------------------------------------------------------------------------------------

TWO_NODES = job(nnodes=2, ncpus=4, alloc_tres="cpu=4,gres/gpu=1", nodelist="n[1-2]")


def tell(site: Site, *jobs: SlurmJob) -> None:
    with site.database.write() as session:
        record_jobs(session, jobs, site.terms)


def deliver(site: Site, *rows: Any, sequence: int = 1, **header: Any) -> None:
    with site.database.write() as session:
        body = segment(list(rows), sequence=sequence, **header)
        store_segment(session, parse_segment(body, NOW), site.terms, NOW)


def found(site: Site, hardware: Hardware | None = None) -> dict[tuple[int, int], Estimate]:
    """By JobIDRaw and slot."""
    with site.database.read() as session:
        ids = {row.id: row.job_id_raw for row in session.query(Job)}
        return {
            (ids[job], slot): e for (job, slot), e in estimate_unmetered(session, ids, hardware or Hardware()).items()
        }


def test_nothing_is_missing(site: Site) -> None:
    """A job that was measured from its first to its last second has no estimate."""
    deliver(site, ledger(), job_slot())
    tell(site, JOB)
    assert found(site) == {}


def test_from_the_jobs_other_nodes(site: Site) -> None:
    """A silent node is taken to have drawn what the job's other one did, by CPU; and no longer when it speaks."""
    deliver(site, ledger(), job_slot())
    tell(site, replace(TWO_NODES, alloc_tres="cpu=4"))
    note = "1 of 2 nodes estimated from the job's other nodes"
    assert found(site) == {(7, SLOT): Estimate({"cpu": 1000, "dram": 100}, "job", note, False)}
    deliver(site, ledger(), job_slot(), node="n2")
    assert found(site) == {}


def test_it_is_a_function_of_what_is_stored(site: Site) -> None:
    """The order of arrival changes nothing, and asking twice neither."""
    tell(site, replace(TWO_NODES, alloc_tres="cpu=4"))
    deliver(site, ledger(), job_slot())
    assert found(site) == found(site)
    assert sum(found(site)[7, SLOT].uj.values()) == 1100


def test_a_run_that_goes_on_is_left_alone(site: Site) -> None:
    """While a job runs its rows may be on their way."""
    tell(site, replace(TWO_NODES, state="RUNNING", end=None))
    assert found(site) == {}


def test_from_the_partition(site: Site) -> None:
    """A job that no node told of is taken to have drawn what the partition's jobs did in the month before."""
    before = 86400
    old = {"start": SLOT + 10 - before, "end": SLOT + 70 - before, "submit": SLOT - before}
    tell(site, job(job_id_raw=5, job_id="5", **old), job(job_id_raw=6, job_id="6", partition="q", **old))
    for number, uj in ((5, 1000), (6, 9000)):
        times = {"opened": SLOT + 10 - before, "job_id": number}
        late = ledger(closed=SLOT + 70 - before, **times)
        deliver(site, late, job_slot({"cpu": share(uj)}, slot=SLOT - before, **times), sequence=number)
    tell(site, TWO_NODES)
    estimate = found(site, Hardware(gpu_mw=1000))[7, SLOT]
    assert estimate.uj == {"cpu": 2000, "gpu": 60_000_000}
    assert estimate.method == "hardware"
    history = "the partition's history (jobs measured in p in the 30 days before: 1)"
    assert estimate.note.startswith(f"2 of 2 nodes estimated from {history} and the hardware's figures (")


def test_from_the_hardware(site: Site) -> None:
    """Where nothing was ever measured, it is the hardware's figures."""
    tell(site, TWO_NODES)
    estimate = found(site, Hardware(cpu_mw=2000, gpu_mw=1000))[7, SLOT]
    assert estimate.uj == {"cpu": 4 * 60 * 2_000_000, "gpu": 60_000_000}
    assert estimate.note == "2 of 2 nodes estimated from the hardware's figures (2 W a CPU, 1 W a GPU)"


@pytest.mark.parametrize("tres", ["gres/gpu:a100=4", "gres/gpu=4,gres/gpu:a100=4"])
def test_typed_gpus_and_suspended_time(site: Site, tres: str) -> None:
    """GPUs count by their types, a suspended job by the time that it ran, and the note says what is not in it
    (sacct(1), Suspended; gres.conf(5), Type).
    """
    tell(site, job(nnodes=1, ncpus=4, alloc_tres=f"cpu=4,{tres},gres/shard=2", elapsed_s=45))
    estimate = found(site, Hardware(cpu_mw=2000, gpu_mw=300_000))[7, SLOT]

    assert estimate.uj == {"cpu": 4 * 45 * 2_000_000, "gpu": 4 * 45 * 300_000_000}
    assert estimate.note.endswith("; not estimated: shard=2, 15 s suspended")


@pytest.mark.slow
def test_a_node_that_fell_silent(site: Site) -> None:
    """A node that crashed has no rows from then on; the rest of its time is estimated by its own rows."""
    deliver(site, ledger(closed=None), job_slot())
    tell(site, job(state="NODE_FAIL", end=SLOT + 130, elapsed_s=120))
    (estimate,) = found(site).values()
    assert estimate.uj == {"cpu": 1000 * 58 // 60, "dram": 100 * 58 // 60}
    assert estimate.note == "part of the time of 1 of 1 nodes estimated from the rest of the job"


def test_slots_and_gaps_of_a_long_run(site: Site) -> None:
    """Rows that never came in the middle of a run are estimated in their own slots, the others are left alone."""
    end = SLOT + 3 * SLOT_S
    whole = {"alloc_us": SLOT_S * US_PER_S, "opened": SLOT}
    rows = [
        job_slot({"cpu": share(9000, metered_us=SLOT_S * US_PER_S)}, slot=slot, **whole) for slot in (SLOT, SLOT + 1800)
    ]
    deliver(site, ledger(opened=SLOT, closed=end), *rows)
    tell(site, job(start=SLOT, end=end, elapsed_s=2700))
    estimated = found(site)
    assert list(estimated) == [(7, SLOT + 900)]
    assert estimated[7, SLOT + 900].uj == {"cpu": 9000 * (SLOT_S - 2) // SLOT_S}


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_counters_are_told(site: Site, simulated: bool) -> None:
    """An estimate from simulated counters is simulated."""
    deliver(site, ledger(), job_slot(simulated=simulated, alloc_us=MINUTE_US))
    tell(site, replace(TWO_NODES, alloc_tres="cpu=4"))
    assert found(site)[7, SLOT].simulated is simulated
