# SPDX-License-Identifier: MIT
"""For each component the first source that works, and why the others do not."""

from __future__ import annotations

import _thread
import time
from pathlib import Path

import pytest

from carbon_collector.meters import Meters, choice
from carbon_collector.meters.base import COUNTER, MODELLED

from .node import FileNode
from .sensors import AmdGpu, Cray, Grace, drawing, place
from .sensors import hwmon as device

ALL = ["powercap", "nvml", "amd", "hwmon", "cray", "dcmi", "model"]


def verdict(found: Meters, component: str, source: str) -> tuple[bool, str]:
    """Whether a source is used for a component, and what is said of it."""
    [one] = [v for v in found.verdicts() if (v.component, v.source) == (component, source)]
    return one.used, one.why


def test_a_counter_comes_before_a_model(tmp_path: Path) -> None:
    """RAPL for sockets and memory; the model is there and not needed; no GPU is no fault of the model."""
    found = Meters(ALL, place(FileNode(tmp_path)))

    assert found.source == {"cpu": "powercap", "dram": "powercap", "gpu": "", "other": ""}
    assert verdict(found, "cpu", "powercap") == (True, "")
    assert verdict(found, "cpu", "model") == (False, "powercap comes first")
    assert {domain.method for domain in found.domains.values()} == {COUNTER}
    assert set(found.read()) == set(found.domains) == {"package-0", "package-1", "dram-0", "dram-1"}
    assert "no NVIDIA driver" in found.missing["gpu"]


def test_the_order_is_the_settings(tmp_path: Path) -> None:
    """Who puts the model first gets it; what is not named is not used."""
    found = Meters(["model", "powercap"], place(FileNode(tmp_path)))
    only = Meters(["powercap"], place(FileNode(tmp_path / "other", zones=False)))

    assert found.source["cpu"] == "model"
    assert {domain.method for domain in found.domains.values()} == {MODELLED}
    assert only.domains == {}
    assert only.missing["cpu"].startswith("no RAPL zone")
    assert only.missing["gpu"] == "no meter for it is allowed by [collector] meters"


def test_one_component_from_each_of_two_sources(tmp_path: Path) -> None:
    """AMD has no dram zone: the sockets are counted, the memory is modelled, and each says so."""
    node = FileNode(tmp_path, zones=False)
    node.add_zone("intel-rapl:0", "package-0", 65_532_610_987)
    found = Meters(ALL, place(node))

    assert (found.source["cpu"], found.source["dram"]) == ("powercap", "model")
    assert verdict(found, "dram", "powercap") == (False, "no dram zone")


def test_what_cannot_be_read_gives_way_to_what_can(tmp_path: Path) -> None:
    """Every package unreadable: the model, and the reason. One of two readable: RAPL stays, and the gap shows."""
    node = FileNode(tmp_path)
    node.block("intel-rapl:1")
    half = Meters(ALL, place(node))
    node.block("intel-rapl:0")
    none = Meters(ALL, place(node))

    assert half.source["cpu"] == "powercap"
    assert {name: r.energy_uj is None for name, r in half.read().items()}["package-1"]
    assert none.source["cpu"] == "model"
    assert verdict(none, "cpu", "powercap") == (False, "energy_uj: is a directory")
    assert none.source["dram"] == "powercap"


def test_a_source_that_is_all_there_is_stays_though_unreadable(tmp_path: Path) -> None:
    """Nothing else is allowed: it is tried again at each reading, and unknown meanwhile."""
    node = FileNode(tmp_path)
    node.block("intel-rapl:0")
    node.block("intel-rapl:1")
    found = Meters(["powercap"], place(node))

    assert found.source["cpu"] == "powercap"
    assert found.read()["package-0"].energy_uj is None


def test_a_better_source_takes_over_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver was loaded after the collector came up: it is found within a minute, not after the next reboot."""
    node = FileNode(tmp_path, zones=False)
    found = Meters(ALL, place(node))
    assert found.source["cpu"] == "model"
    node.add_zone("intel-rapl:0", "package-0", 65_532_610_987)

    assert not found.refresh()
    monkeypatch.setattr(choice, "AGAIN_S", 0.0)
    found._again_s = 0.0
    assert found.refresh()
    assert (found.source["cpu"], found.source["dram"]) == ("powercap", "model")
    assert "package-0" in found.read()
    assert not found.refresh()


def test_a_fault_of_one_meter_stops_no_other(tmp_path: Path) -> None:
    """A sensor that shows nonsense where a number should be; powercap is read all the same."""
    node = FileNode(tmp_path)
    node.vanish("intel-rapl:0")
    Grace(node, 0)
    (node.sys / "class/hwmon/hwmon1/power1_average").write_bytes(b"\xff\x00")
    found = Meters(ALL, place(node))
    readings = found.read()

    assert found.source["cpu"] == "powercap"
    assert readings["package-0"].energy_uj is None
    assert readings["package-1"].energy_uj is not None


def look_again(found: Meters) -> None:
    """The minute is over."""
    found._again_s = 0.0
    found.refresh()


def test_looking_again_takes_nothing_away(tmp_path: Path) -> None:
    """A better source is looked for in its own time: what is in use stays until it has answered, and for good if it
    has nothing.
    """
    node = FileNode(tmp_path, zones=False)
    Cray(node)
    device(node, 0, "coretemp", temp1_input=40000)
    found = Meters(["hwmon", "cray"], place(node))
    before = found.domains
    for _ in range(3):
        look_again(found)
        assert found.domains == before
        time.sleep(0.05)
        assert not found.refresh()


def test_an_integral_in_use_is_not_begun_anew(tmp_path: Path) -> None:
    """Grace's memory has no sensor: it is looked for, but what its socket drew so far is not forgotten."""
    node = FileNode(tmp_path, zones=False)
    Grace(node, 0, kinds="Grace")
    found = Meters(["hwmon"], place(node))
    found.read()
    time.sleep(0.1)
    look_again(found)
    time.sleep(0.1)
    found.refresh()

    assert (found.read()["grace-0"].energy_uj or 0) > 0.15 * 300 * 1_000_000


def test_looking_again_leaves_no_thread_behind(tmp_path: Path) -> None:
    """A sensor that is there and cannot be read is looked for every minute, for months."""
    node = FileNode(tmp_path, zones=False)
    grace = Grace(node, 0, kinds="Grace")
    (grace.folders["Grace"] / "power1_average").unlink()
    Cray(node)
    found = Meters(["hwmon", "cray"], place(node))
    before = _thread._count()
    for _ in range(5):
        look_again(found)
        time.sleep(0.1)
        found.refresh()
    time.sleep(0.1)

    assert _thread._count() <= before


def test_devices_are_known_by_the_names_of_the_source_in_use(tmp_path: Path) -> None:
    """pm_counters stay in use for the node; its names for GPUs do not hide those of the source that reads them."""
    node = FileNode(tmp_path)
    gpus = [AmdGpu(node, number, f"0000:{number + 1}1:00.0") for number in range(2)]
    Cray(node, accelerators=2)
    with drawing(*gpus):
        found = Meters(ALL, place(node))

    assert (found.source["gpu"], found.source["other"]) == ("amd", "cray")
    assert {part.domain for part in found.parts.values()} <= found.domains.keys()
    assert found.parts["0"].domain.startswith(("GPU-", "0000:"))
