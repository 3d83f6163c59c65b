# SPDX-License-Identifier: MIT
"""carbon-acct beside the real `sacct -X`: no habit of a sacct user breaks.

`HABITS=all .venv/bin/pytest -m slurm tests/slurm/test_differential.py` runs every command line as every one of the four.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carbon_acct.client.habits import DIFFERENCES
from collector.process import eventually
from slurm import habits, privacy
from slurm.cluster import Cluster
from slurm.differential import VIEWERS, Case, answers, cases, difference, different, values_of

pytestmark = pytest.mark.slurm
LEAST = 120
RULES = {"empty", "text", "exit", "running", "cut", "nodes", "never"}
"""The differences that are in cells and exit statuses of all answers; `difference` takes them out."""


@pytest.fixture(scope="module")
def scene(folder: Path) -> Iterator[tuple[Cluster, habits.Scene]]:
    """A cluster of its own with every kind of job, where jobs are private: other tests leave jobs that slurmdbd forgot."""
    with Cluster(folder / "habits", name="habits") as cluster:
        with (cluster.layout.etc / "slurm" / "slurmdbd.conf").open("a") as conf:
            conf.write("PrivateData=jobs\n")
        privacy.take_in(cluster, "jobs")
        cluster.start_aggregator()
        jobs = habits.set_scene(cluster)
        yield cluster, jobs
        habits.clear(cluster, jobs)
    shutil.rmtree(folder / "habits", ignore_errors=True)


def asked_by(viewer: str, wanted: list[Case]) -> list[Case]:
    """All command lines for root; of the others each has every third, unless all are to be run as everybody."""
    number = list(VIEWERS).index(viewer)
    return wanted if number == 0 or os.environ.get("HABITS") == "all" else wanted[number % 3 :: 3]


def until_known(cluster: Cluster, scene: habits.Scene) -> None:
    """Wait until the accounting knows what slurmdbd does. A poll does not tell of all that waits; who asks for it does."""
    query = ["-a", "-n", "-P", "-o", "JobID", "-j", ",".join(map(str, scene.jobs.values()))]

    def told(*program: str) -> set[str]:
        return set(cluster.run([*program, *query]).stdout.split())

    eventually(lambda: told("carbon-acct") == told("sacct", "-X"), "all jobs are known")


def test_answers_are_those_of_sacct(scene: tuple[Cluster, habits.Scene]) -> None:
    """With at least 120 combinations of options, each as root and as a user, a coordinator or a stranger in turn: the same
    success, rows, order and cells, but for the differences of the man page; and every error is one line.
    """
    cluster, jobs = scene
    cluster.run(["carbon-mgr", "sync"])
    until_known(cluster, jobs)
    wanted = cases(values_of(jobs, cluster.name))
    assert len({case.options for case in wanted}) >= LEAST

    def of(viewer: str) -> list[str]:
        mine = asked_by(viewer, wanted)
        found = zip(mine, answers(cluster, VIEWERS[viewer], mine), strict=True)
        return [f"{viewer}: {case.options}: {says}" for case, pair in found if (says := difference(case, *pair))]

    with ThreadPoolExecutor(2) as pool:
        wrong = [line for lines in pool.map(of, VIEWERS) for line in lines]

    assert not wrong, "\n".join(wrong)


def test_wanted_differences_are_there(scene: tuple[Cluster, habits.Scene]) -> None:
    """Every difference of the man page is one: its command line is answered otherwise, or a rule of the comparison has it."""
    cluster, jobs = scene
    wanted = different(values_of(jobs, cluster.name))
    shown: list[Case] = [case for _, case in wanted]
    same = [
        f"{name}: {case.options}"
        for (name, case), pair in zip(wanted, answers(cluster, 0, shown), strict=True)
        if not difference(case, *pair)
    ]

    assert not same
    assert {one.name for one in DIFFERENCES} == RULES | {name for name, _ in wanted}
