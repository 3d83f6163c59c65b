# SPDX-License-Identifier: MIT
"""carbon-collector.service under a real systemd, with simulated counters: started by prologs, or beside the aggregator."""

from __future__ import annotations

import time

import pytest

from collector.process import eventually

from .asking import AGGREGATOR, COLLECTOR, PATIENCE_S, STATE, deliver, facts, mounts, owners, start_aggregator, status
from .machine import Machine

pytestmark = pytest.mark.slurm

JOB_USER = "70001"
USER = ["setpriv", f"--reuid={JOB_USER}", f"--regid={JOB_USER}", "--clear-groups", "--"]


@pytest.fixture(autouse=True)
def _host(machine: Machine) -> None:
    """The aggregator and the counters are there, the collector is not."""
    machine.run(["systemctl", "start", "simulator"])
    start_aggregator(machine)
    machine.run(["systemctl", "stop", COLLECTOR])


def hook(machine: Machine, kind: str, job: int) -> None:
    """Run the prolog or epilog of a job as slurmd would, as root."""
    job_of = {"JOB_ID": str(job), "JOB_UID": JOB_USER, "JOB_USER": "alice", "JOB_CPUS_PER_NODE": "2"}
    more = {"JOB_NODELIST": "n1", "JOB_START_TIME": str(int(time.time())), "CLUSTER_NAME": "units"}
    environment = [f"SLURM_{name}={value}" for name, value in (job_of | more).items()]
    context = ["SLURMD_NODENAME=n1", f"SLURM_SCRIPT_CONTEXT={kind}_slurmd"]
    machine.run(["env", *environment, *context, f"/etc/slurm/{kind}.d/carbon-acct.sh"])


def until_it_runs(machine: Machine) -> int:
    """Wait until the collector meters, and not one that was killed; its process id."""
    return int(eventually(lambda: running(machine), "it runs", PATIENCE_S))


def running(machine: Machine) -> int:
    """The process id of a collector that meters; 0 if there is none."""
    pid = machine.show(COLLECTOR, "MainPID")
    said = machine.path("run/carbon-acct/collector.pid")
    return int(pid) if pid != "0" and said.exists() and said.read_text().split()[:1] == [pid] else 0


def is_started(machine: Machine) -> bool:
    """Whether a collector meters that was just asked to start: one that runs already may be about to leave."""
    machine.run(["systemctl", "start", COLLECTOR])
    return running(machine) != 0


def live(machine: Machine, job: int) -> str:
    """What the job's user reads in its live file; empty where there is none."""
    return machine.run([*USER, "cat", f"/run/carbon-acct/live/{job}.json"], check=False).stdout


def test_a_job_starts_it_and_it_leaves(machine: Machine) -> None:
    """The unit is installed, not enabled: the prolog starts it, it survives kill -9, tells all of the job, and leaves."""
    before = status(machine)["unmatched"]
    hook(machine, "prolog", 7)
    pid = until_it_runs(machine)
    eventually(lambda: live(machine, 7), "the job's owner sees its energy", PATIENCE_S)
    restarts = int(machine.show(COLLECTOR, "NRestarts"))
    machine.run(["systemctl", "kill", "-s", "KILL", COLLECTOR])
    again = eventually(lambda: (now := until_it_runs(machine)) != pid and now, "systemd starts it again", PATIENCE_S)

    eventually(lambda: live(machine, 7), "and still sees it", PATIENCE_S)
    assert int(machine.show(COLLECTOR, "NRestarts")) == restarts + 1
    confined(machine, again)
    hook(machine, "epilog", 7)
    eventually(lambda: machine.show(COLLECTOR, "ActiveState") == "inactive", "it leaves", PATIENCE_S)
    assert [machine.show(COLLECTOR, name) for name in ("Result", "ExecMainStatus")] == ["success", "0"]
    told = status(machine)
    assert told["unmatched"] == before + 1
    assert told["simulated"] is True
    assert all(part["difference_uj"] in (0, "0") for part in told["conservation"].values())
    assert int(told["conservation"]["cpu"]["jobs_uj"]) > 0


def confined(machine: Machine, pid: int) -> None:
    """It is root with three capabilities, and may write its own folders alone."""
    process, seen = facts(machine, pid), mounts(machine, pid)
    assert process["Uid"].split() == ["0"] * 4
    assert int(process["CapEff"], 16) == 1 << 0 | 1 << 1 | 1 << 3  # CHOWN, DAC_OVERRIDE, FOWNER
    assert process["NoNewPrivs"] == "1"
    assert "ro" in seen["/"]
    assert "ro" in seen["/sys/fs/cgroup"]
    assert all("rw" in seen[path] for path in ("/run/carbon-acct", "/var/lib/carbon-acct", "/var/spool"))


def test_both_on_one_host(machine: Machine) -> None:
    """Each has its own state, whichever starts first, and neither takes the other's."""
    for sequence, first, second in ((8, AGGREGATOR, COLLECTOR), (9, COLLECTOR, AGGREGATOR)):
        machine.run(["systemctl", "stop", AGGREGATOR, COLLECTOR])
        machine.run(["systemctl", "start", first])
        machine.run(["systemctl", "start", second])
        start_aggregator(machine)
        eventually(lambda: is_started(machine), "it runs", PATIENCE_S)

        ours, theirs = owners(machine, STATE), owners(machine, "/var/lib/carbon-acct")
        assert (ours.pop(""), theirs.pop("")) == ("carbon-acct carbon-acct 700", "root root 700")
        assert set(ours.values()) == {"carbon-acct carbon-acct 600"}
        assert set(theirs.values()) == {"root root 600"}
        assert deliver(machine, sequence)[0] == 200


def test_its_folders(machine: Machine) -> None:
    """Users pass through the run directory to their own jobs, and see nothing else; the spool is root's."""
    hook(machine, "prolog", 8)
    until_it_runs(machine)
    eventually(lambda: live(machine, 8), "live energy", PATIENCE_S)
    run = owners(machine, "/run/carbon-acct")

    assert (run[""], run["tickets"], run["live"]) == ("root root 711", "root root 700", "root root 711")
    assert '"version":2' in live(machine, 8)
    assert run["live/8.ask"] == f"{JOB_USER} root 200"
    assert machine.run([*USER, "ls", "/run/carbon-acct"], check=False).returncode != 0
    assert owners(machine, "/var/spool/carbon-acct")[""] == "root root 700"
    hook(machine, "epilog", 8)


def test_its_exposure(machine: Machine) -> None:
    """Systemd finds the service exposed as root with devices is, and no more: its limit is 4.5 of 10."""
    machine.run(["systemd-analyze", "security", "--threshold=45", COLLECTOR])
