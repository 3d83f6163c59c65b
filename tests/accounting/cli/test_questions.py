# SPDX-License-Identifier: MIT
"""The ten questions of the README, each one command: what is printed there is what the commands print.

A real aggregator answers over HTTP, with a real munged; the jobs are made up. `WRITE_README=1` puts the answers into
the README.
"""

from __future__ import annotations

import datetime as dt
import os
import pwd
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounting.samples import SLOT, configure, job_slot, ledger, new_site, node_share, node_slot, segment
from accounting.served import Served, serve
from accounting.slurm_programs import StandIn
from carbon_acct.sync.slurm import Poller

README = Path(__file__).parents[3] / "README.md"
BLOCK = re.compile(r"(?<=<!-- questions -->\n```\n).*?(?=```\n)", re.DOTALL)
SLOT_S = SLOT // 1_500_000
UIDS = {"alice": 54001, "bob": 54002, "root": 0}
QUESTIONS = (
    ("What did I emit in October?", "alice", "carbon-acct --month 2026-10 --by month"),
    ("More or less than the month before?", "alice", "carbon-acct --month 2026-10 --compare"),
    ("In which project, partition and state?", "alice", "carbon-acct --month 2026-10 --by account,partition,state"),
    ("What came to nothing?", "alice", "carbon-acct --month 2026-10 --waste"),
    ("What can I do?", "alice", "carbon-acct --month 2026-10 --advice"),
    ("Who in my project used it?", "root", "carbon-acct --month 2026-10 -A physics --by user"),
    ("Who used most?", "root", "carbon-acct -a --month 2026-10 --by user --top 1"),
    ("What of it was idle, and which PUE?", "root", "carbon-acct -a --month 2026-10 --idle"),
    ("What was measured, what estimated?", "root", "carbon-acct -a --month 2026-10 -P --by account"),
    ("And this one job?", "alice", "carbon-acct show 11"),
)


def _at(text: str) -> int:
    return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp())


JOBS = (
    # number, name, user, account, partition, state, start, slots, watts of the CPU, of the GPU
    (11, "train", "alice", "physics", "gpu", "COMPLETED", "2026-10-05T08:00", 12, 150, 900),
    (12, "train", "alice", "physics", "gpu", "FAILED", "2026-10-06T08:00", 2, 150, 900),
    (13, "train", "alice", "physics", "gpu", "FAILED", "2026-10-06T10:00", 3, 150, 900),
    (14, "fit", "alice", "optics", "cpu", "COMPLETED", "2026-10-07T00:00", 8, 200, 0),
    (15, "fold", "bob", "physics", "cpu", "COMPLETED", "2026-10-08T00:00", 16, 220, 0),
    (16, "fold", "bob", "chemistry", "cpu", "CANCELLED by 54002", "2026-10-09T00:00", 4, 220, 0),
    (17, "train", "alice", "physics", "gpu", "COMPLETED", "2026-09-15T08:00", 6, 150, 900),
)


def _share(watts: int) -> dict[str, Any]:
    energy = {"energy_uj": watts * SLOT_S * 1_000_000, "static_uj": 50 * SLOT_S * 1_000_000}
    return energy | {"metered_us": SLOT_S * 1_000_000, "method": "counter"}


def _rows(job: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """The records of a job: its ledger, and what it and the node had in each slot."""
    number, _, user, account, partition, _, when, slots, cpu, gpu = job
    start = _at(when)
    who = {"job_id": number, "opened": start, "user": user, "account": account, "uid": UIDS[user]}
    yield ledger(**who, closed=start + slots * SLOT_S, partition=partition)
    for number_of, at in enumerate(range(start, start + slots * SLOT_S, SLOT_S)):
        # It begins slowly, and pauses once an hour.
        load = 0.4 if number_of == 0 or number_of % 4 == 3 else 1.0
        parts = {"cpu": _share(int(cpu * load))} | ({"gpu": _share(int(gpu * load))} if gpu else {})
        used = {"alloc_us": SLOT_S * 1_000_000, "cpu_us": 2 * SLOT_S * 900_000}
        yield job_slot(parts, job_id=number, opened=start, slot=at, **used)
        meters = {
            name: node_share(part["energy_uj"] * 5 // 4, part["energy_uj"] // 5, part["energy_uj"] // 20)
            for name, part in parts.items()
        }
        yield node_slot(meters, slot=at)


def _record(job: tuple[Any, ...]) -> dict[str, str]:
    """The record of a job as sacct has it."""
    number, name, user, account, partition, state, when, slots, *_ = job
    start, seconds = _at(when), slots * SLOT_S
    times = {
        "Submit": start - 60,
        "Eligible": start - 60,
        "Start": start,
        "End": start + seconds,
        "ElapsedRaw": seconds,
    }
    who = {"JobID": str(number), "JobIDRaw": str(number), "JobName": name, "User": user, "UID": str(UIDS[user])}
    rest = {"Account": account, "Partition": partition, "State": state, "TimelimitRaw": "1440"}
    return (
        who
        | rest
        | {name: str(value) for name, value in times.items()}
        | {"AllocTRES": "billing=2,cpu=2,mem=4096M,node=1"}
    )


@pytest.fixture(scope="module")
def aggregator(tmp_path_factory: pytest.TempPathFactory, munge_socket: str) -> Iterator[Served]:
    """An aggregator that has the jobs."""
    folder = tmp_path_factory.mktemp("questions")
    known = pwd.getpwuid
    names = {uid: type("Entry", (), {"pw_name": name}) for name, uid in UIDS.items() if uid}
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: names.get(uid) or known(uid))  # the name service is not ours
    slurm = StandIn(folder / "bin")
    slurm.jobs([_record(job) for job in JOBS])
    slurm.rights(tree="physics|root|\nphysics||alice\nphysics||bob\n")
    site = new_site(folder / "site", site_timezone="Europe/Berlin")
    poller = Poller(site, slurm.programs, "sacct", 60)
    poller.poll(thorough=True)
    for served in serve(site, poller, munge_socket):
        for sequence, job in enumerate(JOBS, 1):
            answer = served.ask("POST", "/v1/segments", segment(list(_rows(job)), sequence=sequence))
            assert b'"refused":[]' in answer.body, answer.body
        yield served
    site.database.close()
    monkeypatch.undo()


def _run(served: Served, folder: Path, user: str, command: str) -> str:
    """What a command prints when a user types it."""
    path = configure(folder, collector_aggregators=served.url, slurm_munge__socket="x")
    path.write_text(path.read_text().replace("munge__socket = x", f"munge_socket = {served.munge_socket}"))
    argv = [sys.executable, "-m", "carbon_acct.cli.acct", *shlex.split(command)[1:]]
    environment = {
        "CARBON_ACCT_CONF": str(path),
        "TZ": "Europe/Berlin",
        "PYTHONIOENCODING": "utf-8",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, user=UIDS[user], cwd="/")
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


@pytest.mark.root
def test_the_ten_questions(aggregator: Served) -> None:
    """Each of the ten questions is one command, and the README shows what it prints."""
    with tempfile.TemporaryDirectory(prefix="carbon-questions-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # users read the configuration
        parts = [f"$ {line}   # {asked}\n{_run(aggregator, folder, who, line)}\n" for asked, who, line in QUESTIONS]
    text = "".join(parts)

    if os.environ.get("WRITE_README"):
        README.write_text(BLOCK.sub(lambda _: text, README.read_text()))
    found = BLOCK.search(README.read_text())
    assert found is not None
    assert found[0] == text
