# SPDX-License-Identifier: MIT
"""carbon-mgr doctor: a site that is well has nothing to fix, and each thing that is wrong is named with what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.db.fixtures import Backend
from accounting.samples import configure, job, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct import doctor
from carbon_acct.cli import mgr
from carbon_acct.client import status
from carbon_acct.doctor import FIX, LOOK, OK, Finding
from carbon_acct.sync.jobs import record_jobs
from carbon_collector import settings

Examine = Callable[..., dict[str, list[Finding]]]


@pytest.fixture(scope="session")
def backend(fresh_database: Path) -> Backend:
    """SQLite alone: what is tested here is beside it."""
    return Backend(fresh_database)


@pytest.fixture
def examine(tmp_path: Path, served: Served, slurm: StandIn) -> Examine:
    """Examines the site that is served; findings by subject. Settings may be changed."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "carbon-acct.db").touch(0o600)

    def call(**values: str) -> dict[str, list[Finding]]:
        given = {"collector_aggregators": served.url, "slurm_munge_socket": served.munge_socket} | values
        path = str(configure(folder, **given))
        found: dict[str, list[Finding]] = {}
        for finding in doctor.findings(lambda: settings.load(path), path, slurm.programs):
            found.setdefault(finding.subject, []).append(finding)
        return found

    return call


def levels(found: dict[str, list[Finding]]) -> dict[str, str]:
    """The worst of each subject."""
    return {name: max((f.level for f in many), key=[OK, LOOK, FIX].index) for name, many in found.items()}


def now_slot() -> int:
    now = int(time.time())
    return now - now % 900


def test_well(served: Served, examine: Examine) -> None:
    """A site that is well: every check finds it so, and each says what it looked at."""
    at = now_slot()
    rows = [ledger(opened=at), job_slot(slot=at, opened=at), node_slot(slot=at)]
    assert served.ask("POST", "/v1/segments", segment(rows)).status == 200
    with served.site.database.write() as session:
        record_jobs(session, [job(submit=at, start=at, end=at + 60)], served.site.terms)
    found = examine()
    subjects = (
        "configuration zone pue grid munge database disk slurm slurmdbd aggregator poll nodes unmatched conservation"
    )
    expected = set(subjects.split()) - {"database"}
    assert {name: level for name, level in levels(found).items() if level != OK} in ({}, {"disk": FIX})
    assert set(found) == expected
    assert all(f.text for many in found.values() for f in many)


@pytest.mark.parametrize(
    ("values", "subject", "level", "says"),
    [
        ({"site_cluster": "other"}, "slurm", FIX, "ClusterName is demo"),
        ({"collector_aggregators": "http://127.0.0.1:1"}, "aggregator", FIX, "start carbon-aggregator there"),
        ({"slurm_munge_socket": "/nonexistent"}, "munge", FIX, "start munged"),
        ({"site_zon": "DE"}, "configuration", FIX, "did you mean 'zone'"),
    ],
)
def test_settings(examine: Examine, values: dict[str, str], subject: str, level: str, says: str) -> None:
    """Settings that do not fit the site are named."""
    found = examine(**values)
    assert levels(found)[subject] == level
    assert any(says in f.text for f in found[subject])


def test_permissions(examine: Examine, tmp_path: Path) -> None:
    """Files that others may write or read, and should not, are named with the command that mends them."""
    path, database = tmp_path / "own" / "carbon-acct.conf", tmp_path / "own" / "carbon-acct.db"
    examine()
    path.chmod(0o666)
    database.chmod(0o644)
    found = examine()
    assert f"chmod go-w {path}" in found["configuration"][0].text
    assert f"chmod go= {database}" in found["database"][0].text
    path.chmod(0o644)
    found = examine(aggregator_database="mysql+pymysql://u:secret@db/x")
    assert f"chmod o-r {path}" in found["configuration"][0].text


def test_hourly_intensities_are_suggested(examine: Examine) -> None:
    """A site that has only the yearly factor hears of who knows its zone by the hour; one that chose hears nothing."""
    assert "energycharts, yearly would give hourly intensities" in examine(site_zone="DE")["grid"][0].text
    assert not any("would" in found.text for found in examine(grid_providers="yearly").get("grid", []))


def test_unset(tmp_path: Path) -> None:
    """A zone and a PUE that nobody set are pointed out: figures would be right for nobody."""
    path = tmp_path / "c.conf"
    path.write_text(f"[collector]\nstate_dir = {tmp_path}\naggregators = http://127.0.0.1:1\n")
    found = list(doctor.findings(lambda: settings.load(str(path)), str(path), StandIn(tmp_path / "bin").programs))
    assert {f.subject for f in found if f.level == LOOK} >= {"zone", "pue"}


def test_slurm(served: Served, examine: Examine, slurm: StandIn) -> None:
    """Slurm that does not answer, or lags, or hides jobs from the aggregator, and a poll that fails."""
    slurm.says("sdiag", "DBD Agent queue size: 54321\n")
    assert levels(examine())["slurmdbd"] == LOOK
    (slurm.folder / "sacctmgr show configuration.txt").unlink()
    assert levels(examine())["slurmdbd"] == FIX
    (slurm.folder / "scontrol show config.txt").unlink()
    assert levels(examine())["slurm"] == FIX
    state = served.poller.state
    served.poller.state = replace(state, error="sacct: no")
    assert "sacct: no" in examine()["poll"][0].text
    served.poller.state = replace(state, polled_at=int(time.time()) - 9999)
    assert "has not asked Slurm for" in examine()["poll"][0].text


def test_nodes(served: Served, examine: Examine, slurm: StandIn) -> None:
    """Nodes of Slurm that never delivered, those that fell silent, and one whose clock is ahead."""
    slurm.says("sinfo", "n1 localhost 127.0.0.1\nn2 localhost 127.0.0.1\nn3 localhost 127.0.0.1\n")
    served.poller.poll(thorough=True)
    served.ask("POST", "/v1/segments", segment([node_slot()]))
    served.ask("POST", "/v1/segments", segment([node_slot(slot=now_slot() + 900)], node="n2"))
    found = examine()
    texts = [f.text for f in found["nodes"]]
    assert "1 of Slurm's nodes never delivered: n3;" in texts[0]
    assert "1 of Slurm's nodes delivered nothing for a day: n1;" in texts[1]
    assert "NTP" in found["clock"][0].text
    lines = list(status.lines(json.loads(served.ask("GET", "/v1/status").body)))
    assert "silent:    1 nodes never delivered: n3" in lines
    assert "silent:    1 nodes delivered no slot for a day: n1" in lines
    newest = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(now_slot() + 900))
    assert any(line.endswith(f"newest slot: {newest}") for line in lines)


def test_accounts(served: Served, examine: Examine) -> None:
    """Ledgers without a job are pointed out; energy that is not accounted for is to be fixed."""
    at = now_slot()
    served.ask("POST", "/v1/segments", segment([ledger(opened=at), job_slot(slot=at, opened=at)]))
    found = levels(examine())
    assert (found["unmatched"], found["conservation"]) == (LOOK, FIX)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing runs, the command says so line by line, and returns 1."""
    path = configure(tmp_path, collector_aggregators="http://127.0.0.1:1", slurm_munge_socket="/nonexistent")
    assert mgr.main(["--config", str(path), "doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {OK, FIX}
    assert any(line.startswith("fix   aggregator: ") for line in lines)
