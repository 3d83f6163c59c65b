# SPDX-License-Identifier: MIT
"""One node for each oddity of RAPL: what is counted once, what is never counted, what is unknown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector.meters import powercap
from carbon_collector.meters.base import Place

from .node import DRAM_RANGE, PACKAGE_RANGE, FileNode
from .process import Host, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .process import Aggregator

JOULE = 1_000_000
AMD_RANGE = 65_532_610_987


@pytest.fixture
def make_host(tmp_path: Path, aggregator: Aggregator) -> Iterator[Callable[[FileNode], Host]]:
    """A host on a node of the test's own making."""
    hosts: list[Host] = []

    def make(node: FileNode) -> Host:
        hosts.append(Host(tmp_path, node, aggregator))
        return hosts[-1]

    yield make
    for host in hosts:
        with stopping(host):
            pass


def intel(root: Path) -> FileNode:
    """Two packages and their memory."""
    return FileNode(root)


def with_psys(root: Path) -> FileNode:
    """Psys covers packages and memory, and more."""
    node = FileNode(root)
    node.add_zone("intel-rapl:2", "psys", PACKAGE_RANGE)
    return node


def with_mmio(root: Path) -> FileNode:
    """Mmio mirrors package 0."""
    node = FileNode(root)
    node.add_zone("intel-rapl-mmio:0", "package-0", PACKAGE_RANGE)
    return node


def with_tpmi(root: Path) -> FileNode:
    """The same package by a second control type, and as a whole beside its dies: TPMI has the package's scope."""
    node = FileNode(root)
    node.set_vendor("GenuineIntel")
    node.add_zone("intel-rapl-tpmi:0", "package-0", PACKAGE_RANGE)
    for die in (0, 1):
        zone = node.add_zone(f"intel-rapl:{2 + die}", f"package-1-die-{die}", PACKAGE_RANGE)
        node.add_zone(f"intel-rapl:{2 + die}:0", "dram", DRAM_RANGE, parent=zone)
    return node


def with_cores(root: Path) -> FileNode:
    """Core and uncore are inside their package."""
    node = FileNode(root)
    node.add_zone("intel-rapl:0:1", "core", PACKAGE_RANGE, parent=node.zone("intel-rapl:0"))
    node.add_zone("intel-rapl:0:2", "uncore", PACKAGE_RANGE, parent=node.zone("intel-rapl:0"))
    return node


def out_of_order(root: Path) -> FileNode:
    """Zones are numbered as they registered; the name says which package it is."""
    node = FileNode(root, zones=False)
    for number, package in ((0, 1), (1, 0)):
        zone = node.add_zone(f"intel-rapl:{number}", f"package-{package}", PACKAGE_RANGE)
        node.add_zone(f"intel-rapl:{number}:0", "dram", DRAM_RANGE, parent=zone)
    return node


def intel_dies(root: Path) -> FileNode:
    """Cascade Lake AP: a package of two dies, each with counters of its own."""
    node = FileNode(root, zones=False)
    node.set_vendor("GenuineIntel")
    for number, name in enumerate(("package-0-die-0", "package-0-die-1")):
        zone = node.add_zone(f"intel-rapl:{number}", name, PACKAGE_RANGE)
        node.add_zone(f"intel-rapl:{number}:0", "dram", DRAM_RANGE, parent=zone)
    return node


def amd(root: Path) -> FileNode:
    """Packages with a core child, no memory; 65 kJ of range."""
    node = FileNode(root, zones=False)
    node.set_vendor("AuthenticAMD")
    for package in (0, 1):
        zone = node.add_zone(f"intel-rapl:{package}", f"package-{package}", AMD_RANGE)
        node.add_zone(f"intel-rapl:{package}:0", "core", AMD_RANGE, parent=zone)
    return node


def amd_mirrors(root: Path) -> FileNode:
    """Kernels 6.9 to 6.11: one zone a CCD, each mirroring its package (26096aed255f), sockets counting alike."""
    return mirrors(root, "AuthenticAMD")


def hygon_mirrors(root: Path) -> FileNode:
    """The same drivers run Hygon's processors."""
    return mirrors(root, "HygonGenuine")


def mirrors(root: Path, vendor: str) -> FileNode:
    """Two packages, each by eight zones."""
    node = FileNode(root, zones=False)
    node.set_vendor(vendor)
    for number in range(16):
        node.add_zone(f"intel-rapl:{number}", f"package-{number // 8}-die-{number % 8}", AMD_RANGE)
    return node


@pytest.mark.parametrize(
    ("make", "cpu", "dram"),
    [
        (intel, 20, 20),
        (with_psys, 20, 20),
        (with_mmio, 20, 20),
        (with_tpmi, 20, 20),
        (with_cores, 20, 20),
        (out_of_order, 20, 20),
        (intel_dies, 20, 20),
        (amd, 20, None),
        (amd_mirrors, 20, None),
        (hygon_mirrors, 20, None),
    ],
)
def test_every_joule_is_counted_once(
    make: Callable[[Path], FileNode], cpu: int, dram: int | None, tmp_path: Path, make_host: Callable[[FileNode], Host]
) -> None:
    """Each zone counts 10 J, and all show the same from the start; what mirrors or contains another is not added,
    two sockets that count alike are two, what is missing is null.
    """
    host = make_host(make(tmp_path / "node"))
    host.start()
    host.ticket("prolog", 1)
    host.node.count(10 * JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == cpu * JOULE
    assert got.energy("dram") == (None if dram is None else dram * JOULE)
    assert got.is_conserved()
    for row in got.of("job_slot", 1):
        share = row["components"]["dram"]
        assert (share["energy_uj"] is None) == (dram is None)
        assert dram is not None or share == {
            "energy_uj": None,
            "static_uj": None,
            "metered_us": 0,
            "method": "missing",
            "reason": "no dram zone",
        }


def test_a_short_range_wraps_without_loss(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """AMD's 65 kJ go round; the energy is exact."""
    host = make_host(amd(tmp_path / "node"))
    host.node.set_energy("intel-rapl:0", AMD_RANGE - 5)
    host.start()
    host.ticket("prolog", 1)
    for _ in range(3):
        host.node.count(10 * JOULE)
        host.tick()
    got = host.collect()

    assert got.energy("cpu") == 60 * JOULE
    assert got.is_conserved()


def test_a_reset_is_a_gap(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """No energy is invented, none is taken from the other package, and the row says why it is not whole."""
    host = make_host(intel(tmp_path / "node"))
    host.node.set_energy("intel-rapl:0", 200_000 * JOULE)
    host.start()
    host.ticket("prolog", 1)
    with host.frozen():
        host.node.set_energy("intel-rapl:0", 0)
        host.node.add_energy("intel-rapl:1", 7 * JOULE)
    host.tick()
    host.node.count(JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 9 * JOULE
    [row] = got.of("node_slot")
    assert row["components"]["cpu"]["metered_us"] < row["elapsed_us"]
    assert "reset" in row["components"]["cpu"]["reason"]


def test_no_zone_at_all_is_unknown(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """A machine without RAPL: every energy is null with the reason, and the job is accounted all the same."""
    host = make_host(FileNode(tmp_path / "node", zones=False))
    host.start()
    host.ticket("prolog", 1)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") is None
    [row] = got.of("job_slot", 1)
    assert row["alloc_us"] > 0
    assert "no RAPL zone" in row["components"]["cpu"]["reason"]


def test_an_unreadable_counter_is_unknown_and_said_once(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """All of a component unreadable: null. One of two: what is known, metered for no time, and why."""
    node = intel(tmp_path / "node")
    for zone in ("intel-rapl:0:0", "intel-rapl:1:0", "intel-rapl:1"):
        node.block(zone)
        del node.energy[zone]
    host = make_host(node)
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    for _ in range(3):
        host.tick()
    got = host.collect()

    assert got.energy("cpu") == JOULE
    assert got.energy("dram") is None
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] == 0
    assert row["components"]["cpu"]["reason"] == "package-1: energy_uj: is a directory"
    assert row["components"]["dram"]["reason"] == "dram-0: energy_uj: is a directory"
    assert len(host.said().splitlines()) < 5


def test_a_zone_that_vanishes_comes_back(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """CPU hotplug: while it is away its energy is unknown; from its return on it counts again."""
    host = make_host(intel(tmp_path / "node"))
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.tick()
    host.node.vanish("intel-rapl:0")
    host.tick()
    host.node.set_energy("intel-rapl:0", 500 * JOULE)
    host.tick()
    host.node.add_energy("intel-rapl:0", 3 * JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 5 * JOULE
    assert got.energy("dram") == 2 * JOULE
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] < row["alloc_us"]
    assert row["components"]["dram"]["metered_us"] == row["alloc_us"]
    assert got.is_conserved()


def test_an_interval_too_long_for_a_counter_is_cut(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """A counter must not turn unseen between two readings, whatever the administrator would like."""
    host = make_host(amd(tmp_path / "node"))
    host.start(interval="1 h")
    host.stop()

    assert "[collector] interval is too long for a counter that wraps; 16.4 s is used" in host.said()


def test_a_package_without_a_zone_is_not_nothing(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """A counter that was 0 when the kernel looked has no zone: what the other socket counted is known, the whole is not."""
    node = FileNode(tmp_path / "node", zones=False)
    zone = node.add_zone("intel-rapl:0", "package-0", PACKAGE_RANGE)
    node.add_zone("intel-rapl:0:0", "dram", DRAM_RANGE, parent=zone)
    host = make_host(node)
    host.start()
    host.ticket("prolog", 1)
    host.node.count(10 * JOULE)
    host.tick()
    got = host.collect()

    assert (got.energy("cpu"), got.energy("dram")) == (10 * JOULE, 10 * JOULE)
    [row] = got.of("job_slot", 1)
    shares = [row["components"][name] for name in ("cpu", "dram")]
    assert [share["metered_us"] for share in shares] == [0, 0]
    assert [share["reason"] for share in shares] == ["package-1: no RAPL zone", "dram-1: no RAPL zone"]
    assert got.is_conserved()


def test_turns_that_nobody_saw_are_not_made_up(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """While the collector was held up the counter may have gone round and round: the interval is unknown."""
    node = FileNode(tmp_path / "node", zones=False)
    range_uj = 2500 * JOULE  # two and a half seconds at 1 kW, the most of a socket
    for package in (0, 1):
        node.add_zone(f"intel-rapl:{package}", f"package-{package}", range_uj)
    host = make_host(node)
    host.start()
    host.ticket("prolog", 1)
    with host.frozen():
        time.sleep(2.6)
        host.node.count(2 * range_uj + 5 * JOULE)
    host.tick()
    host.node.count(3 * JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 6 * JOULE
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] < row["alloc_us"]
    assert "may have wrapped unseen" in row["components"]["cpu"]["reason"]


def test_a_counter_that_stands_still_is_unknown(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """Nothing that is on draws nothing for a second: the other package's energy is known, this one's is not 0."""
    host = make_host(intel(tmp_path / "node"))
    host.start()
    host.ticket("prolog", 1)
    with host.frozen():
        time.sleep(1.1)
        host.node.add_energy("intel-rapl:1", 7 * JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 7 * JOULE
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["reason"] == "package-0: counter stands still"
    assert row["components"]["cpu"]["metered_us"] < row["alloc_us"]


def test_memory_that_draws_what_none_can_is_unknown(tmp_path: Path, make_host: Callable[[FileNode], Host]) -> None:
    """Wrong units happen (SPR, Granite Rapids): energy beyond what the DIMMs of a socket can draw is not believed."""
    host = make_host(intel(tmp_path / "node"))
    host.start()
    host.ticket("prolog", 1)
    with host.frozen():
        host.node.count(JOULE)
        host.node.add_energy("intel-rapl:0:0", 50_000 * JOULE)
    host.tick()
    got = host.collect()

    assert (got.energy("cpu"), got.energy("dram")) == (2 * JOULE, JOULE)
    [row] = got.of("job_slot", 1)
    assert row["components"]["dram"]["reason"].startswith("dram-0: counter jumped forward")


def place(node: FileNode) -> Place:
    """Where the node shows its hardware."""
    return Place(sysfs=str(node.sys), procfs=str(node.proc), nvml_library="", ipmi_device="")


@pytest.mark.parametrize("limit_uw", [0, 90_000_000, 125_000_000, 4_095_875_000])
def test_a_limit_is_no_bound(limit_uw: int, tmp_path: Path) -> None:
    """What a socket can draw is physics. A limit is a setting: sites lower it for a job (geopm/geopm#3176), firmware
    states any number, and no reading is judged by it.
    """
    node = intel(tmp_path / "node")
    (node.zone("intel-rapl:0") / "constraint_0_power_limit_uw").write_text(f"{limit_uw}\n")
    (node.zone("intel-rapl:0") / "constraint_0_max_power_uw").write_text(f"{limit_uw}\n")

    meter = powercap.find(place(node)).meter

    assert meter is not None
    assert {d.name: d.max_watts for d in meter.domains}["package-0"] == 1000


def test_looking_again_keeps_no_file_open(tmp_path: Path) -> None:
    """What is missing is looked for every minute, for months: the files of the last time are closed."""
    node = amd(tmp_path / "node")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        meter = powercap.find(place(node)).meter
        assert meter is not None
        assert {reading.reason for reading in meter.read().values()} == {""}
    del meter

    assert len(list(Path("/proc/self/fd").iterdir())) == before
