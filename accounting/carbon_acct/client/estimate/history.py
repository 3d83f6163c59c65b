# SPDX-License-Identifier: MIT
"""Predicts a job from earlier ones: the watts of a GPU and of a CPU, and the run time. Pure.

It uses the newest 20 jobs that completed, and counts failed ones apart. It takes medians, so that a single unusual job
does not shift them.
"""

from __future__ import annotations

from statistics import median

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from .measured import gpu_types, gpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .asked import Asked

    Job = Mapping[str, Any]

NEWEST = 20
LEAST_S = 10
"""The seconds that a job must have run. A shorter one says little about power."""
ENOUGH_PERCENT = 90.0
"""The coverage in percent below which a job's energy says too little."""
ALIKE = 3
"""The number of jobs with as many GPUs as the next one from which on jobs with another number are left out."""
FOR_AN_INTERVAL = 3
UJ_PER_J = 1_000_000


class Like(NamedTuple):
    """The figures of similar jobs. `cpus_per_job` is the median of the jobs that were used; `elapsed_s` is sorted."""

    jobs: int
    gpu_w: float
    """The watts of a GPU; 0 if the jobs held none."""
    cpu_w: float
    """The watts of a CPU, including its part of memory and of the rest of the node."""
    cpus_per_job: float
    elapsed_s: tuple[int, ...]
    failed: int
    failed_uj: int
    other_size: bool
    """Whether jobs with another number of GPUs were used, because too few had as many as the next one."""
    simulated: bool

    def watts(self, asked: Asked) -> float:
        """Return the watts of a component of a job, by its GPUs and CPUs, for all tasks of its array."""
        cpus = asked.cpus if asked.cpus else self.cpus_per_job
        return asked.tasks * (asked.gpu_count * self.gpu_w + cpus * self.cpu_w)

    @property
    def typical_s(self) -> float:
        """Return the median of the run times in seconds."""
        return float(median(self.elapsed_s))

    def quantile_s(self, share: float) -> float | None:
        """Return the run time in seconds below which `share` of the jobs lie, or None for fewer than three jobs."""
        if len(self.elapsed_s) < FOR_AN_INTERVAL:
            return None
        at = share * (len(self.elapsed_s) - 1)
        below = int(at)
        above = min(below + 1, len(self.elapsed_s) - 1)
        return self.elapsed_s[below] + (at - below) * (self.elapsed_s[above] - self.elapsed_s[below])


def like(jobs: Iterable[Job], asked: Asked) -> Like | None:
    """Return the figures of jobs with the same type of GPU, or None if no measured one completed."""
    same = sorted((job for job in jobs if _same(job, asked)), key=lambda job: job.get("end") or 0, reverse=True)
    done = [job for job in same if job.get("state") == "COMPLETED" and _measured(job)]
    alike = [job for job in done if gpus(job) == asked.gpu_count]
    taken = (alike if len(alike) >= ALIKE else done)[:NEWEST]
    if not taken:
        return None
    lost = [job for job in same if _lost(job)]
    return Like(
        jobs=len(taken),
        gpu_w=median(_gpu_w(job) for job in taken) if asked.gpu_count else 0.0,
        cpu_w=median(_cpu_w(job) for job in taken),
        cpus_per_job=median(job["ncpus"] for job in taken),
        elapsed_s=tuple(sorted(job["elapsed_s"] for job in taken)),
        failed=len(lost),
        failed_uj=sum(job.get("energy_uj") or 0 for job in lost),
        other_size=len(alike) < ALIKE and any(gpus(job) != asked.gpu_count for job in taken),
        simulated=any(job.get("simulated") for job in taken),
    )


def _same(job: Job, asked: Asked) -> bool:
    """Return whether a job is similar to the next one: both with GPUs or both without, and of the same types if both
    name them.
    """
    theirs, ours = set(gpu_types(job)) - {""}, set(asked.gpus) - {""}
    if bool(gpus(job)) != bool(asked.gpu_count):
        return False
    return not theirs or not ours or {name.lower() for name in theirs} == {name.lower() for name in ours}


def _measured(job: Job) -> bool:
    enough = (job.get("coverage") or 0) >= ENOUGH_PERCENT or job.get("estimated_uj")
    return bool(_total_uj(job) and enough and job.get("ncpus") and (job.get("elapsed_s") or 0) >= LEAST_S)


def _lost(job: Job) -> bool:
    state = str(job.get("state") or "").split(" ")[0]
    return state in ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "DEADLINE", "BOOT_FAIL")


def _total_uj(job: Job) -> int:
    return (job.get("energy_uj") or 0) + (job.get("estimated_uj") or 0)


def _gpu_w(job: Job) -> float:
    number = gpus(job)
    return float((job.get("gpu_uj") or 0) / UJ_PER_J / job["elapsed_s"] / number) if number else 0.0


def _cpu_w(job: Job) -> float:
    return float((_total_uj(job) - (job.get("gpu_uj") or 0)) / UJ_PER_J / job["elapsed_s"] / job["ncpus"])


def of_power(answer: Mapping[str, Any], components: Sequence[Asked]) -> float | None:
    """Return the watts of a job by the power of its partition (`GET /v1/power`), or None if a power that it needs is
    unknown.
    """
    cpu_w, gpu_w = answer.get("joules_per_cpu_second"), answer.get("joules_per_gpu_second")
    total = 0.0
    for asked in components:
        if (asked.gpu_count and gpu_w is None) or (asked.cpus and cpu_w is None):
            return None
        total += asked.tasks * (asked.gpu_count * (gpu_w or 0.0) + (asked.cpus or 0) * (cpu_w or 0.0))
    return total or None
