# SPDX-License-Identifier: MIT
"""carbon-aggregator.service under a real systemd, beside a real slurmdbd: it starts, is confined, and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from collector.process import eventually

from .asking import AGGREGATOR, PATIENCE_S, STATE, deliver, facts, is_healthy, mounts, owners, start_aggregator, status
from .machine import Machine, MachineError

pytestmark = pytest.mark.slurm

CONF = "etc/carbon-acct/carbon-acct.conf"
URL = "mysql+pymysql://carbon-acct@localhost/carbon?unix_socket=/run/mysqld/mysqld.sock"
OWN = "carbon-acct carbon-acct"


def checksum(machine: Machine) -> str:
    """One figure for all that is stored, read as root."""
    return machine.run(["carbon-mgr", "checksum"]).stdout.strip()


def test_it_starts_where_root_was_first(machine: Machine) -> None:
    """On a fresh host, even after root has made the database by a command, the unit answers and sees all of Slurm's jobs."""
    checksum(machine)
    start_aggregator(machine)
    slurm = eventually(lambda: status(machine)["slurm"]["polled_at"] and status(machine)["slurm"], "a poll", PATIENCE_S)

    assert machine.show(AGGREGATOR, "ActiveState") == "active"
    assert (slurm["cluster"], slurm["error"], slurm["sees_all"]) == ("units", "", True)
    assert slurm["source"].startswith("sacct")


def test_it_is_confined(machine: Machine) -> None:
    """The process has its own user, no capability, a system call filter, and may write its state and nothing else."""
    pid = start_aggregator(machine)
    process, seen = facts(machine, pid), mounts(machine, pid)

    uid = machine.run(["id", "-u", "carbon-acct"]).stdout.strip()
    assert process["Uid"].split() == [uid] * 4
    assert [int(process[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] == [0, 0, 0]
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    assert "ro" in seen["/"]
    assert "rw" in seen[STATE]
    assert "ro" in seen["/sys/fs/cgroup"]
    assert {
        path for path, options in seen.items() if "rw" in options and path.startswith(("/etc", "/usr", "/opt"))
    } == set()


def test_segments_are_acknowledged_and_stored(machine: Machine) -> None:
    """A segment with root's credential is acknowledged and is in the database, whose files are nobody else's to read."""
    start_aggregator(machine)
    before = status(machine)["segments"]
    code, receipt = deliver(machine, 1)

    assert (code, receipt["refused"]) == (200, [])
    assert status(machine)["segments"] == before + 1
    found = owners(machine, STATE)
    assert found.pop("") == f"{OWN} 700"
    assert "carbon-acct.db" in found
    assert set(found.values()) == {f"{OWN} 600"}


def test_root_manages_it(machine: Machine) -> None:
    """Status, doctor and commands that open the database work as root, and leave the files to the aggregator."""
    start_aggregator(machine)
    eventually(lambda: status(machine)["slurm"]["polled_at"], "a poll", PATIENCE_S)
    machine.run(["carbon-mgr", "backup", "/tmp/backup"])
    doctor = machine.run(["carbon-mgr", "doctor"]).stdout

    assert [line for line in doctor.splitlines() if line.startswith("fix")] == []
    assert "difference" in machine.run(["carbon-mgr", "status"]).stdout
    assert {owner.rpartition(" ")[0] for owner in owners(machine, STATE).values()} == {OWN}
    assert deliver(machine, 2)[0] == 200


def test_a_database_that_root_restores_is_the_aggregators(machine: Machine) -> None:
    """`carbon-mgr restore` by root into a folder without a database leaves one that the unit can write."""
    start_aggregator(machine)
    assert deliver(machine, 3)[0] == 200
    machine.run(["carbon-mgr", "backup", "/tmp/whole"])
    before = checksum(machine)
    machine.run(["systemctl", "stop", AGGREGATOR])
    machine.run(["sh", "-c", f"rm {STATE}/carbon-acct.db*"])
    machine.run(["carbon-mgr", "restore", "/tmp/whole"])
    start_aggregator(machine)

    assert checksum(machine) == before
    assert deliver(machine, 4)[0] == 200


def test_killed_it_comes_back(machine: Machine) -> None:
    """After kill -9 systemd starts it again, and what it acknowledged is there."""
    pid = start_aggregator(machine)
    assert deliver(machine, 5)[0] == 200
    restarts, before = int(machine.show(AGGREGATOR, "NRestarts")), checksum(machine)
    machine.run(["systemctl", "kill", "-s", "KILL", AGGREGATOR])
    eventually(lambda: int(machine.show(AGGREGATOR, "MainPID")) not in (0, pid), "another process", PATIENCE_S)
    eventually(lambda: is_healthy(machine), "it answers again", PATIENCE_S)

    assert int(machine.show(AGGREGATOR, "NRestarts")) == restarts + 1
    assert checksum(machine) == before
    assert deliver(machine, 6)[0] == 200


def test_stopped_it_has_ended_cleanly(machine: Machine) -> None:
    """Systemctl stop: exit 0, long before systemd would kill it, and it is not started again."""
    start_aggregator(machine)
    began = time.monotonic()
    machine.run(["systemctl", "stop", AGGREGATOR])

    assert time.monotonic() - began < 30
    assert [machine.show(AGGREGATOR, name) for name in ("Result", "ExecMainStatus", "ActiveState")] == [
        "success",
        "0",
        "inactive",
    ]


def test_it_logs_to_the_journal(machine: Machine) -> None:
    """With log_format = json each event in the journal is one object."""
    start_aggregator(machine)
    assert deliver(machine, 7)[0] == 200
    machine.run(["systemctl", "stop", AGGREGATOR])
    events = [json.loads(line) for line in machine.journal(AGGREGATOR) if line.startswith("{")]

    assert events
    assert all({"time", "level", "program", "logger", "message"} <= set(event) for event in events)


def test_its_exposure(machine: Machine) -> None:
    """Systemd itself finds the running service little exposed: 1.2 of 10."""
    machine.run(["systemd-analyze", "security", "--threshold=15", AGGREGATOR])


@pytest.fixture
def on_mariadb(machine: Machine) -> Iterator[None]:
    """The aggregator's database is the host's MariaDB server, which is stopped."""
    conf = machine.path(CONF)
    before = conf.read_text()
    machine.run(["systemctl", "stop", AGGREGATOR, "mariadb"])
    machine.write(CONF, before.replace("[aggregator]\n", f"[aggregator]\ndatabase = {URL}\n"))
    yield
    machine.run(["systemctl", "stop", AGGREGATOR])
    machine.run(["systemctl", "start", "mariadb"])
    machine.write(CONF, before)


@pytest.mark.usefixtures("on_mariadb")
def test_a_database_that_is_away(machine: Machine) -> None:
    """The unit stays up without its database's server, refuses what it cannot store, and recovers each time it comes."""
    machine.run(["systemctl", "start", AGGREGATOR])
    pid = machine.show(AGGREGATOR, "MainPID")
    code = eventually(lambda: tried(machine, 1), "it takes requests", PATIENCE_S)
    assert code == 503
    machine.run(["systemctl", "start", "mariadb"])
    eventually(lambda: tried(machine, 1) == 200, "it stores", PATIENCE_S)
    machine.run(["systemctl", "kill", "-s", "KILL", "mariadb"])
    assert tried(machine, 2) == 503
    eventually(lambda: machine.show("mariadb", "ActiveState") == "active", "systemd starts MariaDB again", PATIENCE_S)
    eventually(lambda: tried(machine, 2) == 200, "it stores again", PATIENCE_S)

    assert machine.show(AGGREGATOR, "ActiveState") == "active"
    assert machine.show(AGGREGATOR, "MainPID") == pid
    assert status(machine)["segments"] == 2


def tried(machine: Machine, sequence: int) -> int:
    """Status of a delivery; 0 while nobody listens."""
    try:
        return deliver(machine, sequence)[0]
    except MachineError:
        return 0
