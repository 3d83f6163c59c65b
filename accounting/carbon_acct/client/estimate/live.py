# SPDX-License-Identifier: MIT
"""Reads the live file of a job that runs on this node, which is newer than what an aggregator has been told.

Only the job's owner may read it (docs/record-format.md, Live energy). `carbon_job.live` reads the same file inside a job.
"""

from __future__ import annotations

import json
from pathlib import Path

from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Job = Mapping[str, Any]

US_PER_S = 1_000_000
MOST_BYTES = 1 << 20
AMOUNTS = ("facility_uj", "carbon_ug", "carbon_market_ug")
"""The figures that grow with the energy, by the mean PUE and intensity of the job so far."""


def of_this_node(job_id: str, run_dir: str) -> dict[str, Any] | None:
    """Return the live state of a job: `energy_uj`, `gpu_uj` if it is known, `elapsed_s`, `simulated`. None: the job does
    not run here, is another user's, or nothing of it is known.
    """
    if not job_id.isdigit():
        return None
    try:
        with Path(run_dir, "live", f"{job_id}.json").open("rb") as file:
            facts = json.loads(file.read(MOST_BYTES))
        known = {
            name: part["energy_uj"] for name, part in facts["components"].items() if part.get("energy_uj") is not None
        }
        found = {
            "energy_uj": sum(map(int, known.values())),
            "elapsed_s": int(facts["held_us"]) // US_PER_S,
            "simulated": bool(facts.get("simulated")),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not known:
        return None
    return {**found, "gpu_uj": known["gpu"]} if "gpu" in known else found


def updated(job: Job, run_dir: str) -> Job:
    """Return a job with its live energy, if it runs on this node alone and the live file is ahead of the aggregator."""
    if job.get("state") != "RUNNING" or (job.get("nnodes") or 1) > 1:
        return job
    here = of_this_node(str(job.get("job_id_raw") or ""), run_dir)
    before = job.get("energy_uj") or 0
    if here is None or here["energy_uj"] <= before:
        return job
    grown = {name: round(job[name] * here["energy_uj"] / before) for name in AMOUNTS if before and job.get(name)}
    return {**job, **dict.fromkeys(AMOUNTS), **grown, **here, "estimated_uj": None, "live": True}


def alone(ids: str, run_dir: str) -> list[Job]:
    """Return the jobs that run on this node, where no aggregator knows of them."""
    jobs = ((job_id, of_this_node(job_id, run_dir)) for job_id in ids.split(","))
    told = {"state": "RUNNING", "quality": "live", "live": True}
    return [{"job_id": job_id, "job_id_raw": job_id, **told, **here} for job_id, here in jobs if here is not None]
