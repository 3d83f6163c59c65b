# SPDX-License-Identifier: MIT
"""Watts of allocated CPUs and GPUs: the own jobs' first, the partition's where that tells of nobody's job."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from accounting.samples import MINUTE_US, NOW, SLOT, job, job_slot, ledger, segment, share
from carbon_acct.access.viewer import EVERYTHING, Viewer
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.queries.power import power
from carbon_acct.site import Site
from carbon_acct.sync.jobs import record_jobs

J = 1_000_000


def private(user: str) -> Viewer:
    """A user from whom others' jobs are hidden."""
    return Viewer(uid=1000, sees_all=False, user=user)


def run(site: Site, number: int, user: str, watts: int, **changes: Any) -> None:
    """A job of a minute with 2 CPUs of `watts` each and, where `changes` gives some, a GPU of 100 W."""
    at = {"job_id": number, "user": user}
    gpu = {"gpu": share(100 * 60 * J)} if "gres/gpu" in changes.get("alloc_tres", "") else {}
    parts = {"cpu": share(2 * watts * 60 * J), "dram": share(60 * J), **gpu}
    known = job(job_id_raw=number, job_id=str(number), user=user, **changes)
    held = {"gpus": ["GPU-1"]} if gpu else {}
    with site.database.write() as session:
        record_jobs(session, [known], site.terms)
        body = segment([ledger(**at, **held), job_slot(parts, job_id=number, alloc_us=MINUTE_US)], sequence=number)
        assert not store_segment(session, parse_segment(body, NOW), site.terms, NOW).refused


@pytest.fixture
def full(site: Site) -> Site:
    """Alice has one job of 10 W a CPU; bob and carl have two each of 30 W; one GPU job of dora's elsewhere."""
    run(site, 1, "alice", 10)
    for number, user in ((2, "bob"), (3, "bob"), (4, "carl"), (5, "carl")):
        run(site, number, user, 30)
    run(site, 6, "dora", 20, partition="gpu", alloc_tres="cpu=2,gres/gpu:a100=1,gres/gpu=1")
    return site


def asked(site: Site, viewer: Viewer, partition: str = "p", gres: str = "") -> Any:
    with site.database.read() as session:
        assert isinstance(session, Session)
        return power(session, viewer, partition, gres, NOW)


def test_own_jobs_come_first(full: Site) -> None:
    """Energy over allocated CPU-seconds, memory with the CPUs: 10 W and half a watt."""
    found = asked(full, private("alice"))

    assert (found.basis, found.jobs) == ("own", 1)
    assert found.joules_per_cpu_second == pytest.approx(10.5)
    assert found.joules_per_gpu_second is None
    assert found.components == pytest.approx({"cpu": 10, "dram": 0.5})


def test_the_partition_hides_who_is_in_it(full: Site) -> None:
    """Five jobs of three users may be averaged, with two digits; four jobs, or two users, may not."""
    found = asked(full, private("erin"))

    assert (found.basis, found.jobs, found.joules_per_cpu_second) == ("partition", 0, 26.0)
    assert found.components == {"cpu": 26.0, "dram": 0.5}
    assert asked(full, private("erin"), "gpu").basis is None
    assert asked(full, private("erin"), "nowhere").basis is None


def test_four_jobs_are_too_few(site: Site) -> None:
    """Nobody's job is told from a mean of few."""
    for number, user in ((1, "alice"), (2, "bob"), (3, "carl"), (4, "dora")):
        run(site, number, user, 10)
    assert asked(site, private("erin")).basis is None
    run(site, 5, "dora", 10)
    assert asked(site, private("erin")).basis == "partition"


@pytest.mark.slow
def test_who_sees_all_jobs_sees_their_power(full: Site) -> None:
    """Without PrivateData there is nothing to hide; a type of GPU narrows the jobs."""
    found = asked(full, EVERYTHING, "gpu", "a100")

    assert (found.basis, found.jobs) == ("partition", 1)
    assert found.joules_per_gpu_second == pytest.approx(100)
    assert asked(full, EVERYTHING, "gpu", "v100").basis is None
    assert asked(full, EVERYTHING, "gpu", "%").basis is None
    assert asked(full, EVERYTHING).joules_per_cpu_second == pytest.approx(26.5)


def test_old_and_short_jobs_do_not_count(site: Site) -> None:
    """Of the last 30 days, a minute or longer."""
    run(site, 1, "alice", 10, elapsed_s=59)
    assert asked(site, private("alice")).basis is None
    run(site, 2, "alice", 10)
    with site.database.read() as session:
        assert power(session, private("alice"), "p", "", NOW).basis == "own"
        assert power(session, private("alice"), "p", "", SLOT + 31 * 86400).basis is None
