# SPDX-License-Identifier: MIT
"""The commands of README, the guides and the man pages: each is run here, by another test, or listed with the reason why by none."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accounting.db.fixtures import Backend
from accounting.samples import configure, job, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.sync.jobs import record_jobs
from slurm.layout import CHECKOUT

PAGES = ("README.md", "docs/users.md", "docs/admin.md", "docs/ondemand.md", "docs/rollout.md", "ansible/README.md")
MAN_PAGES = tuple(sorted(f"docs/man/{path.name}" for path in (CHECKOUT / "docs" / "man").glob("*.[158]")))
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EXAMPLES = re.compile(r"^\.SH EXAMPLES\n\.nf\n(.*?)^\.fi$", re.DOTALL | re.MULTILINE)
OURS = ("carbon-acct", "carbon-estimate", "carbon-mgr", "carbon-report", "carbon-collector", "carbon-track")
MODULES = {
    "carbon-acct": "carbon_acct.cli.acct",
    "carbon-estimate": "carbon_acct.cli.estimate",
    "carbon-mgr": "carbon_acct.cli.mgr",
    "carbon-report": "carbon_reports.cli",
    "carbon-collector": "carbon_collector",
    "carbon-track": "carbon_job",
}
ELSEWHERE = {
    "make demo": "tests/slurm/test_lives.py, by the demo's own parts",
    "make test": "is what runs these tests",
    "dpkg -i": "tests/rollout/test_readme.py",
    "sacctmgr -i add user carbon-acct": "tests/rollout/test_readme.py",
    "systemctl enable --now": "tests/rollout/test_readme.py",
    "install -D -m 644 carbon-acct.conf": "tests/rollout/test_readme.py",
    "carbon-mgr init": "tests/rollout/test_readme.py and tests/accounting/cli/test_init.py",
    "carbon-report send": "tests/reports/test_mail.py: it asks Slurm for the users and their mail domain",
    "carbon-track": "tests/job/test_carbon_track.py: it needs a job",
    "srun carbon-track": "tests/slurm/test_tracking.py: it needs a step",
    "ansible-playbook": "tests/rollout/test_whole_life.py",
}
BY_NOBODY = {
    "python3 -m venv": "it asks PyPI",
    "/opt/carbon-acct/bin/pip install": "it asks PyPI",
    "ln -s /opt/carbon-acct": "follows on the two above",
    "useradd": "tests/units makes the user in the same way",
    "install -m": "tests/units installs the same files in the same places",
    "install -D -m 755": "the same",
    "cp -r ansible/inventory": "copying a folder",
    "cd ansible": "as it says",
}
JULY = 1782900000
"""2026-07-01T10:00Z: the man page of carbon-acct asks for July."""
UNWELL = ("carbon-mgr doctor", "carbon-collector probe --doctor")
"""Commands that say by exit status 1 that the site is not well, which that of this test is not."""


def commands() -> dict[str, str]:
    """Every command of the pages -> the page that has it first. Comments and what a command prints are left out."""
    found: dict[str, str] = {}
    for page in PAGES:
        for block in BLOCK.findall((CHECKOUT / page).read_text()):
            if block.startswith(("$ ", "Prolog=", "#!")):
                continue
            for line in block.splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if command and not command.startswith("#"):
                    found.setdefault(command, page)
    for page in MAN_PAGES:
        for block in EXAMPLES.findall((CHECKOUT / page).read_text().replace("\\-", "-")):
            lines = block.splitlines()
            prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            for command in prompted or lines:  # with a prompt, what is printed follows
                found.setdefault(command.strip(), page)
    return found


HERE = [c for c in commands() if shlex.split(c)[0] in OURS and not any(c.startswith(one) for one in ELSEWHERE)]


@pytest.fixture(scope="module")
def backend(fresh_database: Path) -> Backend:
    """SQLite alone: the commands are the same everywhere."""
    return Backend(fresh_database)


DAY_S = 86_400
BEFORE_MIDNIGHT_S = 120
"""Seconds that all commands may take."""


@pytest.fixture
def here(tmp_path: Path, served: Served, slurm: StandIn) -> Path:
    """A folder of a user's with a script, and a configuration whose aggregator has a job."""
    left_s = DAY_S - time.time() % DAY_S
    if left_s < BEFORE_MIDNIGHT_S:
        time.sleep(left_s)  # else a command that is about today would find the job of yesterday
    now = int(time.time()) // 900 * 900
    times = {7: now, 1234: JULY}
    rows = [row for number, at in times.items() for row in _rows(number, at)]
    assert served.ask("POST", "/v1/segments", segment(rows)).status == 200
    jobs = [
        job(job_id_raw=number, job_id=f"{number}", submit=at, start=at, end=at + 60) for number, at in times.items()
    ]
    with served.site.database.write() as session:
        record_jobs(session, jobs, served.site.terms)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "train.sh").write_text("#!/bin/sh\n#SBATCH --time=1:00:00 --ntasks=2 --partition=p\nsleep 60\n")
    configure(
        folder,
        collector_aggregators=served.url,
        slurm_munge_socket=served.munge_socket,
        aggregator_database=str(served.site.database.engine.url),
        reports_output_dir=str(folder / "reports"),
    )
    return folder


def _rows(number: int, at: int) -> list[dict[str, Any]]:
    """What a node delivers of a job in the slot that begins at a time."""
    of = {"job_id": number, "opened": at}
    return [ledger(**of), job_slot(**of, slot=at), node_slot(slot=at)]


def test_each_command_is_somewhere() -> None:
    """Each command of the pages and of the man pages' examples is run here, by a test that is named, or is listed with the reason why not."""
    known = (*ELSEWHERE, *BY_NOBODY)
    lost = {c: page for c, page in commands().items() if c not in HERE and not any(c.startswith(one) for one in known)}

    of_man = {Path(page).name for command, page in commands().items() if command in HERE and page in MAN_PAGES}
    assert len(HERE) > 30
    assert of_man == {"carbon-acct.1", "carbon-estimate.1", "carbon-mgr.8", "carbon-report.1"}
    assert {c: p for c, p in lost.items() if c not in ("scontrol reconfigure",)} == {}


@pytest.mark.slow
def test_each_command_runs(here: Path) -> None:
    """Each of our commands in README, the guides and the man pages ends well against a running aggregator; those of the
    man pages say something.
    """
    failed = {}
    for command in HERE:
        program, *words = shlex.split(command.replace("/var/lib/carbon-aggregator/backup/today", str(here / "backup")))
        code = f"import sys; sys.argv[0] = {program!r}; from {MODULES[program]}{'.cli' if program == 'carbon-collector' else ''} import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=here,
            env={"CARBON_ACCT_CONF": str(here / "carbon-acct.conf"), "PATH": "/usr/bin:/bin", "HOME": str(here)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode not in ((0, 1) if command in UNWELL else (0,)) or "Traceback" in done.stderr:
            failed[command] = f"exit {done.returncode}: {done.stderr}{done.stdout[-500:]}"
        elif commands()[command] in MAN_PAGES and not done.stdout.strip():
            failed[command] = "says nothing"

    assert failed == {}
