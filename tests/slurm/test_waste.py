# SPDX-License-Identifier: MIT
"""The demo's jobs by the rules of waste: who wasted is found with the joules, and who worked is not named.

How much CPU time a job gets depends on the host. So each bound is stated by what the job itself was metered to use.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm.cluster import Cluster
from slurm.demo import submit
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]
WORKS_PERCENT = 30
"""A job that used so much of the CPU time that it held worked: the rule's threshold is 20."""


def test_waste_of_the_demo(cluster: Cluster, product: Product) -> None:
    """`reserve` held CPUs and slept, `gpu-unused` a GPU; `fails` failed, `cancelled` was cancelled with its energy; `train`
    and `share-a` worked.
    """
    jobs = submit(cluster)
    product.wait_for(cluster.raw_ids(jobs))
    cluster.run(["carbon-mgr", "sync"])

    asked = ["carbon-acct", "-a", "--json", "-j", ",".join(map(str, jobs))]
    found: dict[str, Any] = {job["name"]: job for job in json.loads(cluster.run(asked).stdout)["jobs"]}

    assert 0 < found["reserve"]["cpu_unused_uj"] <= found["reserve"]["static_uj"]
    assert 0 < found["gpu-unused"]["gpu_idle_uj"] == found["gpu-unused"]["gpu_uj"]
    assert 0 <= found["train"]["gpu_idle_uj"] < found["train"]["gpu_uj"]
    assert found["train"]["cpu_unused_uj"] is None  # a job with GPUs is judged by them
    worked = found["share-a"]
    if worked["cpu_us"] * 100 >= WORKS_PERCENT * worked["core_us"]:  # else this host was too busy to run it
        assert worked["cpu_unused_uj"] * 2 < found["reserve"]["cpu_unused_uj"]
    assert found["fails"]["state"] == "FAILED"
    assert found["cancelled"]["state"].startswith("CANCELLED")
    assert found["cancelled"]["energy_uj"] > 0
    assert all(job["timelimit_s"] or job["req_tres"] for job in found.values())
