# SPDX-License-Identifier: MIT
"""Slurm's record of the jobs by pyslurm, in a process of its own: the contract with sacct, and what it cannot do to us."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accounting.samples import SLOT, job
from accounting.slurm.pyslurm_stand_in import FakePyslurm
from accounting.slurm_programs import StandIn
from carbon_acct.errors import SlurmError
from carbon_acct.slurm.choose import choose_client
from carbon_acct.slurm.client import SlurmClient, SlurmJob
from carbon_acct.slurm.pyslurm_db import PyslurmClient
from carbon_acct.slurm.sacct import FIELDS

UNTOLD = (
    *("alloc_tres", "group", "gid", "timelimit_s", "req_cpus", "req_nodes", "req_tres", "reason", "comment", "workdir"),
    *("derived_exit_code", "suspended_s"),
)


def told(**changes: Any) -> SlurmJob:
    """A job without what is not asked of pyslurm, or what it does not tell."""
    return job(**dict.fromkeys(UNTOLD), **changes)


REQUEUED = told(submit=SLOT - 100, start=SLOT - 90, end=SLOT - 30, state="REQUEUED")
JOBS = [
    REQUEUED,
    told(),
    told(job_id_raw=20, job_id="19_0", submit=SLOT + 1),
    told(job_id_raw=31, job_id="30+0", submit=SLOT + 2, state="CANCELLED by 0", exit_code="0:15"),
    told(job_id_raw=40, job_id="40", submit=SLOT + 3, end=None, state="RUNNING"),
]
NEWEST = [j for j in JOBS if j != REQUEUED]
OLD = ("heterogeneous_id", "heterogeneous_offset")
"""What releases before 25.11 have not."""


@pytest.fixture
def fake(tmp_path: Path) -> FakePyslurm:
    """A pyslurm that is installed for one Python."""
    return FakePyslurm(tmp_path)


def _sacct(slurm: StandIn, _fake: FakePyslurm) -> SlurmClient:
    def text(value: int | str | None) -> str:
        return "" if value is None else str(value)

    slurm.jobs(
        [
            {"JobIDRaw": text(j.job_id_raw), "JobID": j.job_id, "Submit": text(j.submit), "State": j.state}
            | {"Start": text(j.start), "End": text(j.end) or "Unknown", "ExitCode": text(j.exit_code)}
            | dict.fromkeys(("AllocTRES", *FIELDS[FIELDS.index("Group") :]), "")
            for j in JOBS
        ]
    )
    return choose_client("sacct", slurm.programs)


def _pyslurm(slurm: StandIn, fake: FakePyslurm) -> SlurmClient:
    slurm.jobs([], version="25.11.2")
    fake.says("25.11.2", JOBS)
    return choose_client("pyslurm", fake.programs(slurm.programs))


def _listed_pyslurm(slurm: StandIn, fake: FakePyslurm) -> SlurmClient:
    slurm.jobs([], version="25.11.2")
    fake.says("25.11.2", JOBS, listed=True)
    return choose_client("pyslurm", fake.programs(slurm.programs))


@pytest.mark.parametrize("make", [_sacct, _pyslurm, _listed_pyslurm])
def test_contract(make: Callable[[StandIn, FakePyslurm], SlurmClient], slurm: StandIn, fake: FakePyslurm) -> None:
    """Sacct and pyslurm give the same objects for the same jobs, oldest submit first."""
    client = make(slurm, fake)
    found = client.jobs(SLOT, SLOT + 900)
    assert found == (JOBS if client.every_run else NEWEST)
    assert client.name.split()[0] in ("sacct", "pyslurm")


def _old(slurm: StandIn, fake: FakePyslurm, **values: object) -> SlurmClient:
    slurm.jobs([], version="22.05.8")
    fake.says("22.5.3", NEWEST, lacks=OLD, **values)  # type: ignore[arg-type]
    return choose_client("pyslurm", fake.programs(slurm.programs, timeout_s=2))


def test_what_a_release_has_not(slurm: StandIn, fake: FakePyslurm) -> None:
    """Without `heterogeneous_id` a component is shown by its own number; nothing else changes, and nothing fails."""
    found = _old(slurm, fake).jobs(SLOT, SLOT + 900)

    assert [j.job_id for j in found] == ["7", "19_0", "31", "40"]
    assert [replace(j, job_id="") for j in found] == [replace(j, job_id="") for j in NEWEST]


def test_a_user_who_has_left(slurm: StandIn, fake: FakePyslurm, caplog: pytest.LogCaptureFixture) -> None:
    """A uid that passwd does not know costs that job its user's name, is told once, and no other job anything."""
    client = _old(slurm, fake, broken="user_name")
    client.jobs(SLOT, SLOT + 900)
    found = client.jobs(SLOT, SLOT + 900)

    assert [(j.user, j.uid) for j in found] == [(None, 1000), *((j.user, j.uid) for j in NEWEST[1:])]
    assert [r.message for r in caplog.records if "user_name is unknown: KeyError" in r.message] == [
        "pyslurm: job 7: user_name is unknown: KeyError: 70001; more of this kind are not told"
    ]


def test_a_library_that_ends_its_process(slurm: StandIn, fake: FakePyslurm) -> None:
    """Without slurm.conf libslurm calls fatal(): it is one line, and not the aggregator's end."""
    client = _old(slurm, fake)
    fake.says("22.5.3", NEWEST, lacks=OLD, fatal=True)

    with pytest.raises(SlurmError, match="pyslurm: fatal: Could not establish a configuration source"):
        client.jobs(SLOT, SLOT + 900)


def test_a_slow_slurmdbd_and_an_endless_answer(slurm: StandIn, fake: FakePyslurm) -> None:
    """The process is given up after the deadline that sacct has, and never fills the memory."""
    client = _old(slurm, fake)
    fake.says("22.5.3", NEWEST, lacks=OLD, slow_s=60)
    began = time.monotonic()
    with pytest.raises(SlurmError, match="pyslurm did not answer within 2 s"):
        client.jobs(SLOT, SLOT + 900)
    assert time.monotonic() - began < 10

    fake.says("22.5.3", [job(job_id_raw=n, job_id=str(n), name="x" * 900) for n in range(1, 1500)])
    with pytest.raises(SlurmError, match="more than 1 MiB at once"):
        client.jobs(SLOT, SLOT + 900)


@pytest.mark.parametrize("release", ["22.5.1", "25.11.2", "unknown"])
def test_auto(release: str, slurm: StandIn, fake: FakePyslurm) -> None:
    """`auto` takes pyslurm only if its release is the site's and it tells every run, which none does (ADR 6)."""
    fake.says(release)
    assert choose_client("auto", fake.programs(slurm.programs)).every_run
    assert "pyslurm" not in sys.modules


def test_auto_takes_a_pyslurm_that_tells_every_run(
    slurm: StandIn, fake: FakePyslurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once pyslurm tells every run, `auto` takes it where it fits the site's Slurm, and only there."""
    monkeypatch.setattr(PyslurmClient, "every_run", True)
    names = []
    for release in ("22.5.1", "25.11.2", "unknown"):
        fake.says(release)
        names.append(choose_client("auto", fake.programs(slurm.programs)).name)
    assert names == ["pyslurm 22.5", "sacct", "sacct"]


def test_no_pyslurm(slurm: StandIn) -> None:
    """Without pyslurm `auto` is sacct, and asking for pyslurm is an error that says what to do."""
    assert choose_client("auto", slurm.programs).name == "sacct"
    with pytest.raises(SlurmError, match="pyslurm is not installed"):
        choose_client("pyslurm", slurm.programs)


def test_foreign_pyslurm(slurm: StandIn, fake: FakePyslurm) -> None:
    """Pyslurm of another release is not taken even where it is asked for."""
    fake.says("25.11.2")
    with pytest.raises(SlurmError, match=r"pyslurm 25\.11 does not fit the site's Slurm 22\.05"):
        choose_client("pyslurm", fake.programs(slurm.programs))
