# SPDX-License-Identifier: MIT
"""Devices that several jobs hold, memory that was given, the rest of the node: who pays for what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_collector.attribution.advance import advance
from carbon_collector.attribution.snapshot import Snapshot
from carbon_collector.meters.base import INTEGRATED, Domain, Part

from .test_books import IDLE, SECOND, paid
from .world import DOMAINS, TOPOLOGY, Keeper, World, make_job

MIG = {f"MIG-{n}": Part("GPU-a", share, f"MIG-{n}") for n, share in enumerate((428, 285, 142))}
WHOLE_A = {"0": Part("GPU-a", 1000, "GPU-a")}
BUSY = {**IDLE, "GPU-a": 330}


class Node:
    """A node that has seen its GPUs idle at 30 W, with jobs that hold parts of one."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self.world = World()
        self.keeper = Keeper(self.world)
        self.parts = parts
        self.keeper.step()
        for _ in range(3):
            self.world.run(10 * SECOND, IDLE)
            self.keeper.step()

    def begin(self, job_id: int, *gpus: str, percent: int | None = None, memory: int | None = None) -> None:
        """A job with one CPU and these devices, as its ticket names them."""
        self.keeper.open(make_job(job_id, gpus=gpus)._replace(gpu_percent=percent))
        self.world.start_job(str(job_id))
        self.keeper.step()
        ledger = self.keeper.books.ledgers[job_id, "restart:0"]
        ledger.hold(self.parts)
        ledger.memory = memory

    def run(self, seconds: int, done: dict[str, int] | None = None, watts: dict[str, int] = BUSY) -> None:
        """Let time pass; `done` is what was done on GPU-a."""
        self.world.run(seconds * SECOND, watts)
        seen: Snapshot = self.world.snapshot()
        advance(self.keeper.books, seen._replace(activity={} if done is None else {"GPU-a": done}))

    def gpu(self, job_id: int, part: str = "energy_uj") -> int:
        """What a job's GPU energy came to."""
        self.keeper.seal()
        return paid(self.keeper, job_id, "gpu", part) or 0

    def node(self, component: str = "gpu") -> dict[str, int]:
        """The node's own row since the jobs came."""
        self.keeper.seal()
        rows: list[dict[str, Any]] = [r for _, r in self.keeper.records() if r["type"] == "node_slot"]
        parts = [row["components"][component] for row in rows if component in row["components"]]
        return {key: sum(part[key] or 0 for part in parts) for key in ("energy_uj", "idle_uj", "system_uj")}


def test_instances_pay_idle_power_by_slices_and_the_rest_by_activity() -> None:
    """30 W by 3, 2 and 0 of 7 slices, the unused ones to idle; 300 W by what each did."""
    node = Node(MIG)
    node.begin(1, "MIG-0")
    node.begin(2, "MIG-1")
    node.run(100, {"MIG-0": 100, "MIG-1": 300})

    assert node.gpu(1) == pytest.approx(100 * SECOND * (30 * 0.428 + 300 * 0.25), rel=1e-4)
    assert node.gpu(2) == pytest.approx(100 * SECOND * (30 * 0.285 + 300 * 0.75), rel=1e-4)
    assert node.gpu(1, "static_uj") == pytest.approx(100 * SECOND * 30 * 0.428, rel=1e-4)
    assert node.gpu(1) + node.gpu(2) + node.node()["idle_uj"] == node.node()["energy_uj"]


def test_without_activity_the_rest_goes_by_slices_held() -> None:
    """Where the driver does not say who did what, three slices pay three shares of five."""
    node = Node(MIG)
    node.begin(1, "MIG-0")
    node.begin(2, "MIG-1")
    node.run(100)

    assert node.gpu(1) == pytest.approx(100 * SECOND * (30 * 0.428 + 300 * 0.428 / 0.713), rel=1e-4)


def test_one_instance_alone_pays_all_of_the_work_and_its_own_slices() -> None:
    """Nobody else can have done it; the slices that nobody holds are idle."""
    node = Node(MIG)
    node.begin(1, "MIG-2")
    node.run(100, {"MIG-2": 5})

    assert node.gpu(1) == pytest.approx(100 * SECOND * (30 * 0.142 + 300), rel=1e-4)


def test_a_job_with_several_instances_of_one_device_holds_their_sum() -> None:
    """Its slices add up, and so does what was done on them."""
    node = Node(MIG)
    node.begin(1, "MIG-0", "MIG-2")
    node.begin(2, "MIG-1")
    node.run(100, {"MIG-0": 1, "MIG-2": 1, "MIG-1": 2})

    assert node.gpu(1) == pytest.approx(100 * SECOND * (30 * 0.570 + 150), rel=1e-4)


def test_processes_on_one_device_pay_for_what_their_job_did() -> None:
    """Two shard jobs hold the same device: half of its idle power each, the rest by the use of their processes."""
    node = Node(WHOLE_A)
    node.begin(1, "0")
    node.begin(2, "0")
    node.run(100, {"1": 30, "2": 90})

    assert node.gpu(1) == pytest.approx(100 * SECOND * (15 + 75), rel=1e-4)
    assert node.gpu(2) == pytest.approx(100 * SECOND * (15 + 225), rel=1e-4)


def methods_of(node: Node) -> dict[int, tuple[str, str]]:
    """Method and reason of each job's GPU energy."""
    node.keeper.seal()
    rows = [r for _, r in node.keeper.records() if r["type"] == "job_slot" and "gpu" in r["components"]]
    return {r["job_id"]: (r["components"]["gpu"]["method"], r["components"]["gpu"].get("reason", "")) for r in rows}


@settings(max_examples=25)
@given(st.lists(st.sampled_from((None, 25, 100)), min_size=1, max_size=4), st.booleans())
def test_parts_that_are_not_known_are_not_called_measured(percents: list[int | None], is_seen: bool) -> None:
    """Who holds more together than there is holds unknown parts (shards: Slurm tells a node nothing of them, gres.shtml):
    method and reason say so, though each one's use is seen; the sum holds to the microjoule.
    """
    node = Node(WHOLE_A)
    jobs = range(1, len(percents) + 1)
    for job, percent in zip(jobs, percents, strict=True):
        node.begin(job, "0", percent=percent)
    node.run(100, {str(job): 10 * job for job in jobs} if is_seen else None)
    unknown = len(percents) > 1 and sum(percent or 100 for percent in percents) > 100

    found = methods_of(node)
    assert {method for method, _ in found.values()} == {
        "shared" if unknown or _is_unseen(percents, is_seen) else "counter"
    }
    assert unknown == all("how many shards" in reason for _, reason in found.values())
    assert sum(node.gpu(job) for job in jobs) + node.node()["idle_uj"] == node.node()["energy_uj"]


def _is_unseen(percents: list[int | None], is_seen: bool) -> bool:
    return len(percents) > 1 and not is_seen


def test_mps_percentages_are_shares() -> None:
    """25 % and 50 % of the threads: a quarter and a half of the idle power, the last quarter nobody's."""
    node = Node(WHOLE_A)
    node.begin(1, "0", percent=25)
    node.begin(2, "0", percent=50)
    node.run(100)

    assert node.gpu(1) == pytest.approx(100 * SECOND * (7.5 + 100), rel=1e-4)
    assert node.gpu(2) == pytest.approx(100 * SECOND * (15 + 200), rel=1e-4)


def test_a_whole_device_belongs_to_its_holder_used_or_not() -> None:
    """Alone on a whole device a job pays all of it, as static power."""
    node = Node(WHOLE_A)
    node.begin(1, "0")
    node.run(100, {"1": 0})

    assert node.gpu(1) == node.gpu(1, "static_uj") == pytest.approx(100 * SECOND * 330, rel=1e-4)


@given(
    st.lists(st.sampled_from([*MIG, "0"]), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from([*MIG, "1", "2", "3", "4", ""]), st.integers(0, 10**6)),
    st.integers(0, 1000),
)
def test_a_shared_device_is_conserved(held: list[str], done: dict[str, int], watts: int) -> None:
    """Whoever holds what, and whatever is said of who did what: jobs + idle + system = meter."""
    node = Node({**MIG, **WHOLE_A})
    for number, name in enumerate(held, 1):
        node.begin(number, name)
    node.run(7, done, {**IDLE, "GPU-a": watts})
    total = node.node()

    assert (
        sum(node.gpu(n) for n in range(1, len(held) + 1)) + total["idle_uj"] + total["system_uj"] == total["energy_uj"]
    )


def test_a_device_that_is_not_there_is_missed() -> None:
    """A ticket that names an unknown device: unknown, with the reason, not 0."""
    node = Node({})
    node.begin(1, "7")
    node.run(10)
    node.keeper.seal()
    [row] = [r for _, r in node.keeper.records() if r["type"] == "job_slot"]

    assert row["components"]["gpu"]["energy_uj"] is None
    assert row["components"]["gpu"]["reason"] == "7: no such device"


def test_memory_that_was_given_is_paid_for() -> None:
    """A job with one CPU of eight and half of the memory pays half of the memory's idle power."""
    node = Node({})
    node.world.memory_total = 64 << 30
    node.begin(1, memory=32 << 30)
    node.run(100, watts=IDLE)
    node.keeper.seal()

    assert paid(node.keeper, 1, "dram") == pytest.approx(100 * SECOND * 10 / 2, rel=1e-3)
    assert paid(node.keeper, 1, "cpu") == pytest.approx(100 * SECOND * 100 / 8, rel=1e-3)


def test_a_limit_that_is_none_is_no_share() -> None:
    """Where Slurm does not confine memory the kernel shows a limit beyond all memory: the share of the CPUs holds."""
    node = Node({})
    node.world.memory_total = 64 << 30
    node.begin(1, memory=9223372036854771712)
    node.run(100, watts=IDLE)
    node.keeper.seal()

    assert paid(node.keeper, 1, "dram") == pytest.approx(100 * SECOND * 10 / 8, rel=1e-3)


def test_the_rest_of_the_node_goes_by_cpus_held() -> None:
    """A node meter: what sockets, memory and GPUs do not explain is paid by CPUs held; nobody's part is idle."""
    world = World()
    bmc = Domain("bmc", "other", -1, 0, 5000, INTEGRATED, simulated=True, contains=("cpu", "dram", "gpu"))
    keeper = Keeper(world)
    keeper.books.domains = {**DOMAINS, "bmc": bmc}
    read = world.snapshot

    def snapshot() -> Snapshot:
        seen = read()
        whole = sum(counter.total for counter in world.counters.values()) + world.mono_us * 90
        return seen._replace(readings={**seen.readings, "bmc": seen.readings["GPU-a"]._replace(energy_uj=whole)})

    world.snapshot = snapshot  # type: ignore[method-assign]
    keeper.step()
    keeper.open(make_job(1, cpus=2))
    world.start_job("1")
    keeper.step()
    world.run(100 * SECOND, BUSY, {"1": {0: 20 * SECOND, 1: 0}})
    keeper.step()
    keeper.seal()

    assert TOPOLOGY.cpus == 8
    assert paid(keeper, 1, "other") == pytest.approx(100 * SECOND * 90 / 4, rel=1e-3)
    [row] = [r for _, r in keeper.records() if r["type"] == "job_slot"]
    assert row["components"]["other"]["method"] == INTEGRATED
