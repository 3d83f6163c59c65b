# SPDX-License-Identifier: MIT
"""Nodes as others have reported them: zones that mirror each other, counters that stand still, limits that change,
CPUs that are switched on and off. Each test names where it was seen.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from carbon_collector.meters import Meters, choice
from carbon_collector.meters.watching import DEAD_LOOKS

from .node import FileNode
from .process import Host, stopping
from .sensors import Grace, IntelGpu, place, put
from .sensors import hwmon as device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .process import Aggregator

JOULE = 1_000_000
RANGE = 262_143_328_850


@pytest.fixture
def run(tmp_path: Path, aggregator: Aggregator) -> Iterator[Callable[..., Host]]:
    """Start the collector and a job on a node."""
    hosts: list[Host] = []

    def start(node: FileNode, **settings: str) -> Host:
        hosts.append(Host(tmp_path, node, aggregator, **settings))
        hosts[0].start()
        hosts[0].ticket("prolog", 1)
        return hosts[0]

    yield start
    for host in hosts:
        with stopping(host):
            pass


def one_socket(node: FileNode, vendor: str = "GenuineIntel", flags: str = "fpu") -> FileNode:
    """Put all CPUs on socket 0."""
    (node.proc / "cpuinfo").write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Intel Xeon Processor (Cascadelake)\nflags\t\t: {flags}\n\n"
    )
    for cpu in range(node.cpus):
        (node.sys / f"devices/system/cpu/cpu{cpu}/topology/physical_package_id").write_text("0\n")
    return node


def feed(host: Host, watts: dict[str, float], seconds: float) -> int:
    """Let zones count while time passes, with a reading now and then; returns what they counted in all."""
    start = last = time.monotonic()
    total, due = 0, start + 0.4
    while last - start < seconds:
        time.sleep(0.05)
        now = time.monotonic()
        for zone, power in watts.items():
            energy = int(power * JOULE * (now - last))
            total += energy
            host.node.add_energy(zone, energy)
        last = now
        if now >= due:
            host.tick()
            due = now + 0.4
    host.tick()
    return total


# -- mirrors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same_start", [True, False])
def test_a_guest_that_sees_its_hosts_sockets_is_not_metered(
    same_start: bool, tmp_path: Path, run: Callable[..., Host]
) -> None:
    """prometheus/node_exporter#1808: sixteen packages of one vCPU each mirror two sockets; whether the hypervisor
    shows the registers themselves or counters that began elsewhere, the model takes over and says so.
    """
    node = one_socket(FileNode(tmp_path / "node", zones=False), flags="fpu hypervisor")
    for cpu in range(16):
        start = 5_000_000_000 + (cpu % 2) * 777_777_777 + (0 if same_start else cpu * 55_555_555)
        node.add_zone(f"intel-rapl:{cpu}", f"package-{cpu}", RANGE, start=start)
    host = run(node, meters="powercap, model")
    counted = feed(host, {f"intel-rapl:{cpu}": (90, 70)[cpu % 2] for cpu in range(16)}, 2.5)
    got = host.collect()
    [row] = got.of("node_slot")

    assert row["components"]["cpu"]["method"] == "modelled"
    assert (got.energy("cpu") or 0) < counted / 8
    assert got.is_conserved()


def test_a_guest_with_a_socket_of_its_own_is_metered(tmp_path: Path, run: Callable[..., Host]) -> None:
    """A virtual machine that owns its sockets (dom0, a Hyper-V root): packages that count for themselves are counted."""
    node = FileNode(tmp_path / "node", zones=False)
    (node.proc / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n\n")
    for package in (0, 1):
        node.add_zone(f"intel-rapl:{package}", f"package-{package}", RANGE, start=10**9 * (1 + package))
    host = run(node)
    counted = feed(host, {"intel-rapl:0": 90, "intel-rapl:1": 70}, 2)
    got = host.collect()

    assert got.energy("cpu") == counted
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] == row["alloc_us"]


@pytest.mark.parametrize(
    ("watts", "start", "all_of_it"), [((100, 100), 2_535_552_910, False), ((60, 35), 36_243_936_951, True)]
)
def test_dies_of_amd_are_one_or_two_by_what_they_count(
    watts: tuple[int, int], start: int, all_of_it: bool, tmp_path: Path, run: Callable[..., Host]
) -> None:
    """prometheus/procfs#459, node_exporter#2299: zones package-0-die-0 and -die-3 of one socket. Those that mirror their
    package are one, those whose values differ count for themselves.
    """
    node = one_socket(FileNode(tmp_path / "node", zones=False), "AuthenticAMD")
    for zone, die in enumerate((0, 3)):
        node.add_zone(
            f"intel-rapl:{zone}", f"package-0-die-{die}", 65_532_610_987, start=start if zone else 2_535_552_910
        )
    host = run(node)
    counted = feed(host, {"intel-rapl:0": watts[0], "intel-rapl:1": watts[1]}, 2)
    got = host.collect()

    assert got.energy("cpu") == (counted if all_of_it else counted // 2)
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] == row["alloc_us"]


@pytest.mark.parametrize("mirror", [True, False])
def test_a_socket_that_mirrors_another_is_unknown(mirror: bool, tmp_path: Path, run: Callable[..., Host]) -> None:
    """amd/amd_energy#5: with four NUMA nodes a socket Esocket1 reads socket 0 as well. Without the bug it is counted."""
    node = FileNode(tmp_path / "node", zones=False)
    files: dict[str, str | int] = {"energy129_label": "Esocket0", "energy130_label": "Esocket1"}
    folder = device(node, 3, "amd_energy", **files, energy129_input=81 * 10**9, energy130_input=81 * 10**9)
    host = run(node, meters="powercap, hwmon")
    for tenth in range(1, 16):
        time.sleep(0.1)
        put(folder / "energy129_input", 81 * 10**9 + tenth * 20 * JOULE)
        put(folder / "energy130_input", 81 * 10**9 + tenth * (20 if mirror else 6) * JOULE)
        host.tick()
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 15 * (20 if mirror else 26) * JOULE
    [row] = got.of("job_slot", 1)
    if mirror:
        assert row["components"]["cpu"]["reason"] == "socket-1: counts the same as socket-0: a mirror"
        assert row["components"]["cpu"]["metered_us"] < 0.2 * row["alloc_us"]
    else:
        assert row["components"]["cpu"]["metered_us"] == row["alloc_us"]


# -- counters that stand still -----------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["0.1", "10"])
def test_a_frozen_counter_gives_way_to_the_model(interval: str, tmp_path: Path, run: Callable[..., Host]) -> None:
    """hubblo-org/scaphandre#312, kepler#524: a powercap tree that is there and never moves, here on a bare machine. At
    no interval is it 0 J that were metered; after some seconds the model says what it can.
    """
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    node.add_zone("intel-rapl:0", "package-0", RANGE, start=123_456_789)
    host = run(node, meters="powercap, model", interval=interval)
    time.sleep(5.5)
    host.tick()
    time.sleep(1)
    got = host.collect()
    [row] = got.of("job_slot", 1)
    share = row["components"]["cpu"]

    assert share["method"] == "modelled"
    assert share["energy_uj"] > 0
    assert 0 < share["metered_us"] < row["alloc_us"] - 2_000_000
    assert "cpu: model is read from now on, where powercap (stands still: a dead counter) was" in host.said()


def test_a_counter_that_moves_again_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was dead is looked at every minute: a driver that was loaded anew counts again, a dead one stays dead."""
    now = 0
    monkeypatch.setattr(choice, "now_us", lambda: now)
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    node.add_zone("intel-rapl:0", "package-0", RANGE)
    found = Meters(["powercap", "model"], place(node))
    for _ in range(DEAD_LOOKS + 1):
        now += 10 * 1_000_000
        found.read()
        found.refresh()
    dead = found.source["cpu"]
    found._again_s = 0.0
    found.refresh()
    still = found.source["cpu"]
    node.count(JOULE)
    found._again_s = 0.0

    assert (dead, still) == ("model", "model")
    assert found.refresh()
    assert found.source["cpu"] == "powercap"


def test_memory_that_never_counts_gives_way_alone(tmp_path: Path, run: Callable[..., Host]) -> None:
    """Client chips show a dram zone that never moves while the package counts: only memory is modelled."""
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    zone = node.add_zone("intel-rapl:0", "package-0", RANGE)
    node.add_zone("intel-rapl:0:0", "dram", RANGE, parent=zone, start=5000)
    host = run(node, meters="powercap, model")
    feed(host, {"intel-rapl:0": 60}, 5)
    got = host.collect()
    [row] = got.of("job_slot", 1)

    assert row["components"]["cpu"]["method"] == "counter"
    assert row["components"]["cpu"]["metered_us"] == row["alloc_us"]
    assert row["components"]["dram"]["method"] == "modelled"
    assert row["components"]["dram"]["metered_us"] < row["alloc_us"]


def test_another_way_to_the_same_counter_takes_over(tmp_path: Path, run: Callable[..., Host]) -> None:
    """ColinIanKing/powerstat#4: MSR and MMIO show one package; only one is added. Where the MSR's stands still, the
    other is read; what was counted meanwhile is unknown and not twice.
    """
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    node.add_zone("intel-rapl:0", "package-0", RANGE, start=7)
    node.add_zone("intel-rapl-mmio:0", "package-0", RANGE, start=10**10)
    host = run(node)
    counted = feed(host, {"intel-rapl-mmio:0": 50}, 6)
    got = host.collect()

    assert 0.1 * counted < (got.energy("cpu") or 0) < counted
    assert "package-0-mmio" in host.last()["readings"]


def test_a_package_that_only_mmio_shows_is_counted(tmp_path: Path, run: Callable[..., Host]) -> None:
    """A kernel without intel_rapl_msr: what was never added beside the MSR's zone is all there is."""
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    node.add_zone("intel-rapl-mmio:0", "package-0", RANGE)
    host = run(node)
    counted = feed(host, {"intel-rapl-mmio:0": 50}, 1)

    assert host.collect().energy("cpu") == counted


@pytest.mark.parametrize("counters", ["1 2", "2"])
@pytest.mark.parametrize("frozen", [0, 77 * JOULE])
def test_a_cards_other_counter_takes_over(counters: str, frozen: int, tmp_path: Path, run: Callable[..., Host]) -> None:
    """Syllo/nvtop#347, intel/xpumanager#123: xe shows a card's energy that nothing drives. One that has never counted
    gives way at once, one that stands still after some seconds.
    """
    node = FileNode(tmp_path / "node", zones=False)
    gpu = IntelGpu(node, 1, "0000:03:00.0", "xe", counters)
    first, *rest = gpu.energy
    if rest:
        put(first, frozen)
    host = run(node, meters="hwmon")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="0")
    counts = rest[0] if rest else first
    base, total = gpu.energy[counts], 0
    for _ in range(12):
        time.sleep(0.5)
        total += 10 * JOULE
        put(counts, base + total)
        host.tick()
    known = host.collect().energy("gpu", 2) or 0

    if rest and frozen:
        assert 0.2 * total < known < total
    else:
        assert known == total


# -- what was looked at once --------------------------------------------------------------------------------------


def test_a_limit_that_is_lifted_while_a_job_runs_bounds_nothing(tmp_path: Path, run: Callable[..., Host]) -> None:
    """geopm/geopm#3176, ceems-dev/ceems#189: the collector starts under a cap of 90 W, the job's prolog lifts it."""
    node = FileNode(tmp_path / "node")
    for package in (0, 1):
        (node.zone(f"intel-rapl:{package}") / "constraint_0_power_limit_uw").write_text("90000000\n")
    host = run(node)
    host.tick()
    with host.frozen():
        time.sleep(1)
        for package in (0, 1):
            host.node.add_energy(f"intel-rapl:{package}", 330 * JOULE)
    host.tick()

    assert host.collect().energy("cpu") == 660 * JOULE


def set_online(node: FileNode, cpus: int) -> None:
    """Switch CPUs on or off: those that are off have no topology."""
    put(node.sys / "devices/system/cpu/online", f"0-{cpus - 1}")
    for cpu in range(node.cpus):
        folder = node.sys / f"devices/system/cpu/cpu{cpu}/topology"
        if cpu < cpus:
            put(folder / "physical_package_id", cpu % 2)
        elif folder.exists():
            shutil.rmtree(folder)


@pytest.mark.parametrize(("first", "then", "share"), [(8, 8, 0.5), (4, 8, 0.5), (8, 4, 1.0), (4, 4, 1.0)])
def test_threads_that_are_switched_change_what_a_job_holds(
    first: int, then: int, share: float, tmp_path: Path, run: Callable[..., Host]
) -> None:
    """powerapi-ng/pyRAPL#26, node_exporter#873: a site's prolog switches SMT. A job holds its 4 CPUs of those that are
    online now, and the ledger says how many they are.
    """
    node = FileNode(tmp_path / "node", cgroup="v2")
    set_online(node, first)
    host = run(node, idle_watts="9000")
    set_online(node, then)
    feed(host, {"intel-rapl:0": 100, "intel-rapl:1": 100}, 1.5)
    got = host.collect()

    assert (got.energy("cpu", 1) or 0) / (got.energy("cpu") or 1) == pytest.approx(share, abs=0.02)
    assert got.of("ledger", 1)[0]["node_cpus"] == then
    assert got.is_conserved()


def test_a_masked_sysfs_leaves_the_cpus_that_proc_shows(tmp_path: Path, run: Callable[..., Host]) -> None:
    """A container into which powercap alone was bound: /proc/stat's CPUs, all on one socket; the job that holds them
    pays for both packages.
    """
    node = FileNode(tmp_path / "node", cgroup="v2")
    shutil.rmtree(node.sys / "devices/system/cpu")
    host = run(node, idle_watts="9000")
    host.ticket("prolog", 2, SLURM_JOB_CPUS_PER_NODE="4")
    counted = feed(host, {"intel-rapl:0": 100, "intel-rapl:1": 100}, 1.5)
    got = host.collect()

    assert got.energy("cpu") == counted
    assert (got.energy("cpu", 1) or 0) + (got.energy("cpu", 2) or 0) == pytest.approx(counted, rel=0.02)
    assert got.of("ledger", 1)[0]["node_cpus"] == 8


# -- one wrong look -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Grace", "CPU", "SysIO"])
@pytest.mark.parametrize("wrong", [4_294_967_295_000_000, 0, -1, 65_535_000_000])
def test_a_power_that_no_socket_draws_is_not_seen(
    kind: str, wrong: int, tmp_path: Path, run: Callable[..., Host]
) -> None:
    """lm-sensors#460: an ACPI meter shows all bits set now and then. Neither component of the socket has any of it."""
    node = one_socket(FileNode(tmp_path / "node", zones=False))
    grace = Grace(node, 0, kinds="Grace CPU SysIO")
    grace.set(Grace=100, CPU=60, SysIO=8)
    host = run(node, meters="hwmon")
    for look in range(12):
        time.sleep(0.1)
        if look % 4 == 2:
            put(grace.folders[kind] / "power1_average", wrong)
            host.tick()
            grace.set(Grace=100, CPU=60, SysIO=8)
    host.tick()
    got = host.collect()
    [row] = got.of("node_slot")

    for component, watts in (("cpu", 68), ("dram", 32)):
        share = row["components"][component]
        if wrong or kind == "Grace":
            both = (got.energy("cpu") or 0) + (got.energy("dram") or 0)
            assert share["energy_uj"] / both == pytest.approx(watts / 100, rel=0.02)
        assert (got.energy("cpu") or 0) + (got.energy("dram") or 0) <= 102 * row["elapsed_us"]
