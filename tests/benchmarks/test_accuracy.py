# SPDX-License-Identifier: MIT
"""The accuracy benchmark: its physics adds up, its books are whole, its program runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.peers import Result
    from node.physics import Node
    from node.registers import Registers

PROGRAM = Path(__file__).parents[2] / "benchmarks/accuracy.py"


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    """Two shared nodes, one with GPUs."""
    from node import schedule

    return schedule.make(seed=3, nodes=2, jobs_per_node=14, span_s=200.0)


def test_the_truth_of_the_jobs_idle_and_system_is_what_the_meters_truly_count(nodes: list[Node]) -> None:
    """Nothing is in the truth twice or not at all: the judge is himself conserved."""
    from node.physics import SOCKETS

    for node in nodes:
        h = node.hardware
        end = max(job.close_s for job in node.jobs)
        free_s = end - sum(job.seconds * len(job.cpus) for job in node.jobs) / h.cpus
        free_memory_s = end - sum(job.seconds * job.gib_requested for job in node.jobs) / h.memory_gib
        idle = SOCKETS * (h.idle_w * free_s + h.dram_idle_w * free_memory_s)
        system = SOCKETS * h.busy_cpu_w * h.system_cpu * end

        assert node.host_j(end) == pytest.approx(sum(node.truth(j).host_j for j in node.jobs) + idle + system)


def test_no_cpu_and_no_gpu_is_given_to_two_jobs_at_once(nodes: list[Node]) -> None:
    """Shared nodes, not shared CPUs: the schedule is one that Slurm could have made, and no socket is busier than its CPUs."""
    from node import schedule
    from node.physics import SOCKETS

    for node in schedule.restless(nodes):
        h = node.hardware
        cpus = [cpu for cpu in range(h.cpus) if any(cpu in job.cpus for job in node.jobs)]
        of = [sum(h.socket_of(cpu) == socket for cpu in cpus) for socket in range(SOCKETS)]

        assert max(of) + h.system_cpu <= h.cpus / SOCKETS
    for node in nodes:
        for a in node.jobs:
            for b in node.jobs:
                if a.job_id < b.job_id and a.held_s(b.open_s, b.close_s):
                    assert not set(a.cpus) & set(b.cpus)
                    assert not set(a.gpus) & set(b.gpus)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("service", [True, False])
def test_every_microjoule_of_the_meters_is_booked_once(nodes: list[Node], version: int, service: bool) -> None:
    """Jobs + idle + system = meters, and every job has its bill."""
    from node.ours import Daemon
    from node.registers import Registers

    for node in nodes:
        books = Daemon(Registers(node), version, service).run(300.0 + max(job.close_s for job in node.jobs))

        assert books.difference_uj == 0
        assert sum(books.metered_uj.values()) > 0
        assert set(books.bills) == {job.job_id for job in node.jobs}


@pytest.mark.slow
@pytest.mark.parametrize("is_restless", [False, True])
def test_long_jobs_are_right_to_a_percent(is_restless: bool) -> None:
    """A service is within 1 % of what each job of twenty minutes and more caused, whether it saw the node idle once or the
    system keeps it busy: memory that a sleeping job holds, and the little CPU time that it uses, are never learned as idle.
    """
    from node import judge, schedule
    from node.ours import Daemon
    from node.registers import Registers

    study = judge.study(judge.Size(seeds=1, nodes=2, jobs=40, span_s=900.0))
    long = {job_id for label in judge.LONG_CLASSES for job_id in study.classes[label]}
    errors = []
    for node in schedule.restless(study.nodes) if is_restless else study.nodes:
        bills = Daemon(Registers(node), 2, service=True).run(judge.end_of(node)).bills
        true = {job.job_id: node.truth(job).host_j for job in node.jobs if job.job_id in long}
        errors += [abs(bills[job_id].host_uj / 1e6 / joules - 1) for job_id, joules in true.items()]

    assert len(errors) >= 8
    assert max(errors) <= 0.01


def test_readings_of_the_registers_never_go_back_except_to_wrap(nodes: list[Node]) -> None:
    """Jitter, steps and lag delay a counter; they do not turn it round."""
    from node.registers import Registers

    registers = Registers(nodes[0])
    instants = [100 + i * 0.00037 for i in range(2000)]
    for zone in registers.zones():
        seen = [registers.unwrapped_uj(zone, at) for at in instants]

        assert seen == sorted(seen)
    busy = [registers.busy_s(0, at) for at in instants]

    assert busy == sorted(busy)


@given(seed=st.integers(0, 10_000), arrays=st.booleans(), own_watts=st.booleans())
def test_what_every_rule_intends_adds_up(seed: int, arrays: bool, own_watts: bool) -> None:
    """Ours is the truth where jobs draw alike; EAR's gives away all power while a job is there; no other rule but
    Slurm's gives away more than there is.
    """
    from node import intent, schedule

    node = schedule.make(seed, nodes=1, jobs_per_node=9, span_s=60.0, arrays=arrays)[0]
    if own_watts:
        node = schedule.unlike([node], seed)[0]
    whole_j = sum(moment.seconds * moment.host_w for moment in intent.moments(node))
    held_j = sum(moment.seconds * moment.host_w for moment in intent.moments(node) if moment.held)
    ours = intent.intended(node, intent.allocation_and_use)

    assert whole_j == pytest.approx(node.host_j(max(job.close_s for job in node.jobs)))
    assert sum(intent.intended(node, intent.cpus_held).values()) == pytest.approx(held_j)
    for watts in (intent.allocation_and_use, intent.use, intent.use_and_equal, intent.use_of_capacity):
        assert sum(intent.intended(node, watts).values()) <= held_j * (1 + 1e-9)
    if not own_watts:
        assert ours == pytest.approx({job.job_id: node.truth(job).host_j for job in node.jobs})


def test_a_rule_that_reads_often_comes_to_what_it_intends(nodes: list[Node]) -> None:
    """The measurement column shows sampling and nothing else: it goes away with the interval."""
    from node import intent, peers

    rules: list[tuple[Callable[..., Result], Callable[..., intent.Watts]]] = [
        (peers.ceems, intent.use),
        (peers.ceems_node, intent.use_and_equal),
        (peers.kepler, intent.use_of_capacity),
        (peers.ear, intent.cpus_held),
    ]
    node = nodes[0]
    for bill, watts in rules:
        found = bill(_registers(node), max(job.close_s for job in node.jobs) + 1, 0.5).bills
        intended = intent.intended(node, watts)
        for job in node.jobs:
            if job.stop_s - job.start_s > 60.0:
                assert found[job.job_id].host_j == pytest.approx(intended[job.job_id], rel=0.03)
    for bill, watts in ((peers.ear_at_borders, intent.cpus_held), (peers.slurm, intent.whole_node)):
        found = bill(_registers(node), 0.0).bills
        intended = intent.intended(node, watts)
        for job in node.jobs:
            assert found[job.job_id].host_j == pytest.approx(intended[job.job_id], rel=0.005)


def _registers(node: Node) -> Registers:
    from node.registers import Registers

    return Registers(node)


def test_without_idle_power_a_node_draws_what_its_jobs_and_system_cause(nodes: list[Node]) -> None:
    """The block of the dynamic part judges every rule by the energy of use alone."""
    from node.physics import SOCKETS

    for node in nodes:
        h, end = node.hardware, max(job.close_s for job in node.jobs)
        system_j = SOCKETS * h.busy_cpu_w * h.system_cpu * end

        assert node.without_idle_power().host_j(end) == pytest.approx(
            system_j + sum(node.truth(job).dynamic_j for job in node.jobs)
        )


def test_tasks_of_an_array_end_within_the_same_moment_and_use_unlike(nodes: list[Node]) -> None:
    """The schedule of arrays has what it is for: ends that fall between two readings, of sleepers and workers."""
    from node import schedule

    made = schedule.make(seed=3, nodes=1, jobs_per_node=24, span_s=200.0, arrays=True)[0]
    groups = [[j for j in made.jobs if j.submission == number] for number in {j.submission for j in made.jobs}]
    together = [
        group
        for group in groups
        if len(group) > 1 and max(j.stop_s for j in group) - min(j.stop_s for j in group) < 0.1
    ]

    assert len(together) >= len(groups) // 2
    assert any(
        max(j.cpu_s.at(j.stop_s) for j in group) > 10 * min(j.cpu_s.at(j.stop_s) for j in group) for group in together
    )


def test_watts_by_submission_are_alike_within_an_array_and_unlike_between(nodes: list[Node]) -> None:
    """One program draws alike in every task; each task's own factor is the other scenario."""
    from node import schedule

    by_submission = [job for node in schedule.unlike(nodes, 1, by_submission=True) for job in node.jobs]
    factors = {(job.job_id // 1000, job.submission): job.factor for job in by_submission}
    tasks = [job.factor for node in schedule.unlike(nodes, 1) for job in node.jobs]

    assert all(job.factor == factors[job.job_id // 1000, job.submission] for job in by_submission)
    assert len(set(factors.values())) == len(factors) < len(by_submission)
    assert len(set(tasks)) == len(tasks)
    assert all(0.8 <= factor <= 1.25 for factor in (*factors.values(), *tasks))


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_a_noisy_meter_errs_by_what_it_says_and_not_to_one_side(nodes: list[Node], noise: float) -> None:
    """The deviation of the readings is the stated one, their mean is right, and the counter never goes back."""
    from statistics import fmean, pstdev

    from node.registers import UNITS, NoisyRegisters

    registers, range_uj = NoisyRegisters(nodes[0], noise), UNITS["cpu"][1]
    instants = [100 + i for i in range(1000)]
    shown = [registers.energy_uj("package-1", at) for at in instants]
    true = [registers.unwrapped_uj("package-1", at) for at in instants]
    errors = [(b - a) % range_uj / (v - u) - 1 for a, b, u, v in zip(shown, shown[1:], true, true[1:], strict=False)]

    assert all(error > -1 for error in errors)
    assert pstdev(errors) == pytest.approx(noise, rel=0.1)
    assert abs(fmean(errors)) < 4 * noise / len(errors) ** 0.5


@pytest.mark.slow
def test_the_program_prints_ours_beside_the_others() -> None:
    """Each rule has both columns, each budget a verdict, each scenario its distribution."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM), "--nodes", "2", "--jobs", "8", "--span", "120", "--seeds", "1"],
        check=True,
        capture_output=True,
        text=True,
    )

    from node import peers

    measured = run.stdout.partition("sockets and memory")[2].partition("the dynamic part")[0]
    for rule in peers.RULES:
        assert f"{rule.name} " in measured
        assert f" {rule.idle} " in measured
    for heading in ("|error| of measurement in %", "policy for idle power", "60-98 min"):
        assert heading in run.stdout
    for scenario in ("arrays that end together", "3 % noise a reading", "by submission", "each task its own"):
        assert scenario in run.stdout
    assert run.stdout.count("every node and run: 0 uJ, 0: pass") == 2
