# SPDX-License-Identifier: MIT
"""GPUs through the real nvidia-ml-py on a stand-in libnvidia-ml.so.1 that is compiled here."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .process import Host

JOULE = 1_000_000
SOURCE = Path(__file__).parents[1] / "simulator/nvml/nvml.c"
HEADER, DEVICE = struct.Struct("=8sI4x"), struct.Struct("=96s96s32sIIQ")
LOST = 0xFFFFFFFF


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    path = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", path, SOURCE], check=True)
    return path


class Devices:
    """The stand-in's state: per device minor number, energy, and whether it is on the bus."""

    def __init__(self, path: Path, minors: list[int]) -> None:
        self.path = path
        self.energy_mj = [1000] * len(minors)
        self.minors = minors
        self.lost = [False] * len(minors)
        path.write_bytes(b"\0" * (HEADER.size + DEVICE.size * len(minors)))
        self.show()

    def show(self) -> None:
        """Let the library see it."""
        data = HEADER.pack(b"NVMLSIM1", len(self.minors))
        for i, (minor, energy) in enumerate(zip(self.minors, self.energy_mj, strict=True)):
            power = LOST if self.lost[i] else 70_000
            data += DEVICE.pack(
                f"GPU-{i}".encode(), b"Simulated", f"00000000:{i:02X}:00.0".encode(), minor, power, energy
            )
        with self.path.open("r+b") as file:
            file.write(data)

    def count(self, *joules: int) -> None:
        """Each device counts so much."""
        self.energy_mj = [mj + j * 1000 for mj, j in zip(self.energy_mj, joules, strict=True)]
        self.show()


def start(host: Host, library: Path, minors: list[int], lost: tuple[int, ...] = ()) -> Devices:
    """The collector on a node with these devices."""
    devices = Devices(host.root / "nvml-state", minors)
    for i in lost:
        devices.lost[i] = True
    devices.show()
    host.start(env={"NVML_SIMULATED_STATE": str(devices.path)}, nvml_library=str(library))
    return devices


def test_a_gpu_is_found_by_its_minor_number(host: Host, library: Path) -> None:
    """Slurm's index is the device file's number, not the place in NVML's list; energy nobody holds is idle."""
    devices = start(host, library, [1, 0])
    host.ticket("prolog", 1, SLURM_JOB_GPUS="1")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="GPU-1")
    devices.count(30, 7)
    host.tick()
    host.ticket("epilog", 2, SLURM_JOB_GPUS="0")
    devices.count(5, 2)
    host.tick()
    got = host.collect()

    assert [ledger["gpus"] for job in (1, 2) for ledger in got.of("ledger", job)] == [["GPU-0"], ["GPU-1"]]
    assert got.energy("gpu", 1) == 35 * JOULE
    assert got.energy("gpu", 2) == 7 * JOULE
    assert got.energy("gpu") == 44 * JOULE
    assert got.is_conserved()
    assert all(row["simulated"] for row in got.of("job_slot", 1))


def test_a_gpu_that_falls_off_the_bus_takes_no_other_with_it(host: Host, library: Path) -> None:
    """Its energy is known up to then, and the row says why not further; the other one goes on."""
    devices = start(host, library, [0, 1])
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    devices.count(10, 10)
    host.tick()
    devices.lost[0] = True
    devices.count(10, 10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (10 * JOULE, 20 * JOULE)
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["reason"] == "GPU-0: nvml: gpu is lost"
    assert row["components"]["gpu"]["metered_us"] < row["alloc_us"]
    assert got.is_conserved()


def test_a_gpu_that_is_lost_from_the_start_takes_no_other_with_it(host: Host, library: Path) -> None:
    """The collector starts on a node with a dead device: that one is unknown, the others are metered."""
    devices = start(host, library, [0, 1], lost=(0,))
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    devices.count(10, 10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (None, 10 * JOULE)


def test_a_driver_reload_is_a_gap(host: Host, library: Path) -> None:
    """The counter starts again from nothing: no wrap, no energy invented."""
    devices = start(host, library, [0])
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    devices.count(40)
    host.tick()
    devices.energy_mj = [5]
    devices.show()
    host.tick()
    devices.count(3)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 43 * JOULE
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["reason"] == "GPU-0: counter was reset"


def test_a_library_that_is_none(host: Host) -> None:
    """No such file: the GPUs are unknown with the loader's words, everything else is metered."""
    host.start(nvml_library="/nowhere/libnvidia-ml.so.1")
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.node.count(JOULE)
    got = host.collect()

    assert got.energy("gpu", 1) is None
    assert got.energy("cpu") == 2 * JOULE
    [row] = got.of("job_slot", 1)
    assert "no such file" in row["components"]["gpu"]["reason"]
