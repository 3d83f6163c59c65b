# SPDX-License-Identifier: MIT
"""The simulated hardware looks like the real one to those who read it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.hardware import PACKAGE_RANGE_UJ, Node, default_nodes, gpus, load, save
from simulator.node import SimulatedNode

NVML_C = Path(__file__).parent / "nvml" / "nvml.c"
ASK_NVML = """
import json, pynvml as p
p.nvmlInit()
handles = [p.nvmlDeviceGetHandleByIndex(i) for i in range(p.nvmlDeviceGetCount())]
print(json.dumps({
    "driver": p.nvmlSystemGetDriverVersion(),
    "minors": [p.nvmlDeviceGetMinorNumber(h) for h in handles],
    "uuids": [p.nvmlDeviceGetUUID(h) for h in handles],
    "bus": [p.nvmlDeviceGetPciInfo(h).busId for h in handles],
    "power_mw": [p.nvmlDeviceGetPowerUsage(h) for h in handles],
    "energy_mj": [p.nvmlDeviceGetTotalEnergyConsumption(h) for h in handles],
    "mig": [p.nvmlDeviceGetMigMode(h) for h in handles],
    "same": p.nvmlDeviceGetUUID(p.nvmlDeviceGetHandleByUUID(p.nvmlDeviceGetUUID(handles[1]))),
}))
p.nvmlShutdown()
"""


def simulated(folder: Path, node: Node) -> SimulatedNode:
    """A node whose cgroups are those of nobody."""
    return SimulatedNode(folder / "out", folder / "cgroup", node)


def sysfs(folder: Path) -> Path:
    """The node's powercap tree where a node has it, below a sysfs of its own."""
    for name, place in (("class", "class/powercap"), ("devices", "devices/virtual/powercap")):
        shutil.copytree(folder / "out" / "powercap" / name, folder / "sys" / place, symlinks=True)
    return folder / "sys"


def test_zones_are_where_the_kernel_has_them(tmp_path: Path) -> None:
    """Both levels are linked flat, names say what they are, and the counter is for root alone."""
    node = default_nodes()[0]
    simulated(tmp_path, node).step()
    powercap = sysfs(tmp_path) / "class" / "powercap"

    names = {link.name: (link / "name").read_text().strip() for link in powercap.glob("*:*")}

    assert names == {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:1:0": "dram",
    }
    assert (powercap / "intel-rapl:1").resolve() == tmp_path / "sys/devices/virtual/powercap/intel-rapl/intel-rapl:1"
    assert (powercap / "intel-rapl:0" / "energy_uj").stat().st_mode & 0o777 == 0o400
    assert int((powercap / "intel-rapl:0" / "energy_uj").read_text()) > node.package_start_uj
    assert int((powercap / "intel-rapl:0" / "max_energy_range_uj").read_text()) == PACKAGE_RANGE_UJ
    assert "simulated" in (powercap / "simulated").read_text()


def test_a_counter_wraps_under_a_reader_that_keeps_it_open(tmp_path: Path) -> None:
    """The number becomes shorter at a wrap, and the file is never empty or longer than a number."""
    node = dataclasses.replace(default_nodes()[0], package_start_uj=PACKAGE_RANGE_UJ - 1)
    animated = simulated(tmp_path, node)
    fd = os.open(tmp_path / "out/powercap/devices/intel-rapl/intel-rapl:0/energy_uj", os.O_RDONLY)
    animated.step()

    energy = int(os.pread(fd, 32, 0))
    os.close(fd)

    assert 0 <= energy < PACKAGE_RANGE_UJ // 2
    assert energy == animated.energy_uj["package-0"] - PACKAGE_RANGE_UJ


def test_idle_power_is_what_the_hardware_says(tmp_path: Path) -> None:
    """Without jobs a package counts its idle power and the system's CPU time, to the microjoule."""
    node = default_nodes()[0]
    animated = simulated(tmp_path, node)
    animated.step()

    elapsed_ns = animated.elapsed_ns
    system_ns = elapsed_ns * node.system_ppm // 1_000_000

    expected = node.package_start_uj + (node.idle_mw * elapsed_ns + node.busy_mw * system_ns) // 1_000_000
    assert expected == animated.energy_uj["package-0"]


def test_proc_stat_has_one_length(tmp_path: Path) -> None:
    """The content changes in place, so it must never become shorter."""
    animated = simulated(tmp_path, default_nodes()[0])
    animated.step()
    before = (tmp_path / "out" / "stat").read_text()
    animated.step()

    after = (tmp_path / "out" / "stat").read_text()

    assert len(before) == len(after)
    assert [line.split()[0] for line in after.splitlines()][:3] == ["cpu", "cpu0", "cpu1"]


def test_hardware_survives_its_file(tmp_path: Path) -> None:
    """What is saved is loaded again."""
    save(tmp_path / "hardware.json", default_nodes())

    assert load(tmp_path / "hardware.json") == default_nodes()


def test_the_real_binding_runs_on_the_stand_in(tmp_path: Path) -> None:
    """nvidia-ml-py sees the devices; one whose file is locked draws its busy power."""
    cc = shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler: the stand-in for libnvidia-ml.so.1 cannot be built; apt-get install gcc")
    library = tmp_path / "libnvidia-ml.so.1"
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([cc, *flags, "-o", library, NVML_C], check=True)
    node = dataclasses.replace(default_nodes()[0], gpus=gpus("9", (1, 0)))
    animated = simulated(tmp_path, node)
    with (tmp_path / "out/dev/nvidia0").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        animated.step()
        animated.step()
        place = {"NVML_SIMULATED_STATE": str(tmp_path / "out/nvml/state"), "LD_LIBRARY_PATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", ASK_NVML], env=place, capture_output=True, text=True, check=True, timeout=60
        )
    seen = json.loads(done.stdout)

    assert "simulated" in seen["driver"]
    assert seen["minors"] == [1, 0]
    assert seen["uuids"] == [gpu.uuid for gpu in node.gpus]
    assert seen["same"] == node.gpus[1].uuid
    assert seen["bus"] == ["00000000:10:00.0", "00000000:11:00.0"]
    assert seen["power_mw"] == [node.gpus[0].idle_mw, node.gpus[1].busy_mw]
    assert seen["energy_mj"] == [animated.energy_uj[gpu.uuid] // 1000 for gpu in node.gpus]
    assert seen["mig"] == [[0, 0], [0, 0]]
