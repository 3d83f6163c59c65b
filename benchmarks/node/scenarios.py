# SPDX-License-Identifier: MIT
"""What makes our own figures worse: jobs that end together, noisy meters, jobs that draw unlike watts.

The collector runs as a unit on every node, and its figures are judged by what each job truly caused.
"""

from __future__ import annotations

from typing import NamedTuple

from . import intent, judge, schedule
from .ours import Daemon
from .registers import NoisyRegisters, Registers

DYNAMIC_FLOOR_J = 1.0
"""Below this a percentage of a job's dynamic part says nothing."""


class Outcome(NamedTuple):
    """One row: errors in percent by JobID of all and of the dynamic part, idle power learned over the true one."""

    name: str
    classes: dict[str, list[int]]
    host: dict[int, float]
    dynamic: dict[int, float]
    idle: list[float]
    difference_uj: int


def outcomes(size: judge.Size) -> list[Outcome]:
    """Return one outcome a scenario, and for unlike watts what the split by CPU time alone does."""
    plain, arrays = judge.short_study(size), judge.short_study(size, arrays=True)
    tasks = [plain._replace(nodes=schedule.unlike(plain.nodes, 1))]
    tasks += [s._replace(nodes=schedule.unlike(s.nodes, 1, by_submission=True)) for s in (plain, arrays)]
    return [
        _run("as above, cgroup v2", plain),
        _run("arrays that end together, cgroup v1", arrays, version=1),
        _run("arrays that end together, cgroup v2", arrays),
        _run("meters with 1 % noise a reading", plain, noise=0.01),
        _run("meters with 3 % noise a reading", plain, noise=0.03),
        _run("0.8-1.25 W, each task its own", tasks[0]),
        _split("  the split by CPU time, continuously", tasks[0]),
        _run("0.8-1.25 W, by submission", tasks[1]),
        _split("  the split by CPU time, continuously", tasks[1]),
        _run("arrays, by submission, 1 % noise", tasks[2], noise=0.01),
    ]


def _run(name: str, study: judge.Study, version: int = 2, noise: float = 0.0) -> Outcome:
    host, dynamic, idle, difference_uj = {}, {}, [], 0
    for node in study.nodes:
        registers = NoisyRegisters(node, noise) if noise else Registers(node)
        books = Daemon(registers, version, service=True).run(judge.end_of(node))
        for job_id, bill in books.bills.items():
            host[job_id] = bill.host_uj / 1e6
            dynamic[job_id] = (bill.host_uj - bill.host_static_uj) / 1e6
        idle += [100 * watts / node.hardware.idle_w for watts in books.idle_w.values()]
        difference_uj = max(difference_uj, abs(books.difference_uj))
    return _judged(name, study, host, dynamic, idle, difference_uj)


def _split(name: str, study: judge.Study) -> Outcome:
    host, dynamic = {}, {}
    for node in study.nodes:
        intended = intent.intended(node, intent.allocation_and_use)
        host |= intended
        dynamic |= {job.job_id: intended[job.job_id] - node.truth(job).static_j for job in node.jobs}
    return _judged(name, study, host, dynamic, [], 0)


def _judged(
    name: str,
    study: judge.Study,
    host: dict[int, float],
    dynamic: dict[int, float],
    idle: list[float],
    difference_uj: int,
) -> Outcome:
    truths = {job.job_id: node.truth(job) for node in study.nodes for job in node.jobs}
    true_dynamic = {j: t.dynamic_j for j, t in truths.items() if t.dynamic_j > DYNAMIC_FLOOR_J}
    return Outcome(
        name,
        study.classes,
        judge.errors(host, {j: t.host_j for j, t in truths.items()}),
        judge.errors(dynamic, true_dynamic),
        idle,
        difference_uj,
    )


def cells(outcome: Outcome) -> list[str]:
    """Return one row of the table."""
    by_class = [judge.spread(outcome.host, outcome.classes[label], (50, 100)) for label in judge.SHORT_CLASSES]
    both = [judge.spread(errors, None, (50, 90, 99, 100)) for errors in (outcome.host, outcome.dynamic)]
    idle = f"{min(outcome.idle):.1f} {max(outcome.idle):.1f}" if outcome.idle else "-"
    return [outcome.name, *by_class, *both, idle]


HEAD = ["|error| in %", *judge.SHORT_CLASSES, "all", "dynamic part", "idle power learned %"]
