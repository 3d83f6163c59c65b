# SPDX-License-Identifier: MIT
"""Grace Hopper and what came after it: a counter that is not the GPU's alone, and a CPU that must not be counted twice."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from .gpus import Gpus, ask, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .process import Host

SCRIPT = "print(json.dumps([[d.method, d.max_watts, d.contains] for d in meter.domains]))"
GPU_MW, MODULE_MW = 400_000, 900_000
PACKAGES = (36, 1024, 2012, 3000)
"""physical_package_id of each socket: any numbers on arm64."""
OWN = ["counter", 2000, []]
INTEGRATED = ["integrated", 2000, []]


def module_of(socket: int) -> list[object]:
    """A counter that has this socket's CPU in it."""
    return ["counter", 6000, [f"grace-{socket}", f"grace-dram-{socket}", f"model-cpu-{PACKAGES[socket]}"]]


def chips(root: Path, name: str, numa_nodes: list[int]) -> Gpus:
    """A node with these GPUs, each at the NUMA node of the CPU on its module; -1 for an unknown one."""
    gpus = Gpus(root / "state", list(range(len(numa_nodes))), name)
    for i, node in enumerate(numa_nodes):
        device = root / f"sys/bus/pci/devices/0000:{0x1A + i:02x}:00.0"
        device.mkdir(parents=True, exist_ok=True)
        (device / "numa_node").write_text(f"{node}\n")
    cpus = root / "sys/devices/system/cpu"
    for cpu, package in enumerate(PACKAGES):
        (cpus / f"cpu{cpu}/topology").mkdir(parents=True, exist_ok=True)
        (cpus / f"cpu{cpu}/topology/physical_package_id").write_text(f"{package}\n")
    (cpus / "online").write_text("0-3\n")
    return gpus


@contextlib.contextmanager
def counting(gpus: Gpus, watts: int) -> Iterator[None]:
    """Meanwhile each GPU counts this power; NVML shows those of GPU and module."""
    for more in gpus.more:
        more.gpu_power_mw, more.module_power_mw = GPU_MW, MODULE_MW
    stop, begun_s = threading.Event(), time.monotonic()

    def animate() -> None:
        while not stop.wait(0.01):
            for device in gpus.devices:
                device.energy_mj = int(watts * (time.monotonic() - begun_s) * 1000)

    thread = threading.Thread(target=animate)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_grace_hoppers_counter_has_its_cpu_in_it(tmp_path: Path, library: Path) -> None:
    """Four of them on a node: each holds the CPU of its own socket, which the CPU's own meter counts as well."""
    gpus = chips(tmp_path, "NVIDIA GH200 120GB", [0, 1, 2, 3])

    assert ask(SCRIPT, library, gpus, tmp_path) == [module_of(socket) for socket in range(4)]


def test_a_module_whose_socket_is_not_known_is_integrated(tmp_path: Path, library: Path) -> None:
    """Its CPU cannot be told from it: the power of the GPU alone is taken, and nothing is counted twice."""
    gpus = chips(tmp_path, "NVIDIA GH200 480GB", [-1])

    assert ask(SCRIPT, library, gpus, tmp_path) == [INTEGRATED]


@pytest.mark.parametrize(
    ("watts", "numa_nodes", "expected"),
    [
        (400, [0, 0, 1, 1], [OWN] * 4),
        (900, [0, 0, 1, 1], [INTEGRATED] * 4),
        (900, [0, 1], [module_of(0), module_of(1)]),
    ],
)
@pytest.mark.slow
def test_other_superchips_are_asked_what_they_count(
    tmp_path: Path, library: Path, watts: int, numa_nodes: list[int], expected: list[list[object]]
) -> None:
    """A counter that grows by the GPU's power is the GPU's. One that grows by the module's holds the CPU; if two GPUs
    are on that module, both would count all of it: their own powers are integrated.
    """
    gpus = chips(tmp_path, "NVIDIA GB300", numa_nodes)
    with counting(gpus, watts):
        found = ask(SCRIPT, library, gpus, tmp_path)

    assert found == expected


def test_what_a_module_counts_is_there_once(host: Host, library: Path) -> None:
    """Its CPU's energy is the CPU's, by the CPU's own sensor; the GPU has the rest; both are what was counted."""
    gpus = chips(host.node.root, "NVIDIA GH200 120GB", [0])
    sensor = host.node.sys / "class/hwmon/hwmon0"
    sensor.mkdir(parents=True)
    (sensor / "name").write_text("power_meter\n")
    (sensor / "power1_oem_info").write_text("Grace Power Socket 0\n")
    (sensor / "power1_average").write_text("100000000\n")
    start(host, library, gpus, meters="nvml, hwmon")
    with counting(gpus, 400):
        host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
        time.sleep(2)
        host.tick()
    got = host.collect()

    gpu_uj, cpu_uj = got.energy("gpu", 1), got.energy("cpu")
    assert gpu_uj is not None
    assert cpu_uj is not None
    assert gpu_uj / cpu_uj == pytest.approx(3, rel=0.1)
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["method"] == "integrated"  # as good as the weakest that had a part in it
    assert got.is_conserved()


def test_a_gpu_that_is_on_no_module_is_asked_nothing(tmp_path: Path, library: Path) -> None:
    """Every other node does not wait for it."""
    gpus = chips(tmp_path, "NVIDIA H200", [0, 0])
    script = "import time; begun = time.monotonic(); meter._restart(); took = time.monotonic() - begun\n" + SCRIPT
    script += "; print(took, file=sys.stderr); sys.exit(took > 20)"

    assert ask(script, library, gpus, tmp_path) == [OWN, OWN]
