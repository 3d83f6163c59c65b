# SPDX-License-Identifier: MIT
"""The node's power by the kernel's hwmon: an ACPI power meter, or the inputs of the power supplies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from carbon_collector.meters import Meters, psu

from .node import FileNode
from .process import Host, stopping
from .sensors import Grace, place, put
from .sensors import hwmon as device

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Aggregator

WATT = 1_000_000


@pytest.fixture
def node(tmp_path: Path) -> FileNode:
    """Two packages and their memory, and sensors of temperatures."""
    node = FileNode(tmp_path / "node")
    device(node, 0, "coretemp", temp1_input=40000)
    return node


def supply(node: FileNode, number: int, watts: int, label: str = "pin") -> Path:
    """A power supply as PMBus drivers show it: input, output, and rails."""
    files: dict[str, str | int] = {"power1_label": label, "power1_input": watts * WATT}
    outputs: dict[str, str | int] = {"power2_label": "pout1", "power2_input": watts * WATT * 9 // 10}
    return device(node, number, "ibm-cffps", **files, **outputs)


def test_supplies_add_up_to_the_node(tmp_path: Path, node: FileNode, aggregator: Aggregator) -> None:
    """Inputs, not outputs: sockets + memory + other = the supplies' watts x time; it is the job's by CPUs held."""
    for number, label in ((1, "pin"), (2, "pin1")):
        supply(node, number, 200, label)
    with stopping(Host(tmp_path, node, aggregator)) as host:
        host.start(meters="powercap, psu")
        host.ticket("prolog", 1)
        for _ in range(40):
            host.node.count(int(0.05 * 40 * WATT))
            time.sleep(0.05)
            host.tick()
        got = host.collect()
    [row] = got.of("node_slot")
    whole = sum(share["energy_uj"] or 0 for share in row["components"].values())

    assert row["components"]["other"]["method"] == "integrated"
    assert whole == pytest.approx(400 * row["components"]["other"]["metered_us"], rel=0.15)  # readings wait for CPUs
    assert got.energy("other", 1) == pytest.approx((got.energy("other") or 0) / 2, rel=0.05)
    assert got.is_conserved()


def test_an_acpi_meter_of_the_node_is_the_node(node: FileNode) -> None:
    """Dell's and Supermicro's power_meter, before and since Linux 6.14; the supplies beside it are not added."""
    supply(node, 1, 200)
    folder = device(node, 2, "power_meter")
    put(folder / "device/power1_average", 390 * WATT)

    assert psu.paths_of(str(node.sys)) == [f"{folder}/device/power1_average"]


def test_what_shows_a_part_of_the_node_is_no_meter_of_it(node: FileNode) -> None:
    """Grace's ACPI meters, a GPU's power, the output of a supply."""
    Grace(node, 0)
    device(node, 50, "amdgpu", power1_label="PPT", power1_average=300 * WATT)
    device(node, 51, "xdp710", power1_label="pout1", power1_input=300 * WATT)

    assert psu.paths_of(str(node.sys)) == []


def test_a_node_without_says_so_and_loads_nothing(tmp_path: Path) -> None:
    """No sensor of power: the reason, and no code."""
    found = Meters(["powercap", "psu"], place(FileNode(tmp_path)))

    assert found.missing["other"] == f"no power supply and no power meter in {tmp_path}/sys/class/hwmon"


def test_a_supply_that_is_wrong_or_gone_is_not_seen(node: FileNode) -> None:
    """4,295 MW once, -1, an empty file, a supply that was pulled: the sum is not known then; it goes on when it is back,
    under another number too (hwmon numbers are given anew).
    """
    paths = [supply(node, number, 200) for number in (1, 2)]
    meter = psu.find(place(node)).meter
    assert meter is not None
    start_s = time.monotonic()
    meter.read()
    for wrong in (4_294_967_295_000_000, -1, ""):
        time.sleep(0.05)
        put(paths[0] / "power1_input", wrong)
        before = meter.read()["psu"].energy_uj
        assert before is not None
        put(paths[0] / "power1_input", 200 * WATT)
    time.sleep(0.05)
    energy = meter.read()["psu"].energy_uj or 0
    assert energy <= 400 * (time.monotonic() - start_s) * WATT
    paths[1].rename(paths[1].with_name("hwmon9"))
    meter.sample()
    time.sleep(0.05)

    assert (meter.read()["psu"].energy_uj or 0) > energy


def test_two_supplies_of_which_one_rests_are_one_node(node: FileNode) -> None:
    """Cold redundancy: the second draws nothing, which is known."""
    supply(node, 1, 400)
    supply(node, 2, 0)
    meter = psu.find(place(node)).meter
    assert meter is not None
    meter.read()
    time.sleep(0.1)

    assert (meter.read()["psu"].energy_uj or 0) > 30 * WATT
