# SPDX-License-Identifier: MIT
"""Hosts whose sensors are not RAPL's: what is counted once, how it was got, who pays, what is unknown and why."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from carbon_collector.attribution.counter import Counter, delta
from carbon_collector.meters import cray, hwmon

from .node import FileNode
from .process import Host, stopping
from .sensors import Cray, Grace, IntelGpu, card, drawn_over, place, put
from .sensors import hwmon as device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from carbon_collector.meters.base import Found, Meter, Reading

    from .process import Aggregator

JOULE = 1_000_000


@pytest.fixture
def node(tmp_path: Path) -> FileNode:
    """A node without RAPL."""
    return FileNode(tmp_path / "node", zones=False)


@pytest.fixture
def start(tmp_path: Path, node: FileNode, aggregator: Aggregator) -> Iterator[Callable[..., Host]]:
    """The collector on that node, with the meters that are named."""
    with stopping(Host(tmp_path, node, aggregator)) as host:

        def start(meters: str, **extra: str) -> Host:
            host.start(meters=meters, **extra)
            return host

        yield start


def meter_of(found: Found) -> Meter:
    """The meter that was found."""
    assert found.meter is not None
    return found.meter


def joules(readings: dict[str, Reading]) -> dict[str, int | None]:
    """Readings in whole joules."""
    return {name: r.energy_uj if r.energy_uj is None else r.energy_uj // JOULE for name, r in readings.items()}


def watts(row: dict[str, Any], component: str) -> float:
    """Average power of a component in a row."""
    share = row["components"][component]
    return float(share["energy_uj"] / share["metered_us"])


# -- Grace ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_graces_powers_become_energy(old: bool, node: FileNode, start: Callable[..., Host]) -> None:
    """The socket's sensor is all: processor and memory add up to it, neither CPU nor module rails are added."""
    for socket in (0, 1):
        Grace(node, socket, old)
    host = start("powercap, hwmon")
    host.ticket("prolog", 1)
    time.sleep(1)
    host.ticket("epilog", 1)
    got = host.collect()

    [row] = got.of("node_slot")
    assert watts(row, "cpu") == pytest.approx(2 * 280, rel=0.02)
    assert watts(row, "dram") == pytest.approx(2 * 20, rel=0.02)
    [job] = got.of("job_slot", 1)
    assert {name: share["method"] for name, share in job["components"].items()} == {
        "cpu": "integrated",
        "dram": "integrated",
    }
    assert job["components"]["cpu"]["energy_uj"] > 100 * JOULE
    assert job["components"]["cpu"]["metered_us"] == job["alloc_us"]
    assert got.is_conserved()


def test_a_power_is_looked_at_between_readings(node: FileNode) -> None:
    """What rises and falls between two readings is seen, and what a socket draws is at once in its energy."""
    grace = Grace(node, 0, kinds="Grace")
    grace.set(Grace=100)
    meter = meter_of(hwmon.find(place(node)))

    def rises_and_falls() -> None:
        time.sleep(0.2)
        grace.set(Grace=500)
        meter.sample()
        time.sleep(0.2)
        grace.set(Grace=100)

    drawn = drawn_over(rises_and_falls, lambda: meter.read()["grace-0"].energy_uj)
    assert meter.sample_s > 0
    assert drawn.least_s * 300 * 0.98 <= drawn.joules <= drawn.most_s * 300 * 1.02


def test_memory_without_a_sensor_is_inside_its_socket(node: FileNode) -> None:
    """Firmware that shows the socket alone: all of it is the processor's, and the reason says where memory is."""
    Grace(node, 0, kinds="Module Grace")

    found = hwmon.find(place(node))

    assert [domain.name for domain in meter_of(found).domains] == ["grace-0"]
    assert found.missing["dram"] == "inside cpu (Grace's socket sensor)"


def test_graces_sockets_are_found_whatever_their_ids(node: FileNode) -> None:
    """On arm64 a socket's id is any number: sensors and CPUs meet by their order."""
    for cpu in range(node.cpus):
        put(node.sys / f"devices/system/cpu/cpu{cpu}/topology/physical_package_id", (36, 3180)[cpu % 2])
    for socket in (0, 1):
        Grace(node, socket, kinds="Grace")

    domains = meter_of(hwmon.find(place(node))).domains

    assert {domain.name: domain.socket for domain in domains} == {"grace-0": 36, "grace-1": 3180}


def test_a_power_that_cannot_be_read_is_unknown(node: FileNode) -> None:
    """One socket's firmware does not answer: unknown with the kernel's words; the other goes on."""
    sockets = [Grace(node, socket, kinds="Grace") for socket in (0, 1)]
    (sockets[0].folders["Grace"] / "power1_average").unlink()
    meter = meter_of(hwmon.find(place(node)))
    first = meter.read()

    assert first["grace-0"] == (None, "power1_average: no such file or directory")
    assert first["grace-1"].energy_uj == 0
    sockets[0].set(Grace=100)
    assert meter.read()["grace-0"].energy_uj == 0


# -- amd_energy -------------------------------------------------------------------------------------------------


def test_amd_energy_counts_its_sockets_once(node: FileNode, start: Callable[..., Host]) -> None:
    """Cores are inside their socket; a counter is a counter."""
    labels = [f"Ecore{i:03}" for i in range(8)] + ["Esocket0", "Esocket1"]
    files = {f"energy{i}_label": label for i, label in enumerate(labels, 1)}
    folder = device(node, 3, "amd_energy", **files, **{f"energy{i}_input": 1000 for i in range(1, 11)})
    device(node, 0, "coretemp", temp1_input=40000)
    host = start("powercap, hwmon")
    host.ticket("prolog", 1)
    with host.frozen():
        for i in range(1, 11):
            put(folder / f"energy{i}_input", 1000 + 10 * JOULE + i)
    host.tick()
    for i in range(1, 11):
        put(folder / f"energy{i}_input", 1000 + (10 + i) * JOULE)
    for _ in range(2):  # two looks tell that socket 1 is no mirror of socket 0
        host.tick()
    got = host.collect()

    assert got.energy("cpu") == (19 + 20) * JOULE
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["method"] == "counter"
    assert "no dram" not in row["components"]["dram"]["reason"]
    assert got.is_conserved()


# -- Intel's GPUs -----------------------------------------------------------------------------------------------


def test_intel_cards_are_counted_once_and_found_by_their_place(node: FileNode, start: Callable[..., Host]) -> None:
    """Tiles and packages are inside their card; Slurm's index is the place on the PCI bus, among those that count."""
    gpus = [
        IntelGpu(node, 1, "0000:00:02.0", counters=""),  # graphics of the processor
        IntelGpu(node, 3, "0000:29:00.0", "i915", "1"),
        IntelGpu(node, 2, "0000:3a:00.0", "xe", "1 2"),
        IntelGpu(node, 0, "0000:9a:00.0", "xe", "2"),
    ]
    host = start("hwmon")
    for job, gpu in ((1, "0"), (2, "1"), (3, "128")):
        host.ticket("prolog", job, SLURM_JOB_GPUS=gpu)
    with host.frozen():
        for joule, gpu in enumerate(gpus[1:], 1):
            gpu.count(joule * 10 * JOULE)
    host.tick()
    got = host.collect()

    assert [got.energy("gpu", job) for job in (1, 2, 3)] == [10 * JOULE, 20 * JOULE, 30 * JOULE]
    assert got.energy("gpu") == 60 * JOULE
    assert [x["gpus"] for x in got.of("ledger", 2)] == [["0000:3a:00.0"]]
    [row] = got.of("job_slot", 3)
    assert row["components"]["gpu"]["method"] == "counter"
    assert got.is_conserved()


def test_a_turn_that_intels_driver_missed_is_not_lost_in_silence(node: FileNode) -> None:
    """The driver sees a turn of its 32-bit register only if it is read: what nobody read for long is unknown."""
    IntelGpu(node, 0, "0000:29:00.0", "i915", "1")
    [domain] = meter_of(hwmon.find(place(node))).domains
    counter = Counter(domain.range_uj, domain.max_watts)

    assert delta(counter, 10**12, 10**12 + 5 * JOULE, 10_000_000).energy_uj == 5 * JOULE
    assert delta(counter, 10**12, 10**12 + 5 * JOULE, 600_000_000).energy_uj is None
    assert delta(counter, 10**12, 5 * JOULE, 10_000_000) == (None, "counter was reset")


def test_a_node_without_such_sensors_says_so(node: FileNode) -> None:
    """Each component that hwmon may have is missing for a reason."""
    device(node, 0, "coretemp", temp1_input=40000)
    card(node, 0, "0000:01:00.0", "0x10de", "0x2330")

    assert hwmon.find(place(node)) == (
        None,
        {"cpu": f"no sensor of a CPU socket in {node.sys}/class/hwmon", "gpu": "no Intel GPU with an energy counter"},
    )


# -- HPE Cray ---------------------------------------------------------------------------------------------------


def test_a_cray_counts_its_parts_and_its_rest(node: FileNode, start: Callable[..., Host]) -> None:
    """The node's energy holds all others: what is left is `other`, and everything adds up to the node's."""
    counters = Cray(node)
    host = start("powercap, amd, hwmon, cray")
    host.ticket("prolog", 1, SLURM_JOB_GPUS="1,2")
    with host.frozen():
        put(counters.folder / "generation", "2 1571230862955436 us")  # a power cap was changed
        # What draws more than 50 J in no time is not believed.
        counters.count(energy=40, cpu=12, memory=4, accel0=2, accel1=4, accel2=6, accel3=4)
    host.tick()
    got = host.collect()

    assert {c: (got.energy(c) or 0) / JOULE for c in ("cpu", "dram", "gpu", "other")} == {
        "cpu": 12,
        "dram": 4,
        "gpu": 16,
        "other": 8,
    }
    assert got.energy("gpu", 1) == 10 * JOULE
    assert [x["gpus"] for x in got.of("ledger", 1)] == [["cray-accel1", "cray-accel2"]]
    [row] = got.of("job_slot", 1)
    assert {share["method"] for share in row["components"].values()} == {"counter"}
    assert got.is_conserved()


def test_two_jobs_on_one_card_pay_for_it_together(node: FileNode, start: Callable[..., Host]) -> None:
    """An MI250X is two GPUs to Slurm and one accelerator to the blade: each GCD is half of it."""
    for i in range(8):
        card(node, i, f"0000:{i + 1:02x}:00.0", "0x1002", "0x7408")
    counters = Cray(node)
    host = start("cray")
    host.ticket("prolog", 1, SLURM_JOB_GPUS="2")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="3")
    host.ticket("prolog", 3, SLURM_JOB_GPUS="6,7")
    with host.frozen():
        counters.count(energy=48, accel1=20, accel3=26)
    host.tick()
    got = host.collect()

    assert [(got.energy("gpu", job) or 0) / JOULE for job in (1, 2, 3)] == pytest.approx([10, 10, 26], abs=1e-5)
    assert [x["gpus"] for x in got.of("ledger", 2)] == [["cray-accel1-gcd1"]]
    assert got.is_conserved()


def test_a_scan_that_came_in_between_is_read_again(node: FileNode) -> None:
    """Values of two scans do not belong together."""
    counters = Cray(node, 0)
    meter = meter_of(cray.find(place(node)))
    energy = counters.folder / "energy"
    energy.unlink()
    os.mkfifo(energy)

    def scan() -> None:
        with energy.open("w") as reader_waits:
            counters.count(energy=10)
            reader_waits.write("1000 J 1571230862955436 us")

    thread = threading.Thread(target=scan, daemon=True)
    thread.start()

    assert joules(meter.read())["cray-node"] == 1010
    thread.join(10)


def test_scans_that_never_stop_hold_nobody_up(node: FileNode) -> None:
    """However often it changes, a reading ends."""
    counters = Cray(node, 0)
    meter = meter_of(cray.find(place(node)))
    (counters.folder / "freshness").unlink()
    (counters.folder / "freshness").symlink_to("/proc/thread-self/schedstat")  # another number at each reading

    assert joules(meter.read()) == {"cray-node": 1000, "cray-cpu": 300, "cray-memory": 100}


def test_counters_that_are_no_longer_scanned_are_unknown(node: FileNode) -> None:
    """The controller hangs, its last values stay: they are not the energy of now."""
    counters = Cray(node, 0)
    put(counters.folder / "raw_scan_hz", "10 1571230862955436 us")
    meter = meter_of(cray.find(place(node)))
    assert joules(meter.read())["cray-cpu"] == 300
    time.sleep(cray.STALE_S + 0.1)

    assert meter.read()["cray-cpu"] == (None, "no scan for 2 s")
    counters.count(cpu=70)
    assert joules(meter.read())["cray-cpu"] == 370


def test_what_is_no_energy_is_unknown(node: FileNode) -> None:
    """Files that are empty, of another unit, or gone."""
    counters = Cray(node, 1)
    meter = meter_of(cray.find(place(node)))
    put(counters.folder / "energy", "12 W 1571230862955436 us")
    put(counters.folder / "cpu_energy", "")
    (counters.folder / "memory_energy").unlink()
    readings = meter.read()

    assert [readings[f"cray-{name}"].energy_uj for name in ("node", "cpu", "memory")] == [None, None, None]
    assert readings["cray-node"].reason == "energy: not a number (in W, not in J)"
    assert readings["cray-memory"].reason == "memory_energy: no such file or directory"
    assert joules(readings)["cray-accel0"] == 100


def test_one_accelerator_without_a_number(node: FileNode) -> None:
    """Older blades have one `accel_energy`, at 0 where there is no accelerator."""
    counters = Cray(node, 0, accel_energy=50)
    meter = meter_of(cray.find(place(node)))
    counters.joules["accel_energy"] = 0
    counters.show()
    without = cray.find(place(node))

    assert meter.parts["0"] == ("cray-accel0", 1000, "cray-accel0")
    assert [d.component for d in meter_of(without).domains] == ["other", "cpu", "dram"]
    assert without.missing["gpu"] == f"no such energy in {counters.folder}"


# -- marks ------------------------------------------------------------------------------------------------------


def test_what_is_simulated_says_so(node: FileNode, start: Callable[..., Host]) -> None:
    """A file beside the sensors is enough; without it nothing is marked."""
    counters = Cray(node, 0)
    Grace(node, 0)
    assert not any(d.simulated for found in (cray, hwmon) for d in meter_of(found.find(place(node))).domains)
    put(counters.folder / "simulated", "made up")
    put(node.sys / "class/hwmon/simulated", "made up")

    assert all(d.simulated for found in (cray, hwmon) for d in meter_of(found.find(place(node))).domains)
    host = start("cray")
    host.ticket("prolog", 1)
    counters.count(cpu=1)
    host.tick()
    assert all(row["simulated"] for row in host.collect().of("job_slot", 1))
