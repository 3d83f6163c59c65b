# SPDX-License-Identifier: MIT
"""The accuracy benchmark: its physics adds up, its books are whole, its program runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from node.physics import Node

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
    """Shared nodes, not shared CPUs: the schedule is one that Slurm could have made."""
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


def test_the_program_prints_ours_beside_the_others() -> None:
    """One table with every rule in it, and a verdict for each budget."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM), "--nodes", "2", "--jobs", "10", "--span", "120"],
        check=True,
        capture_output=True,
        text=True,
    )

    for name in ("ours (unit, cgroup v1)", "CEEMS", "Kepler", "Scaphandre", "EAR", "GA4HPC", "Slurm ConsumedEnergy"):
        assert name in run.stdout
    assert "every node and run: 0 uJ, 0: pass" in run.stdout
