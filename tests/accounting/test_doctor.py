# SPDX-License-Identifier: MIT
"""carbon-mgr doctor: a site that is well has nothing to fix, and each thing that is wrong is named with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.db.fixtures import Backend
from accounting.samples import configure, job, job_slot, ledger, node_slot, segment
from accounting.served import Served
from accounting.slurm_programs import SLURM_CONF, StandIn
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
        "configuration zone pue grid munge database disk slurm slurmdbd slurm.conf listen aggregator settings poll nodes"
        " unmatched conservation"
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
        ({"site_zone": "XX-NOWHERE"}, "grid", FIX, "XX-NOWHERE"),
        ({"site_pue": "0.3"}, "grid", FIX, "[site] pue"),
        ({"grid_providers": "nobody"}, "grid", FIX, "nobody: no such provider"),
        ({"aggregator_listen": "tea"}, "listen", FIX, "[aggregator] listen = tea: not an address"),
        ({"aggregator_database": "tea"}, "database", FIX, "not a database URL"),
        ({"aggregator_database": "sqlite://"}, "database", FIX, "SQLite needs a file"),
        ({"aggregator_database": "oracle+cx_oracle://h/c"}, "database", FIX, "oracle is none of SQLite"),
        ({"aggregator_database": "mysql+mysqldb://h/c"}, "database", FIX, "pip install 'carbon-acct[mariadb]'"),
        ({"aggregator_database": "mysql+pymysql://u@127.0.0.1:1/c"}, "database", FIX, "127.0.0.1:1"),
    ],
)
def test_settings(examine: Examine, values: dict[str, str], subject: str, level: str, says: str) -> None:
    """Settings that do not fit the site are named."""
    found = examine(**values)
    assert levels(found)[subject] == level
    assert any(says in f.text for f in found[subject])


STARTS_NOT = [
    {"site_zone": "XX-NOWHERE"},
    {"aggregator_listen": "tea"},
    {"aggregator_database": "oracle+cx_oracle://h/c"},
    {"aggregator_database": "mysql+mysqldb://h/c"},
]


@pytest.mark.slow
@pytest.mark.parametrize("values", STARTS_NOT, ids=lambda values: next(iter(values.values())))
def test_exit_1_where_the_aggregator_would_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: dict[str, str]
) -> None:
    """The aggregator fails on the file in one line, and the doctor, given the same file, names it and returns 1."""
    path = configure(tmp_path, **values)
    aggregator = [sys.executable, "-m", "carbon_acct.cli.aggregator", "--config", str(path)]
    started = subprocess.run(aggregator, capture_output=True, text=True, timeout=60, check=False)
    status = mgr.main(["--config", str(path), "doctor"])
    named = [line for line in capsys.readouterr().out.splitlines() if "carbon-aggregator would not start" in line]

    assert (started.returncode, status) == (1, 1)
    assert len(started.stderr.splitlines()) == 1
    assert len(named) == 1
    assert started.stderr.strip().removeprefix("carbon-aggregator: ") in named[0]


SLURM_FAULTS = {
    "no hooks": ({"Prolog": "(null)", "Epilog": "(null)"}, "add Epilog=/etc/slurm/epilog.d/carbon-acct.sh"),
    "a hook of the site's own": ({"Prolog": "/opt/p.sh"}, "replace it with Prolog=/etc/slurm/prolog.d/*.sh"),
    "lines of its own": (
        {"Prolog": "", "Prolog[0]": "/opt/p.sh", "Prolog[1]": "/opt/q.sh"},
        "the Prolog of the last line only",
    ),
    "no Alloc": ({"PrologFlags": "NoHold"}, "PrologFlags=NoHold,Alloc"),
    "no cgroups": ({"ProctrackType": "proctrack/linuxproc"}, ": ProctrackType=proctrack/cgroup"),
    "no CPU time": ({"JobAcctGatherType": "(null)"}, ": JobAcctGatherType=jobacct_gather/cgroup"),
}


@pytest.mark.parametrize("name", SLURM_FAULTS)
def test_what_slurm_runs_with(examine: Examine, slurm: StandIn, name: str) -> None:
    """Each setting of Slurm's that figures suffer from is named with the line to change; it is no reason to fail."""
    change, says = SLURM_FAULTS[name]
    slurm.says("scontrol show config", "".join(f"{k} = {v}\n" for k, v in (SLURM_CONF | change).items()))
    found = examine()["slurm.conf"]

    assert {f.level for f in found} == {LOOK}
    assert any(says in f.text for f in found), found


def test_several_lines_with_ours_among_them(examine: Examine, slurm: StandIn) -> None:
    """Slurm 24.05 and newer show each line of a setting by number; one of them may be ours."""
    several = {"Prolog": "", "Prolog[0]": "/opt/p.sh", "Prolog[1]": "/etc/slurm/prolog.d/carbon-acct.sh"}
    slurm.says("scontrol show config", "".join(f"{k} = {v}\n" for k, v in (SLURM_CONF | several).items()))
    slurm.jobs([], version="24.05.4")

    assert levels(examine())["slurm.conf"] == OK


def test_nodes_that_a_prolog_drained(examine: Examine, slurm: StandIn) -> None:
    """Nodes are named with Slurm's reason and the command that resumes them; other reasons are not the doctor's."""
    slurm.says(
        "sinfo %N|%T|%E", "n1|drained|Prolog error\nn2|draining|Prolog error\nn3|drained|new disk\nn4|idle|none\n"
    )
    (found,) = examine()["drained"]

    assert found.level == FIX
    assert "2 nodes (n1,n2) are drained by 'Prolog error'" in found.text
    assert "scontrol update nodename=n1,n2 state=resume" in found.text


def test_loopback_while_nodes_are_elsewhere(examine: Examine, slurm: StandIn) -> None:
    """Listening on loopback is a fault where a node lives elsewhere, unless a proxy stands before it."""
    assert levels(examine())["listen"] == OK
    slurm.says("sinfo", "n1 n1.cluster 10.0.0.1\n")
    (found,) = examine()["listen"]
    assert (found.level, "[aggregator] listen = 0.0.0.0:6829" in found.text) == (FIX, True)
    assert levels(examine(aggregator_proxies="127.0.0.1"))["listen"] == OK
    assert levels(examine(aggregator_listen="10.0.0.9:6829"))["listen"] == OK


def test_settings_that_do_not_run(examine: Examine) -> None:
    """A file that was changed since the aggregator started is noticed: both values are named."""
    (found,) = examine(site_zone="FR", site_pue="1.1")["settings"]

    assert found.level == LOOK
    assert "[site] zone = DE, here FR" in found.text
    assert "[site] pue = 1.3, here 1.1" in found.text
    assert "restart carbon-aggregator" in found.text


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
    texts = {f.subject: f.text for f in found if f.level == LOOK}
    assert "carbon-mgr zones" in texts["zone"]
    assert "carbon-mgr zones" not in texts["pue"]
    assert "facility energy over IT energy" in texts["pue"]


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
