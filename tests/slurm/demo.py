# SPDX-License-Identifier: MIT
"""`make demo`: a real Slurm, users who submit jobs, and what each job consumed and emitted in the end.

It uses the standard library only, and the product from this checkout's .venv. Without real counters the
nodes have simulated ones, and everything that is shown says so. KEEP=1 leaves the cluster up.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from slurm.cluster import Cluster, ClusterError
from slurm.inside import REAL_COUNTER
from slurm.jobs import burn, gpus, on_each_node
from slurm.layout import AGGREGATOR_USER, CHECKOUT, USERS
from slurm.product import Product

FOLDER = CHECKOUT / "build" / "demo"
REPORT = FOLDER / "report"
REPORTS_INSIDE = "/var/lib/carbon-aggregator/reports"
STARTED = time.monotonic()


def main() -> int:
    """Run the demo, or with --stop end a cluster that was left up; 0 if all went well."""
    try:
        if sys.argv[1:] == ["--stop"]:
            stop()
        elif sys.argv[1:]:
            print("demo: usage: demo.py [--stop]; KEEP=1 in the environment leaves the cluster up", file=sys.stderr)
            return 2
        else:
            run(keep=os.environ.get("KEEP", "") not in ("", "0"))
    except (ClusterError, OSError, subprocess.SubprocessError) as err:
        print(f"demo: failed: {err}\ndemo: logs: {FOLDER}/cluster/log", file=sys.stderr)
        return 1
    return 0


def run(keep: bool) -> None:
    """Bring the cluster up, submit, wait, show."""
    if (FOLDER / "stop").exists():
        stop()
    shutil.rmtree(REPORT, ignore_errors=True)
    cluster = Cluster(FOLDER / "cluster", keep=keep, real_counters=True, say=lambda what: say(f"starting {what}"))
    cluster.start()
    say(
        "counters: "
        + ("n1 has this machine's own, n2 to n4" if REAL_COUNTER.exists() else "n1 to n4")
        + " simulated ones"
    )
    try:
        say("starting the aggregator")
        cluster.start_aggregator()
        show(cluster, submit(cluster))
        if keep:
            leave(cluster)
    except BaseException:
        print(cluster.logs(lines=5), file=sys.stderr)
        keep = False
        raise
    finally:
        if not keep:
            cluster.stop()
    say(f"report: {next(REPORT.rglob('index.html'))}")


def submit(cluster: Cluster) -> list[int]:
    """Submit the jobs of two users and wait for them; returns their JobIDs."""
    say("alice: an array of four tasks, one on each node, that sleep")
    array = on_each_node(cluster, "alice", "warm-up", seconds=8)
    cluster.wait_for([array])
    say("alice and bob: jobs of all kinds")
    sbatch = cluster.sbatch
    cancelled = sbatch("alice", "-J", "cancelled", "-w", "n3", "-n", "2", "--gres=gpu:1", script=gpus(300))
    jobs = [
        sbatch("alice", "-J", "share-a", "-w", "n1", "-n", "2", script=burn(14)),
        sbatch("bob", "-J", "share-b", "-w", "n1", "-n", "2", script=burn(14)),
        sbatch("bob", "-J", "reserve", "-w", "n1", "-n", "4", script="#!/bin/sh\nsleep 16\n"),
        sbatch("alice", "-J", "two-nodes", "-A", "optics", "-N", "2", "-w", "n2,n3", script=burn(12, "srun")),
        sbatch("bob", "-J", "train", "-w", "n4", "-n", "4", "--gres=gpu:2", script=gpus(12)),
        sbatch("bob", "-J", "gpu-unused", "-w", "n4", "--gres=gpu:1", script="#!/bin/sh\nsleep 12\n"),
        sbatch("alice", "-J", "fails", "-w", "n2", script="#!/bin/sh\nexit 3\n"),
        sbatch("bob", "-J", "blink", "-w", "n2", script="#!/bin/sh\ntrue\n"),
        cancelled,
    ]
    time.sleep(8)
    cluster.run_as("alice", ["scancel", str(cancelled)])
    say(f"waiting for {len(jobs)} jobs")
    check(cluster.wait_for([array, *jobs]))
    return [array, *jobs]


def check(states: dict[str, str]) -> None:
    """Every job must have ended as it was meant to. Raises ClusterError."""
    counts = {state: sum(1 for s in states.values() if s == state) for state in sorted(set(states.values()))}
    if (counts.get("FAILED"), counts.get("CANCELLED"), len(counts)) != (1, 1, 3):
        raise ClusterError(f"jobs ended otherwise than they should: {states}")


def show(cluster: Cluster, jobs: list[int]) -> None:
    """Print the table, the conservation of energy, and the month's report."""
    say("waiting for the records of the nodes")
    Product(cluster).wait_for(cluster.raw_ids(jobs))
    cluster.run(["carbon-mgr", "sync"])
    fields = "JobID,JobName,User,Account,State,Elapsed,NodeList,Energy,AvePower,Carbon,Coverage,Quality"
    heading("carbon-acct -a", cluster.run(["carbon-acct", "-a", "-o", fields]).stdout)
    heading("carbon-acct, as bob", cluster.run_as("bob", ["carbon-acct"]).stdout)
    heading("carbon-mgr status", cluster.run(["carbon-mgr", "status"]).stdout)
    month = dt.datetime.now(dt.UTC).strftime("%Y-%m")
    command = ["carbon-report", "monthly", "--month", month, "--output", REPORTS_INSIDE]
    heading(" ".join(command), cluster.run_as(AGGREGATOR_USER, command).stdout)
    shutil.copytree(cluster.layout.state / Path(REPORTS_INSIDE).name, REPORT)


def leave(cluster: Cluster) -> None:
    """Write the commands for a cluster that stays up, and say how to use them."""
    enter = shlex.join(cluster.entry())
    write_script(FOLDER / "as", f"{AS_USAGE}exec {enter} {AS_USER}\n")
    write_script(FOLDER / "stop", f"exec {shlex.join([sys.executable, str(Path(__file__).resolve()), '--stop'])}\n")
    heading(
        "The cluster stays up",
        f"{FOLDER}/as alice sbatch --wrap 'sleep 20'   as a user: {', '.join(USERS)}, root\n"
        f"{FOLDER}/as alice carbon-acct\n"
        f"{FOLDER}/as root sinfo\n"
        f"{FOLDER}/stop                                 or: make demo-stop\n",
    )


AS_USAGE = """\
[ $# -ge 2 ] || { echo "usage: $0 USER COMMAND..." >&2; exit 2; }
user=$1; shift
case $user in root) home=/root ;; *) home=/home/$user ;; esac
"""
AS_USER = 'setpriv --reuid="$user" --regid="$user" --init-groups env --chdir="$home" HOME="$home" USER="$user" "$@"'


def write_script(path: Path, text: str) -> None:
    """Write a shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def stop() -> None:
    """End the cluster that was left up; nothing to do where none is."""
    for name in ("as", "stop"):
        (FOLDER / name).unlink(missing_ok=True)
    try:
        Cluster.attach(FOLDER / "cluster").stop()
        say("the cluster is stopped")
    except ClusterError as err:
        say(str(err))


def say(what: str) -> None:
    """One line of progress."""
    print(f"demo {time.monotonic() - STARTED:5.1f} s  {what}", flush=True)


def heading(title: str, text: str) -> None:
    """A titled block."""
    print(f"\n== {title}\n\n{text.rstrip()}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
