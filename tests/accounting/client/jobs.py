# SPDX-License-Identifier: MIT
"""Jobs as an aggregator answers them, of every quality and with hostile names."""

from __future__ import annotations

from typing import Any

NOW = 1_784_000_000  # 2026-07-14T03:33:20 UTC
JOB: dict[str, Any] = {
    "job_id": "12",
    "job_id_raw": 12,
    "name": "train",
    "user": "alice",
    "uid": 1001,
    "account": "physics",
    "partition": "batch",
    "qos": "normal",
    "cluster": "demo",
    "state": "COMPLETED",
    "exit_code": "0:0",
    "restarts": 0,
    "submit": NOW - 7300,
    "start": NOW - 7200,
    "end": NOW - 3600,
    "elapsed_s": 3600,
    "nnodes": 2,
    "ncpus": 8,
    "alloc_tres": "cpu=8,gres/gpu=1,mem=4096M,node=2",
    "nodelist": "n[1-2]",
    "energy_uj": 4_500_000_000_000,
    "cpu_uj": 3_000_000_000_000,
    "dram_uj": 500_000_000_000,
    "gpu_uj": 1_000_000_000_000,
    "other_uj": None,
    "static_uj": 1_200_000_000_000,
    "estimated_uj": None,
    "facility_uj": 5_850_000_000_000,
    "pue": 1.3,
    "carbon_ug": 619_300_000,
    "carbon_market_ug": None,
    "embodied_ug": None,
    "upstream_ug": None,
    "td_ug": None,
    "intensity_g_per_kwh": 381.11,
    "intensity_source": "Ember yearly, 2023",
    "zone": "DE",
    "coverage": 100.0,
    "quality": "measured",
    "notes": [],
    "simulated": False,
    "group": "users",
    "gid": 100,
    "eligible": NOW - 7300,
    "timelimit_s": 7200,
    "req_cpus": 8,
    "req_nodes": 2,
    "req_tres": "cpu=8,mem=1536M",
    "reason": "Resources",
    "comment": None,
    "workdir": "/home/alice",
    "derived_exit_code": "0:0",
    "suspended_s": 0,
    "cpu_us": 14_400_000_000,
    "core_us": 28_800_000_000,
    "gpu_us": 3_600_000_000,
    "gpu_idle_uj": 900_000_000_000,
    "cpu_unused_uj": 1_000_000_000,
}
"""A job as docs/http-api.md says, every key there."""


def job(**changes: Any) -> dict[str, Any]:
    """A job that differs from JOB in `changes`."""
    assert changes.keys() <= JOB.keys()
    return {**JOB, **changes}


SIMULATED = job(job_id="13", simulated=True)
PARTIAL = job(
    job_id="14", dram_uj=None, quality="partial", coverage=98.97, notes=["dram: energy_uj: permission denied"]
)
UNKNOWN = job(job_id="15", quality="none") | dict.fromkeys(
    (key for key in JOB if key.endswith(("_uj", "_ug", "_us")) or key in {"intensity_g_per_kwh", "coverage", "pue"}),
    None,
)
HOSTILE = job(job_id="16", name="=cmd|'/C calc'!A0\n\x1b[2Jx\udcff\u202e", account="a|b\\c")
TINY = job(job_id="17", energy_uj=300_000, carbon_ug=12, elapsed_s=1, start=NOW - 1, end=NOW)
RUNNING = job(job_id="18", state="RUNNING", end=None)
GUESSED = job(
    job_id="19", energy_uj=None, estimated_uj=15_120_000_000_000, carbon_ug=23_900_000_000, quality="estimated"
)
HALF_GUESSED = job(job_id="20", estimated_uj=4_500_000_000_000, quality="partial")
SUSPENDED = job(job_id="21", state="SUSPENDED", elapsed_s=1800, suspended_s=1800)
