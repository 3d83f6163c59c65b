# SPDX-License-Identifier: MIT
"""carbon_job and carbon-track inside real jobs: what they say of epochs, of whole runs, and when a job is ended.

`TRAINING_RUNS=4 .venv/bin/pytest -m slurm -s tests/slurm/test_tracking.py` has four runs of the training, not two.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from carbon_acct.client import zones
from slurm.cluster import Cluster
from slurm.jobs import running
from slurm.layout import PREFIX
from slurm.product import Product

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("awake")]

PYTHON = f"PYTHONPATH={PREFIX}/src/job {PREFIX}/venv/bin/python3"
EPOCHS = 6
RUNS = int(os.environ.get("TRAINING_RUNS", "2"))
# The first epoch waits for its input, as on a cold file system; each computes as long as any other. Steps wait a little
# in every epoch, so that a busy machine does not make epochs of the same work take two or three times as long.
TRAINING = f"""#!/bin/bash
{PYTHON} - <<'END'
import time, carbon_job
def compute(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until: pass
with carbon_job.track({EPOCHS}, steps=10, log="training.jsonl", name="training") as t:
    for e in t:
        for step in t.steps(range(10)):
            time.sleep(0.8 if e == 0 else 0.25)
            compute(0.04)
END
"""
OPEN_END = """#!/bin/bash
exec carbon-track --epochs 100 --log {name}.jsonl -- bash -c \
    'while :; do echo epoch >&$CARBON_TRACK_FD; sleep 1.5; done'
"""
RANKS = f"""#!/bin/bash
mkdir -p shelf
srun -n 8 --ntasks-per-node 4 {PYTHON.replace("PYTHONPATH", "env PYTHONPATH")} ranks.py
"""
RANK = """
import os, pathlib, time, carbon_job
rounds, shelf = 0, pathlib.Path("shelf")
def reduce(value):
    global rounds
    rounds += 1
    mine = shelf / f"{rounds}.{os.environ['SLURM_PROCID']}"
    mine.with_name("new" + mine.name).write_text(repr(value))
    mine.with_name("new" + mine.name).rename(mine)
    paths = [shelf / f"{rounds}.{rank}" for rank in range(8)]
    while not all(path.exists() for path in paths): time.sleep(0.01)
    return sum(float(path.read_text()) for path in paths)
def own():  # what the node's live file has now, asked for
    from carbon_job import live, place
    here = place.find()
    file = live.LiveFile(here.live_dir, here.job_id)
    file.ask()
    time.sleep(1.5)
    return sum(part.energy_uj or 0 for part in file.read().components.values()) / 1e6
with carbon_job.track(3, log="ranks.jsonl", reduce=reduce) as t:
    before = own()
    for e in t: time.sleep(3)
    used = own() - before
if os.environ["SLURM_LOCALID"] == "0": pathlib.Path("own." + os.environ["SLURM_NODEID"]).write_text(repr(used))
"""


def ended(cluster: Cluster, name: str) -> int:
    """How many epochs have ended by a log in alice's home."""
    return sum(line["type"] == "epoch" and line["complete"] for line in lines(cluster, name))


def lines(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """What a log in alice's home has."""
    return [json.loads(line) for line in cluster.run_as("alice", ["cat", name]).stdout.splitlines()]


def test_a_real_training_is_predicted_from_its_second_run_on(cluster: Cluster, product: Product) -> None:
    """Runs whose first epoch waits: from the second on within 12 % after one epoch, 10 % after two.

    Beside it: Carbontracker's rule, the mean of the epochs so far, is far off after one. And what the tracker read is
    what the product accounts to the job, less its begin and end outside of the program.
    """
    cluster.run_as("alice", ["rm", "-f", "training.jsonl", ".local/state/carbon-acct/runs.jsonl"])
    jobs = []
    for _ in range(RUNS):
        jobs.append(cluster.sbatch("alice", "-J", "training", "-w", "n2", "-n", "1", script=TRAINING))
        assert cluster.wait_for(jobs[-1:]) == {str(jobs[-1]): "COMPLETED"}
    product.wait_for(jobs)
    german = zones.find("DE")
    assert german is not None
    found = lines(cluster, "training.jsonl")
    for number, job in enumerate(jobs):
        mine = [line for line in found if line["job_id"] == str(job)]
        epochs, run = [line for line in mine if line["type"] == "epoch"], mine[-1]
        errors = [epochs[i]["prediction"]["energy_j"] / run["energy_j"] - 1 for i in (0, 1)]
        theirs = [EPOCHS * sum(e["energy_j"] for e in epochs[:n]) / n / run["energy_j"] - 1 for n in (1, 2)]
        print(
            f"run {number + 1}: ours {errors[0]:+.1%} {errors[1]:+.1%}, Carbontracker's rule {theirs[0]:+.1%} {theirs[1]:+.1%}"
        )

        assert (run["type"], run["complete"], run["simulated"]) == ("run", True, True)
        # The site's PUE and the yearly factor of its zone, which any job may ask the aggregator for.
        assert run["carbon_g"] == pytest.approx(run["energy_j"] / 3.6e6 * 1.3 * float(german.g_per_kwh), rel=1e-6)
        assert (
            sum(e["energy_j"] for e in epochs)
            <= run["energy_j"]
            <= 1.001 * product.energy_uj(job, "cpu") / 1e6 + (product.energy_uj(job, "dram") / 1e6)
        )
        if number:
            assert abs(errors[0]) <= 0.12
            assert abs(errors[1]) <= 0.10


def test_the_exit_code_is_the_command_s(cluster: Cluster) -> None:
    """A job whose command exits 3 under carbon-track has failed with 3, and its options were its own."""
    script = "#!/bin/sh\nexec carbon-track -- sh -c 'echo \"$@\" >options; exit 3' sh --log x --epochs\n"
    job = cluster.sbatch("alice", "-w", "n1", "-n", "1", script=script)
    cluster.wait_for([job])

    assert cluster.run(["sacct", "-X", "-P", "-n", "-j", str(job), "-o", "ExitCode"]).stdout.strip() == "3:0"
    assert cluster.run_as("alice", ["cat", "options"]).stdout == "--log x --epochs\n"


def test_scancel_loses_the_open_epoch_alone(cluster: Cluster) -> None:
    """A cancelled job has a line for each epoch that ended, and a last one that says that it was cut off."""
    job = cluster.sbatch("alice", "-w", "n1", "-n", "1", script=OPEN_END.format(name="cancelled"))
    running(cluster, job)
    time.sleep(8)
    cluster.run_as("alice", ["scancel", "--full", "--signal=TERM", str(job)])
    cluster.wait_for([job])
    found = lines(cluster, "cancelled.jsonl")
    whole = [line["number"] for line in found if line["type"] == "epoch" and line["complete"]]

    assert whole == list(range(1, len(whole) + 1))
    assert len(whole) >= 2
    assert (found[-1]["type"], found[-1]["complete"]) == ("run", False)


def whole_runs(found: list[dict[str, Any]]) -> list[list[int]]:
    """The numbers of the epochs of each run in a log, checked: each ends with a run that was cut off, and its epochs
    and the open one have all of its energy.
    """
    runs: list[list[int]] = []
    mine: list[dict[str, Any]] = []
    for line in (line for line in found if line["type"] in ("epoch", "run")):
        mine.append(line)
        if line["type"] == "epoch":
            continue
        assert not line["complete"]
        if not line["restarts"]:  # slurmd may start a job that comes back within two minutes without its prolog
            assert line["energy_j"] == pytest.approx(sum(epoch["energy_j"] for epoch in mine[:-1]), rel=0.05)
        runs.append([epoch["number"] for epoch in mine[:-1] if epoch["complete"]])
        mine = []
    assert not mine
    return runs


@contextlib.contextmanager
def urgent(cluster: Cluster) -> Iterator[None]:
    """Meanwhile there is a partition whose jobs preempt those of the others on n3."""
    cluster.run(["scontrol", "create", "PartitionName=urgent", "Nodes=n3", "PriorityTier=10", "State=UP"])
    try:
        yield
    finally:
        cluster.run(["scontrol", "delete", "PartitionName=urgent"])


def test_whoever_ends_a_job_loses_the_open_epoch_alone(cluster: Cluster) -> None:
    """Time limit, preemption, requeue and a plain scancel, of a batch script and of a step: a line for each epoch that ended, in order, and a last one
    that says that the run was cut off. A job that runs again goes on in the same log, as a run of its own.
    """
    names = {"limited": "n1", "preempted": "n3", "requeued": "n2", "scancelled": "n4", "stepped": "n4"}
    cluster.run_as("alice", ["sh", "-c", "rm -f " + " ".join(f"{name}.jsonl" for name in names)])
    jobs = {}
    for name, node in names.items():
        how = ["-J", name, "-w", node, "-n", "1", "--requeue", "-t", "10"]
        script = OPEN_END.format(name=name)
        if name == "stepped":
            script = script.replace("exec carbon-track", "srun carbon-track")
        jobs[name] = cluster.sbatch("alice", *how, script=script)
    for job in jobs.values():
        running(cluster, job)
    # A time limit has whole minutes, but an end may be set to the second.
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 5))
    cluster.run(["scontrol", "update", f"JobId={jobs['limited']}", f"EndTime={soon}"])
    time.sleep(7)
    before = {name: ended(cluster, f"{name}.jsonl") for name in names}
    cluster.run_as("alice", ["scancel", str(jobs["scancelled"]), str(jobs["stepped"])])
    cluster.run_as("alice", ["scontrol", "requeue", str(jobs["requeued"])])
    with urgent(cluster):
        other = cluster.sbatch(
            "bob", "-p", "urgent", "-w", "n3", "-n", "1", "--exclusive", script="#!/bin/sh\nsleep 1\n"
        )
        cluster.wait_for([other])
        for name in ("requeued", "preempted"):
            # Slurm would wait two minutes, until old credentials are over.
            cluster.run(["scontrol", "update", f"JobId={jobs[name]}", "StartTime=now"])
            running(cluster, jobs[name])
        time.sleep(5)
        for name in ("requeued", "preempted"):
            cluster.run_as("alice", ["scancel", str(jobs[name])])
        states = cluster.wait_for(jobs.values(), timeout=90)
    found = {name: lines(cluster, f"{name}.jsonl") for name in names}

    assert states[str(jobs["limited"])] == "TIMEOUT"
    for name in names:
        runs = whole_runs(found[name])
        print(name, states[str(jobs[name])], runs)
        assert len(runs) == (2 if name in ("requeued", "preempted") else 1)
        assert all(run == list(range(1, len(run) + 1)) for run in runs)
        assert len(runs[0]) >= max(2, before[name])
        assert sorted({line["restarts"] for line in found[name]}) == list(range(len(runs)))


def test_a_killed_collector_costs_no_line(cluster: Cluster) -> None:
    """The collector is killed and started again by another job: no epoch is lost, and the energy is whole."""
    script = OPEN_END.format(name="killed").replace("while :", "for i in 1 2 3 4 5 6 7 8")
    job = cluster.sbatch("alice", "-w", "n1", "-n", "1", script=script)
    running(cluster, job)
    time.sleep(4)
    cluster.kill_collector("n1", signal.SIGKILL)
    time.sleep(2)
    other = cluster.sbatch("bob", "-w", "n1", "-n", "1")
    cluster.wait_for([job, other])
    found = lines(cluster, "killed.jsonl")

    assert [line["number"] for line in found if line["type"] == "epoch"] == list(range(1, 9))
    assert found[-1]["energy_j"] == pytest.approx(sum(line["energy_j"] for line in found[:-1]), rel=0.05)


def test_two_nodes_of_four_ranks_are_one_figure(cluster: Cluster) -> None:
    """Eight ranks on two nodes say one figure, the sum of both nodes."""
    cluster.run_as("alice", ["sh", "-c", "rm -rf shelf ranks.jsonl own.*; cat >ranks.py"], stdin=RANK)
    job = cluster.sbatch("alice", "-w", "n1,n2", "-N", "2", "-n", "8", script=RANKS)
    states = cluster.wait_for([job])
    found = lines(cluster, "ranks.jsonl")

    assert states == {str(job): "COMPLETED"}
    assert [line["type"] for line in found] == ["epoch"] * 3 + ["run"]
    assert {(line["nodes"], line["extrapolated"]) for line in found} == {(2, False)}
    nodes = [float(cluster.run_as("alice", ["cat", f"own.{node}"]).stdout) for node in (0, 1)]
    assert max(nodes) < found[-1]["energy_j"]
    # The run begins up to 1.5 s before the first reading of the ranks' own.
    assert sum(nodes) * 0.95 <= found[-1]["energy_j"] <= sum(nodes) * 1.3
