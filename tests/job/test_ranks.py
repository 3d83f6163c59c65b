# SPDX-License-Identifier: MIT
"""Several ranks and nodes give one figure: the sum where it can be had, else an extrapolation that says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carbon_job import aggregator
from carbon_job.exchange import END, Exchange, Mpi, TorchStore
from carbon_job.nodes import Factor, Nodes
from carbon_job.place import find
from job.livenode import LiveNode

pytestmark = pytest.mark.slow

RANK = """
import os, pathlib, sys, time, carbon_job
shelf, how, log = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
rounds = 0
def reduce(value):  # what an all-reduce does, with a file for each rank and round
    global rounds
    rounds += 1
    mine = shelf / f"{rounds}.{os.environ['SLURM_PROCID']}"
    mine.with_suffix(".new" + mine.suffix).write_text(repr(value))
    mine.with_suffix(".new" + mine.suffix).rename(mine)
    paths = [shelf / f"{rounds}.{rank}" for rank in range(8)]
    while not all(path.exists() for path in paths):
        time.sleep(0.01)
    return sum(float(path.read_text()) for path in paths)
options = {"reduce": reduce} if how == "reduce" else {}
# All begin together: a busy machine starts eight programs over half a second.
if how == "reduce":
    reduce(0.0)
if how == "torch":
    import torch.distributed
    rank = int(os.environ["SLURM_PROCID"])
    torch.distributed.init_process_group("gloo", init_method=f"file://{shelf}/meet", rank=rank, world_size=2)
    torch.distributed.barrier()
if how == "mpi":
    from mpi4py import MPI
    MPI.COMM_WORLD.Barrier()
with carbon_job.track(3, log=log, **options) as t:
    for e in t:
        time.sleep(1.5)
"""


def run_ranks(
    tmp_path: Path, how: str, nodes: list[LiveNode], each: int = 4
) -> tuple[list[dict[str, object]], str, str]:
    """Run two nodes with `each` ranks; returns the log, all of standard error, all of standard output."""
    log = tmp_path / f"{how}.jsonl"
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    ranks = []
    for rank in range(2 * each):
        node, local = divmod(rank, each)
        env = nodes[node].environment(
            SLURM_PROCID=str(rank),
            SLURM_LOCALID=str(local),
            SLURM_NODEID=str(node),
            SLURM_STEP_ID="0",
            SLURM_STEP_NUM_NODES="2",
            SLURM_STEP_NUM_TASKS=str(2 * each),
            SLURM_JOB_NUM_NODES="2",
            PYTHONPATH=f"{Path(__file__).parents[2] / 'job'}:{os.environ.get('PYTHONPATH', '')}",
            XDG_STATE_HOME=str(tmp_path),
        )
        ranks.append(([sys.executable, "-c", RANK, str(shelf), how, str(log)], env))
    commands = [mpiexec(ranks)] if how == "mpi" else ranks
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, env in commands
    ]
    try:
        answers = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return found, "".join(err for _, err in answers), "".join(out for out, _ in answers)


def mpiexec(ranks: list[tuple[list[str], dict[str, str]]]) -> tuple[list[str], dict[str, str]]:
    """One command that starts all ranks, each in its own environment, with MPI between them."""
    words = [shutil.which("mpiexec") or "mpiexec"]
    for command, env in ranks:
        own = [f"{name}={value}" for name, value in env.items() if os.environ.get(name) != value]
        words += [*([":"] if len(words) > 1 else []), "-n", "1", "env", *own, *command]
    # With Slurm's variables around it, mpiexec would ask Slurm for the nodes.
    return words, {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}


@pytest.fixture
def nodes(tmp_path: Path) -> object:
    """Two nodes, the second of which draws twice as much."""
    with (
        LiveNode(tmp_path / "a", {"cpu": lambda _t: 100.0}, node="n1") as one,
        LiveNode(tmp_path / "b", {"cpu": lambda _t: 200.0}, node="n2") as two,
    ):
        yield [one, two]


def test_two_nodes_of_four_ranks_are_one_figure(tmp_path: Path, nodes: list[LiveNode]) -> None:
    """Eight ranks print one line an epoch, with the sum of both nodes."""
    found, err, out = run_ranks(tmp_path, "reduce", nodes)

    assert out == ""
    assert [line["type"] for line in found] == ["epoch"] * 3 + ["run"]
    assert len(err.splitlines()) == 4
    for line in found:
        begin_us = line["begin_s"] * 1e6
        end_us = begin_us + line["seconds"] * 1e6
        assert line["energy_j"] == pytest.approx(sum(node.truth_j(begin_us, end_us) for node in nodes), rel=0.05)
        assert (line["nodes"], line["extrapolated"]) == (2, False)


@pytest.mark.parametrize("how", ["torch", "mpi"])
def test_frameworks_carry_the_sum_of_both_nodes(tmp_path: Path, nodes: list[LiveNode], how: str) -> None:
    """Two ranks that have opened torch.distributed, or MPI, give one figure an epoch: the sum of both nodes, with
    nothing said to the tracker.
    """
    pytest.importorskip({"torch": "torch.distributed", "mpi": "mpi4py"}[how], reason=f"no {how} is installed")
    if how == "mpi" and shutil.which("mpiexec") is None:
        pytest.skip("no mpiexec is installed")
    found, err, _ = run_ranks(tmp_path, how, nodes, each=1)

    assert [line["type"] for line in found] == ["epoch"] * 3 + ["run"], err
    for line in found:
        begin_us = line["begin_s"] * 1e6
        end_us = begin_us + line["seconds"] * 1e6
        assert line["energy_j"] == pytest.approx(sum(node.truth_j(begin_us, end_us) for node in nodes), rel=0.1)
        assert (line["nodes"], line["extrapolated"]) == (2, False)


def test_without_a_way_it_is_extrapolated_and_says_so(tmp_path: Path, nodes: list[LiveNode]) -> None:
    """Where no rank can tell another anything, the own node stands for both, marked in every line."""
    found, err, _ = run_ranks(tmp_path, "none", nodes)

    assert len(err.splitlines()) == 4
    assert all("extrapolated from one node to 2" in line for line in err.splitlines())
    for line in found:
        assert line["energy_j"] == pytest.approx(2 * 100 * line["seconds"], rel=0.05)
        assert (line["nodes"], line["extrapolated"]) == (2, True)


class Shelf(Exchange):
    """A way between nodes within one process."""

    name = "shelf"

    def __init__(self, told: dict[int, dict[int, float]]) -> None:
        self.told = told

    def collect(self, mark: int) -> dict[int, float]:
        """What is on the shelf."""
        return self.told.get(mark, {})


def test_a_sum_waits_for_all_nodes() -> None:
    """A mark at which a node has not told is not known; what it told before serves as a guess."""
    nodes = Nodes(find({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}), None)
    nodes._way = Shelf({1: {0: 10.0, 1: 30.0}, 2: {0: 20.0}})
    for mark, energy_uj in ((1, 10.0), (2, 20.0), (END, 20.0)):
        nodes.note(mark, energy_uj)

    assert nodes.factor(1) == Factor(4.0, False)
    assert nodes.factor(2, 1) is None
    assert nodes.guess() == Factor(4.0, True)


def test_what_the_aggregator_knows_comes_before_nodes_alike() -> None:
    """Of slots that are over the aggregator may know all nodes: their ratio to the own node's holds for the rest."""
    now_s = int(time.time())
    first = now_s // 900 * 900 - 3 * 900
    slots = [(first - 900, 7e6), (first, 10e6), (first + 900, 20e6), (first + 1800, 30e6), (first + 2700, 1e6)]
    asked: list[tuple[int, int]] = []

    def ask(begin_s: int, end_s: int) -> float | None:
        asked.append((begin_s, end_s))
        return 75.0 if end_s <= first + 1800 else None  # the last one was not delivered yet

    nodes = Nodes(find({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}), None)
    nodes.learn(first - 1, slots, ask)

    assert asked == [(first, first + 2700), (first, first + 1800)]
    assert nodes.guess() == Factor(2.5, True)
    nodes.learn(first - 1, slots, lambda *_: 1.0)
    assert nodes.guess() == Factor(2.5, True), "all nodes cannot have used less than this one"


def test_an_unknown_slot_teaches_nothing() -> None:
    """Where this node does not know a slot between others, nothing is asked; before a slot is over neither."""
    nodes = Nodes(find({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}), None)
    first = int(time.time()) // 900 * 900
    for slots in ([(first - 3600, 1e6), (first - 1800, 1e6)], [(first, 1e6)], []):
        nodes.learn(0, slots, lambda *_: 100.0)

    assert nodes.guess() == Factor(2.0, True)


@pytest.mark.parametrize(
    ("more", "energy_j"),
    [
        ({}, 12.5),
        ({"coverage": 98.0}, None),
        ({"coverage": None}, None),
        ({"energy_uj": None}, None),
        ({"job_id_raw": 8}, None),
    ],
)
def test_the_energy_of_all_nodes_is_that_of_a_covered_job(more: dict[str, object], energy_j: float | None) -> None:
    """A job that is not there, or of which a node has not told all, has no energy to learn from."""
    job = {"job_id_raw": 7, "energy_uj": 12500000, "coverage": 100.0, **more}

    assert aggregator.energy_of(json.dumps({"jobs": [job]}).encode(), "7") == energy_j


def test_torch_tells_other_nodes() -> None:
    """By the key-value store of torch.distributed, each node finds what the other told, and never waits."""
    distributed = pytest.importorskip("torch.distributed", reason="PyTorch is not installed")
    place = find({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"})
    store = distributed.HashStore()
    one, two = TorchStore(store, place, 0), TorchStore(store, place, 1)
    one.publish(1, 10.5)

    assert one.collect(1) == {0: 10.5}
    two.publish(1, 20.25)
    assert one.collect(1) == two.collect(1) == {0: 10.5, 1: 20.25}


def test_mpi_tells_rank_zero() -> None:
    """A message of the own rank arrives without anybody waiting (one rank; the messages between ranks need mpirun)."""
    mpi = pytest.importorskip("mpi4py.MPI", reason="mpi4py with an MPI library is not installed")
    way = Mpi(mpi, 0)
    way.publish(3, 7.0)

    assert way.collect(3) == {0: 7.0}
    assert way.collect(4) == {}
