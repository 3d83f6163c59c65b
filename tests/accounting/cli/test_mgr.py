# SPDX-License-Identifier: MIT
"""carbon-mgr: what it prints, what it returns, and that a wrong use is one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounting.samples import SLOT, configure, job_slot, ledger, node_share, node_slot, segment, share
from accounting.served import Served
from accounting.slurm_programs import StandIn
from carbon_acct.cli import mgr
from carbon_acct.client import status

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs carbon-mgr on a configuration of its own; status, output, errors."""

    def call(*args: str, **values: str) -> tuple[int, str, str]:
        config = configure(tmp_path, **values)
        found = mgr.main(["--config", str(config), *args])
        said = capsys.readouterr()
        return found, said.out, said.err

    return call


def files(folder: Path, *bodies: bytes) -> list[str]:
    paths = [folder / f"{n}.jsonl" for n, _ in enumerate(bodies)]
    for path, body in zip(paths, bodies, strict=True):
        path.write_bytes(body)
    return [str(path) for path in paths]


def test_ingest(run: Run, tmp_path: Path) -> None:
    """Segments from files are stored, one line each; again changes nothing."""
    names = files(tmp_path, segment([ledger(), job_slot()]), segment([node_slot()], sequence=2))
    for _ in range(2):
        found, out, _err = run("ingest", *names)
        assert found == 0
        assert out.splitlines() == [f"{names[0]}: stored, 2 records", f"{names[1]}: stored, 1 records"]


def test_ingest_refuses(run: Run, tmp_path: Path) -> None:
    """Refused files are named with the reason and left alone; the good ones among them are stored."""
    bad = segment([ledger()])[:-9]
    names = files(tmp_path, bad, segment([ledger(), b"tea"]), segment([ledger()], cluster="other", sequence=3))
    found, out, err = run("ingest", *names, str(tmp_path / "none"), str(tmp_path))
    assert (found, out) == (1, "")
    lines = err.splitlines()
    assert "refused: torn segment" in lines[0]
    assert "stored, 1 records; 1 refused: line 3" in lines[1]
    assert "cluster other is not accounted here" in lines[2]
    assert "No such file" in lines[3]
    assert "Is a directory" in lines[4]
    assert Path(names[0]).read_bytes() == bad


def test_ingest_name_with_escapes(run: Run, tmp_path: Path) -> None:
    """A file's name cannot drive the terminal."""
    path = tmp_path / "\x1b[31m\n.jsonl"
    path.write_bytes(b"")
    assert "\x1b" not in run("ingest", str(path))[2]


def test_zones(run: Run) -> None:
    """Zones are searched by code and name, without case."""
    found, out, _err = run("zones", "portugal")
    assert (found, out.split()[:3]) == (0, ["PT", "112.29", "g/kWh"])
    assert len(run("zones")[1].splitlines()) > 250


def test_zones_without_a_match(run: Run) -> None:
    """A pattern that fits nothing is an error with a way out."""
    found, out, err = run("zones", "atlantis")
    assert (found, out) == (2, "")
    assert "lists them all" in err


def test_config(run: Run, tmp_path: Path) -> None:
    """Every setting is shown with its value and where it came from."""
    _found, out, _err = run("config")
    assert f"[site] zone = DE  ({tmp_path}/carbon-acct.conf)" in out.splitlines()
    assert "[slurm] poll = 60 s  (default)" in out.splitlines()


def test_config_example(run: Run) -> None:
    """The example is a configuration file with every setting."""
    _found, out, _err = run("config", "--example")
    assert "[aggregator]" in out
    assert "#zone = WORLD" in out


@pytest.mark.parametrize("args", [[], ["tea"], ["ingest"], ["status", "--tea"], ["zones", "a", "b"]])
def test_usage(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line is one line and status 2."""
    assert mgr.main(args) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nobody_answers(run: Run, munge_socket: str) -> None:
    """Without an aggregator the error says where it was looked for."""
    values = {"aggregator_listen": "127.0.0.1:1", "slurm_munge_socket": munge_socket}
    found, _out, err = run("status", **values)
    assert found == 1
    assert "http://127.0.0.1:1" in err
    assert "is carbon-aggregator running there" in err


@pytest.fixture
def ask(run: Run, served: Served) -> Run:
    """Runs carbon-mgr against the served aggregator."""
    values = {"aggregator_listen": f"127.0.0.1:{served.port}", "slurm_munge_socket": served.munge_socket}
    return lambda *args: run(*args, **values)


@pytest.mark.each_kind
def test_status_ends_with_the_conservation(ask: Run, served: Served) -> None:
    """The last line is the site's total; its difference is 0, and so is the exit status."""
    served.ask("POST", "/v1/segments", segment([ledger(), job_slot(), node_slot()]))
    found, out, _err = ask("status")
    assert found == 0
    kwh = ["0.000000000458", "0.000000000306", "0.0000000000972", "0.0000000000556"]
    assert out.splitlines()[-1].split() == ["total", *kwh, "0"]
    assert "energy in kWh, the difference in joules, from the first delivery to 2012-10-12T00:00Z" in out
    assert out.splitlines()[0].endswith(", zone DE, days of UTC")
    assert "SIMULATED" not in out


def test_energy_counts_days_of_the_site(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that is asked for on a host in another zone is the site's month: 31 days, and not 32."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    found, out, _err = run("energy", "-S", "2026-10-01", "-E", "2026-11-01", site_timezone="Europe/Berlin")
    monkeypatch.undo()
    time.tzset()
    assert found == 0
    assert out.splitlines()[0] == "2026-10-01 to 2026-10-31, 31 days of Europe/Berlin"


def test_status_with_a_difference(ask: Run, served: Served) -> None:
    """Energy that went nowhere makes the exit status 1."""
    rows = [job_slot({"cpu": share(999)}), node_slot({"cpu": node_share(1500, 300, 200)}, simulated=True)]
    served.ask("POST", "/v1/segments", segment(rows))
    found, out, _err = ask("status")
    assert found == 1
    assert out.splitlines()[-1].split()[-1] == "0.000001"
    assert "SIMULATED" in out


def test_differences_do_not_cancel() -> None:
    """A surplus in one component does not hide a loss in another."""
    balance = {"metered_uj": "5", "jobs_uj": "5", "idle_uj": "0", "system_uj": "0"}
    answer: dict[str, Any] = {
        "conservation": {"cpu": balance | {"difference_uj": "1"}, "dram": balance | {"difference_uj": "-1"}}
    }
    assert not status.conserved(answer)


@pytest.mark.each_kind
def test_unmatched(ask: Run, served: Served) -> None:
    """What nodes delivered of unknown jobs is a table: who, when, how much, and why it is unknown."""
    assert ask("unmatched")[:2] == (0, "")
    hostile = ledger(job_id=8, user="a\u202eb", opened=SLOT + 20, closed=None)
    served.ask("POST", "/v1/segments", segment([ledger(), job_slot(), hostile]))
    found, out, _err = ask("unmatched")
    head, first, second, _, *explained = out.splitlines()
    assert found == 0
    assert head.split() == ["Cluster", "Node", "JobID", "Run", "User", "Account", "Opened", "Closed", "Joules", "Why"]
    assert first.split()[:6] == ["demo", "n1", "7", "restart:0", "alice", "physics"]
    assert first.split()[-3:] == ["0.001100", "never", "knew"]
    assert "a\\u202eb" in second
    assert [line.partition(":")[0] for line in explained] == ["never knew"]
    assert len({line.index(cell) for line, cell in ((head, "Why"), (first, "never"), (second, "never"))}) == 1


def test_unmatched_for_programs(ask: Run, served: Served) -> None:
    """With --json the aggregator's answer is passed on."""
    served.ask("POST", "/v1/segments", segment([ledger(), job_slot()]))
    found, out, _err = ask("unmatched", "--json")
    (row,) = json.loads(out)["unmatched"]
    assert found == 0
    assert (row["job_id"], row["energy_uj"], row["why"]) == (7, 1100, "never knew")


def test_sync(ask: Run, slurm: StandIn) -> None:
    """A sync has Slurm asked now, and says when that failed."""
    slurm.jobs([{}])
    assert ask("sync")[:2] == (0, "1 jobs new or changed\n")
    slurm.jobs([], error="Connection refused")
    found, _out, err = ask("sync")
    assert found == 1
    assert "Connection refused" in err
