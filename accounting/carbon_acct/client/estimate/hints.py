# SPDX-License-Identifier: MIT
"""Finds what the user's own jobs could have saved: each hint with its figure and the command that shows it. Pure."""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from .asked import limit_s, size_mib
from .begin import DAY_S, Curve
from .measured import UJ_PER_KWH, gpu_types, gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Job = Mapping[str, Any]
    Watts = Callable[[str], float | None]

DAYS = 30
LOST = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "DEADLINE", "BOOT_FAIL")
IDLE_SHARE = 0.25
"""The share of its watts below which a GPU counts as idle, on the average of a job."""
LEAST_KWH = 0.001
WORTH = 0.5
"""The share of the requested CPU time or memory below which its use is worth a hint."""
WINDOW_H = 6
CLEANER = 0.05
SHOWN = 20
"""The most JobIDs in a command."""


class Hint(NamedTuple):
    """A hint: its kind, a sentence with its figure, the command that shows it, and its energy."""

    kind: str
    text: str
    command: str
    kwh: float | None = None


def hints(
    jobs: Sequence[Job], watts_of: Watts, intensity: Mapping[str, Any], usage: Sequence[Sequence[str]]
) -> list[Hint]:
    """Return the hints. `usage` holds lines of sacct: JobID, ElapsedRaw, NCPUS, TotalCPU, ReqMem, MaxRSS, NNodes."""
    found = [_lost(jobs), _idle_gpus(jobs, watts_of), _cpus(usage), _memory(usage), _hours(jobs, intensity)]
    return [one for one in found if one is not None]


def _lost(jobs: Sequence[Job]) -> Hint | None:
    lost = [job for job in jobs if str(job.get("state") or "").split(" ")[0] in LOST]
    kwh, whole = _kwh(lost), _kwh(jobs)
    if kwh < LEAST_KWH:
        return None
    text = f"{len(lost)} of your {len(jobs)} jobs failed or ran out of time: {kwh:.3g} kWh, {100 * kwh / whole:.0f} % of all."
    return Hint("failed", text, f"carbon-acct -S now-{DAYS}days -s F,TO,OOM,NF,DL,BF", kwh)


def _idle_gpus(jobs: Sequence[Job], watts_of: Watts) -> Hint | None:
    idle = [job for job in jobs if _is_idle(job, watts_of)]
    kwh = sum(job["gpu_uj"] for job in idle) / UJ_PER_KWH
    if kwh < LEAST_KWH:
        return None
    hours = sum(gpus(job) * job["elapsed_s"] for job in idle) / 3600
    ids = ",".join(str(job["job_id"]) for job in idle[:SHOWN])
    text = f"{len(idle)} jobs held GPUs that did next to nothing: {hours:.3g} GPU hours, {kwh:.3g} kWh."
    return Hint("idle_gpus", text, f"carbon-acct -j {ids} -o JobID,JobName,AllocTRES,Elapsed,GPUEnergyRaw", kwh)


def _is_idle(job: Job, watts_of: Watts) -> bool:
    if not job.get("gpu_uj") or not job.get("elapsed_s") or not gpus(job):
        return False
    known = [watts_of(kind) for kind in gpu_types(job) if kind]
    watts = [one for one in known if one]
    mean = job["gpu_uj"] / 1e6 / job["elapsed_s"] / gpus(job)
    return bool(watts) and mean < IDLE_SHARE * min(watts)


def _cpus(usage: Sequence[Sequence[str]]) -> Hint | None:
    """Return a hint if whole jobs used less than WORTH of the CPU time that they held."""
    held = used = 0.0
    worst: list[tuple[float, str]] = []
    for job_id, elapsed, cpus, total, *_ in (row for row in usage if len(row) == 7 and "." not in row[0]):
        here = float(elapsed or 0) * float(cpus or 0)
        there = _seconds(total)
        if here >= 60 and there is not None:
            held, used = held + here, used + there
            worst.append((here - there, job_id))
    if not held or used / held >= WORTH:
        return None
    ids = ",".join(job_id for _, job_id in sorted(worst, reverse=True)[:SHOWN])
    text = f"Your jobs used {100 * used / held:.0f} % of the CPU time that they held: {(held - used) / 3600:.3g} CPU hours were idle."
    return Hint("cpus", text, f"sacct -X -j {ids} -o JobID,NCPUS,Elapsed,TotalCPU")


def _memory(usage: Sequence[Sequence[str]]) -> Hint | None:
    """Return a hint if jobs used less than WORTH of the memory that they asked for.

    A job's use is the most memory of any of its steps. Jobs are weighted by their time.
    """
    most: dict[str, float] = {}
    asked: dict[str, tuple[float, float]] = {}
    for job_id, elapsed, _, _, wanted, rss, nodes in (row for row in usage if len(row) == 7):
        job = job_id.partition(".")[0]
        if rss:
            most[job] = max(most.get(job, 0.0), size_mib("MaxRSS", rss) or 0.0)
        if "." not in job_id and wanted.rstrip("cn"):
            asked[job] = (
                (size_mib("ReqMem", wanted.rstrip("cn")) or 0.0) / max(1.0, float(nodes or 1)),
                float(elapsed or 0),
            )
    both = {job: (most[job], *asked[job]) for job in most if job in asked}
    held = sum(mib * seconds for _, mib, seconds in both.values())
    used = sum(min(rss, mib) * seconds for rss, mib, seconds in both.values())
    if not held or used / held >= WORTH:
        return None
    ids = ",".join(sorted(both, key=lambda job: -both[job][1] * both[job][2])[:SHOWN])
    text = f"Your jobs used {100 * used / held:.0f} % of the memory that they asked for."
    return Hint("memory", text, f"sacct -j {ids} -o JobID,ReqMem,MaxRSS,Elapsed")


def _hours(jobs: Sequence[Job], intensity: Mapping[str, Any]) -> Hint | None:
    """Return a hint if the cleanest hours of the last seven days were cleaner than those of the jobs."""
    curve = Curve(intensity)
    grams = sum(job["carbon_ug"] for job in jobs if job.get("carbon_ug") and job.get("facility_uj")) / 1e6
    kwh = sum(job["facility_uj"] for job in jobs if job.get("carbon_ug") and job.get("facility_uj")) / UJ_PER_KWH
    by_hour: dict[int, list[float]] = {}
    for slot in curve.known:
        by_hour.setdefault(slot.start % DAY_S // 3600, []).append(slot.value)
    if len(by_hour) < 24 or kwh < LEAST_KWH:
        return None
    mean = {hour: sum(values) / len(values) for hour, values in by_hour.items()}
    windows = {h: sum(mean[(h + i) % 24] for i in range(WINDOW_H)) / WINDOW_H for h in range(24)}
    best = min(windows, key=lambda hour: windows[hour])
    if windows[best] >= (1 - CLEANER) * grams / kwh:
        return None
    text = (
        f"From {best:02}:00 to {(best + WINDOW_H) % 24:02}:00 UTC the grid had {windows[best]:.3g} g/kWh in the last week;"
        f" your jobs had {grams / kwh:.3g}: {grams - kwh * windows[best]:.3g} g of {grams:.3g} g."
    )
    return Hint("hours", text, "carbon-estimate --within 24h JOBSCRIPT", None)


def _kwh(jobs: Sequence[Job]) -> float:
    return float(sum((job.get("energy_uj") or 0) + (job.get("estimated_uj") or 0) for job in jobs) / UJ_PER_KWH)


def _seconds(text: str) -> float | None:
    """Return the seconds of sacct's TotalCPU (`1-02:03:04`, `02:03.456`), or None if it is no time."""
    whole, _, part = text.partition(".")
    parts = whole.replace("-", ":").split(":")
    if not whole or not all(one.isdigit() for one in parts):
        return None
    if "-" in whole:
        return float(limit_s(whole) or 0)
    total = 0
    for one in parts:
        total = 60 * total + int(one)
    return total + float(f"0.{part}" if part.isdigit() else 0)
