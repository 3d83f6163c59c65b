# SPDX-License-Identifier: MIT
"""carbon_job in real trainings with PyTorch and with MPI, inside real jobs on two nodes: one figure, beside the truth.

Collected only when asked for (`make test-frameworks`), since PyTorch alone is 5 GB.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from simulator.hardware import PJ_PER_UJ, SOCKETS
from simulator.truth import Log
from slurm.cluster import Cluster
from slurm.layout import PREFIX, node_address

pytestmark = [pytest.mark.frameworks, pytest.mark.usefixtures("awake"), pytest.mark.timeout(900)]

ENVIRONMENT = f"""#!/bin/bash
export PATH={PREFIX}/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
export MASTER_ADDR={node_address("n1")} MASTER_PORT=29531 GLOO_SOCKET_IFNAME=lo
"""
EPOCHS, STEPS = 5, 12
# A classifier of points in two clouds, trained by data-parallel processes whose gradients gloo averages. A step takes 0.3 s, as
# if it waited for a GPU: how long pure computing takes depends on what else the machine does.
TRAINING = f"""
import os, sys, time, torch, carbon_job
from torch.nn.parallel import DistributedDataParallel
rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
torch.manual_seed(rank)
model = torch.nn.Sequential(torch.nn.Linear(64, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 2))
if size > 1:
    torch.distributed.init_process_group("gloo", rank=rank, world_size=size)
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
def batch():
    y = torch.randint(2, (2048,))
    return torch.randn(2048, 64) + y[:, None], y
def step(x, y):
    begun = time.monotonic()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    time.sleep(max(0.0, begun + 0.3 - time.monotonic()))
    return loss.item()
losses = []
with carbon_job.track({EPOCHS}, steps={STEPS}, log=sys.argv[1], name=sys.argv[1]) as t:
    for epoch in t:
        for _ in t.steps(range({STEPS})):
            if epoch == 0: time.sleep(float(sys.argv[2]))
            losses.append(step(*batch()))
        with t.phase("validation"), torch.no_grad():
            x, y = batch()
            right = (model(x).argmax(1) == y).float().mean().item()
assert losses[-1] < losses[0] and right > 0.9, (losses, right)
"""
MPI = """
import sys, time, carbon_job
from mpi4py import MPI
comm = MPI.COMM_WORLD
assert comm.Get_size() == 2
with carbon_job.track(3, log=sys.argv[1]) as t:
    for epoch in t:
        until = time.process_time() + 1.0 * (1 + comm.Get_rank())
        while time.process_time() < until: sum(range(1000))
        comm.Barrier()
"""


def lines(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """What a log in alice's home has."""
    return [json.loads(line) for line in cluster.run_as("alice", ["cat", name]).stdout.splitlines()]


def truth_j(cluster: Cluster, job: int, node: str, cpus: int, begin_s: float, end_s: float) -> float:
    """Joules of the job's packages and memory on a node between two times, as the simulator knows them."""
    log = Log(cluster.layout.truth, next(n for n in cluster.nodes if n.name == node))
    records = [record for record in log.job_records if record["job"] == str(job)]
    hardware = log.node

    def dynamic_uj(wall: float) -> float:
        for before, after in itertools.pairwise(records):
            if after["wall"] >= wall:
                part = min(1.0, max(0.0, (wall - before["wall"]) / (after["wall"] - before["wall"])))
                return (1 - part) * used_uj(before) + part * used_uj(after)
        raise AssertionError(f"the simulator knows nothing of job {job} on {node} at {wall}")

    def used_uj(record: dict[str, Any]) -> float:
        return float(sum(record["cpu_ns"]) * hardware.busy_mw / PJ_PER_UJ + record["dram_uj"])

    static_w = cpus / hardware.cpus * SOCKETS * (hardware.idle_mw + hardware.dram_idle_mw) / 1000
    return (dynamic_uj(end_s) - dynamic_uj(begin_s)) / 1e6 + static_w * (end_s - begin_s)


def run(
    cluster: Cluster, name: str, program: str, options: list[str], command: str
) -> tuple[int, list[dict[str, Any]]]:
    """Run a program as alice in a job; returns the job and the lines of its log."""
    cluster.run_as("alice", ["sh", "-c", f"rm -f {name}.jsonl; cat >{name}.py"], stdin=program)
    job = cluster.sbatch("alice", "-J", name, "-t", "10", *options, script=f"{ENVIRONMENT}{command}\n")
    states = cluster.wait_for([job], timeout=500)
    out = cluster.run_as("alice", ["sh", "-c", f"cat slurm-{job}.out"], check=False).stdout
    print(out)
    assert states == {str(job): "COMPLETED"}, out
    return job, lines(cluster, f"{name}.jsonl")


def check(cluster: Cluster, job: int, found: list[dict[str, Any]], epochs: int) -> None:
    """One line an epoch, each the sum of both nodes, near the truth."""
    spans = [line for line in found if line["type"] in ("epoch", "run")]
    assert [line["type"] for line in spans] == ["epoch"] * epochs + ["run"]
    for line in spans:
        begin_s, end_s = line["begin_s"], line["begin_s"] + line["seconds"]
        truth = sum(truth_j(cluster, job, node, 1, begin_s, end_s) for node in ("n1", "n2"))
        print(
            f"{line['type']} {line['number']}: {line['energy_j']:.1f} J, truth {truth:.1f} J, {line['seconds']:.1f} s"
        )
        assert (line["nodes"], line["extrapolated"], line["simulated"]) == (2, False, True)
        assert line["energy_j"] == pytest.approx(truth, rel=0.05 if line["type"] == "run" else 0.15)


TWO_NODES = ["-w", "n1,n2", "-N", "2", "-n", "2", "--ntasks-per-node", "1"]


def test_data_parallel_training_on_two_nodes_is_one_figure(cluster: Cluster) -> None:
    """Two ranks of torch.distributed under srun: rank 0 reports each epoch with the energy of both nodes."""
    job, found = run(cluster, "ddp", TRAINING, TWO_NODES, "srun python3 ddp.py ddp.jsonl 0")

    check(cluster, job, found, EPOCHS)
    assert [line["steps"] for line in found if line["type"] == "epoch"] == [STEPS] * EPOCHS
    assert [line["path"] for line in found if line["type"] == "phase"] == ["epoch/validation"] * EPOCHS


def test_mpi_on_two_nodes_is_one_figure(cluster: Cluster) -> None:
    """Two ranks of mpi4py, the second of which computes twice as long: the sum of both."""
    job, found = run(cluster, "mpi", MPI, TWO_NODES, "mpiexec -bootstrap slurm -n 2 -ppn 1 python3 mpi.py mpi.jsonl")

    check(cluster, job, found, 3)


def test_a_torch_training_is_predicted_from_its_second_run_on(cluster: Cluster) -> None:
    """Four runs whose first epoch waits for its input: from the second on within 12 % after one epoch, 10 % after two."""
    cluster.run_as("alice", ["rm", "-f", ".local/state/carbon-acct/runs.jsonl"])
    for number in range(1, 5):
        _, found = run(cluster, "training", TRAINING, ["-w", "n2", "-n", "1"], "python3 training.py training.jsonl 0.4")
        epochs, whole = [line for line in found if line["type"] == "epoch"], found[-1]
        ours = [epochs[i]["prediction"]["energy_j"] / whole["energy_j"] - 1 for i in (0, 1)]
        theirs = [EPOCHS * sum(e["energy_j"] for e in epochs[:n]) / n / whole["energy_j"] - 1 for n in (1, 2)]
        print(
            f"run {number}: ours {ours[0]:+.1%} {ours[1]:+.1%}, Carbontracker's rule {theirs[0]:+.1%} {theirs[1]:+.1%}"
        )
        if number > 1:
            assert abs(ours[0]) <= 0.12
            assert abs(ours[1]) <= 0.10
