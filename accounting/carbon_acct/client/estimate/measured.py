# SPDX-License-Identifier: MIT
"""Adds up jobs that the aggregator returned (docs/http-api.md), in whole microjoules and micrograms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Job = Mapping[str, Any]

UJ_PER_KWH = 3_600_000_000_000
UG_PER_G = 1_000_000


@dataclass(frozen=True)
class Sums:
    """What jobs consumed and emitted together. None: no job has that figure."""

    jobs: int
    unknown: int
    """The number of jobs without any figure of energy."""
    partly: int
    """The number of jobs with energy that was not measured completely."""
    simulated: bool
    gpu_hours: float
    cpu_hours: float
    energy_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    market_ug: int | None
    embodied_ug: int | None
    hardware: Mapping[str, int]
    """The most GPUs that one job held, by type."""
    zones: tuple[str, ...]
    sources: tuple[str, ...]
    first: int | None
    last: int | None

    @property
    def pue(self) -> float | None:
        """Return the PUE: facility energy over energy. None if either is not known."""
        used = (self.energy_uj or 0) + (self.estimated_uj or 0)
        return self.facility_uj / used if self.facility_uj and used else None

    @property
    def g_per_kwh(self) -> float | None:
        """Return the mean intensity: grams over facility energy. None if either is not known."""
        if not self.facility_uj or self.carbon_ug is None:
            return None
        return self.carbon_ug / UG_PER_G / (self.facility_uj / UJ_PER_KWH)


def sums(jobs: Sequence[Job]) -> Sums:
    """Return the sums over jobs."""
    known = [job for job in jobs if job.get("energy_uj") is not None or job.get("estimated_uj") is not None]
    hardware: dict[str, int] = {}
    for job in jobs:
        for kind, number in gpu_types(job).items():
            hardware[kind] = max(hardware.get(kind, 0), number)
    times = [(job["start"], job.get("end")) for job in jobs if job.get("start")]
    return Sums(
        jobs=len(jobs),
        unknown=len(jobs) - len(known),
        partly=sum(job.get("quality") != "measured" for job in known),
        simulated=any(job.get("simulated") for job in jobs),
        gpu_hours=sum(gpus(job) * (job.get("elapsed_s") or 0) for job in jobs) / 3600,
        cpu_hours=sum((job.get("ncpus") or 0) * (job.get("elapsed_s") or 0) for job in jobs) / 3600,
        energy_uj=_sum(jobs, "energy_uj"),
        estimated_uj=_sum(jobs, "estimated_uj"),
        facility_uj=_sum(jobs, "facility_uj"),
        carbon_ug=_sum(jobs, "carbon_ug"),
        market_ug=_sum(jobs, "carbon_market_ug"),
        embodied_ug=_sum(jobs, "embodied_ug"),
        hardware=hardware,
        zones=_texts(jobs, "zone"),
        sources=_texts(jobs, "intensity_source"),
        first=min((start for start, _ in times), default=None),
        last=max((end or start for start, end in times), default=None),
    )


def gpus(job: Job) -> int:
    """Return the number of GPUs that a job held."""
    found = re.search(r"(?:^|,)gres/gpu=(\d+)", job.get("alloc_tres") or "")
    return int(found[1]) if found else sum(gpu_types(job).values())


def gpu_types(job: Job) -> dict[str, int]:
    """Return the number of GPUs of a job by type, as AllocTRES names them; "" if it names no type."""
    text = job.get("alloc_tres") or ""
    found = {name: int(number) for name, number in re.findall(r"(?:^|,)gres/gpu:([^=,]+)=(\d+)", text)}
    plain = re.search(r"(?:^|,)gres/gpu=(\d+)", text)
    return found or ({"": int(plain[1])} if plain and int(plain[1]) else {})


def _sum(jobs: Sequence[Job], key: str) -> int | None:
    values = [job[key] for job in jobs if job.get(key) is not None]
    return sum(values) if values else None


def _texts(jobs: Sequence[Job], key: str) -> tuple[str, ...]:
    found = {part for job in jobs for part in str(job.get(key) or "").split("; ") if part}
    return tuple(sorted(found))
