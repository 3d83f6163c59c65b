# SPDX-License-Identifier: MIT
"""Trees of sensors beside powercap's, as the kernel lays them out: hwmon, DRM cards, HPE Cray's pm_counters."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from carbon_collector.meters.base import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .node import FileNode

ALL_ONES = (1 << 64) - 1
MI100, MI250X, MI300X, MI300A = "0x738c", "0x7408", "0x74a1", "0x74a0"
REVISION = {MI100: 3, MI250X: 3, MI300X: 5, MI300A: 4}


def place(node: FileNode) -> Place:
    """Where the node shows its hardware."""
    return Place(str(node.sys), str(node.proc), "", "")


def put(path: Path, content: str | int | bytes) -> None:
    """A file of the kernel's: there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    new.replace(path)


def hwmon(node: FileNode, number: int, name: str, **files: str | int) -> Path:
    """A device of the class hwmon."""
    folder = node.sys / f"class/hwmon/hwmon{number}"
    put(folder / "name", name)
    for file, content in files.items():
        put(folder / file, content)
    return folder


class Grace:
    """The ACPI power meters of one Grace socket, in watts. The files were `device`'s until Linux 6.14."""

    def __init__(self, node: FileNode, socket: int, old: bool = False, kinds: str = "Module Grace CPU SysIO") -> None:
        self.folders = {}
        for position, kind in enumerate(kinds.split()):
            folder = hwmon(node, 10 * socket + position, "power_meter")
            self.folders[kind] = folder / "device" if old else folder
            put(self.folders[kind] / "power1_oem_info", f"{kind} Power Socket {socket}")
        self.set(Module=700, Grace=300, CPU=250, SysIO=30)

    def set(self, **watts: int) -> None:
        """Show these powers."""
        for kind, folder in self.folders.items():
            if kind in watts:
                put(folder / "power1_average", watts[kind] * 1_000_000)


def card(node: FileNode, number: int, address: str, vendor: str, device: str, render: int | None = None) -> Path:
    """A GPU: its PCI device with a link to it among the DRM's cards."""
    folder = node.sys / "devices/pci0000:00" / address
    put(folder / "vendor", vendor)
    put(folder / "device", device)
    (folder / f"drm/card{number}").mkdir(parents=True)
    (folder / f"drm/renderD{128 + number if render is None else render}").mkdir()
    (folder / f"drm/card{number}/device").symlink_to(folder)
    link = node.sys / f"class/drm/card{number}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder / f"drm/card{number}")
    put(node.sys / f"class/drm/card{number}-DP-1/status", "disconnected")
    return folder


def sensor(node: FileNode, folder: Path, number: int, name: str) -> Path:
    """A card's hwmon device, and the link to it in the class."""
    path = folder / f"hwmon/hwmon{number}"
    put(path / "name", name)
    link = node.sys / f"class/hwmon/hwmon{number}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path)
    return path


class IntelGpu:
    """An Intel GPU with the counters of its driver."""

    def __init__(self, node: FileNode, number: int, address: str, driver: str = "xe", counters: str = "1 2") -> None:
        self.folder = card(node, number, address, "0x8086", "0x0bd5")
        folder = sensor(node, self.folder, 100 + number, driver) if counters else self.folder
        self.energy = {folder / f"energy{counter}_input": 0 for counter in counters.split()}
        if driver == "i915":  # each tile counts as well
            self.energy[sensor(node, self.folder, 200 + number, "i915_gt0") / "energy1_input"] = 0
        self.count(10**6)

    def count(self, energy_uj: int) -> None:
        """The card counts so much; what is inside it three quarters of that."""
        for position, path in enumerate(self.energy):
            self.energy[path] += energy_uj if position == 0 else energy_uj * 3 // 4
            put(path, self.energy[path])


class AmdGpu:
    """An AMD GPU (one GCD) with its accumulator in 2^-16 J and its power in watts."""

    def __init__(self, node: FileNode, number: int, address: str, device: str = MI300X, unique: str = "") -> None:
        self.folder = card(node, number, address, "0x1002", device)
        self.revision = REVISION[device]
        self.mask = (1 << 32) - 1 if device == MI100 else ALL_ONES
        self.units = 5_000_000
        self.watts = 400
        self.moves = True
        self.per_joule = 1 << 16
        self.unique = unique
        if unique:
            put(self.folder / "unique_id", unique)
        self.sensor = sensor(node, self.folder, 100 + number, "amdgpu")
        self.show()
        put(node.sys / "module/amdgpu/version", "6.12")

    def show(self) -> None:
        """Let the driver show it."""
        put(self.folder / "gpu_metrics", metrics(self.revision, self.units & self.mask, self.watts))
        put(self.sensor / "power1_average", self.watts * 1_000_000)

    def count(self, joules: int) -> None:
        """The accumulator counts so much."""
        self.units += joules << 16
        self.show()

    @property
    def address(self) -> str:
        """On the PCI bus."""
        return self.folder.name


def metrics(revision: int, units: int, watts: int, form: int = 1) -> bytes:
    """The file gpu_metrics up to the fields that matter, at the size of the whole."""
    size = {0: 80, 1: 96, 2: 104, 3: 120, 4: 304, 5: 360, 6: 1664, 7: 2208, 8: 3000}.get(revision, 400)
    before = {0: 34, 1: 22, 2: 22, 3: 22}.get(revision, 10)
    energy_at = {0: 36, 5: 88, 6: 16}.get(revision, 24)
    data = bytearray(b"\xff" * size)
    data[:4] = struct.pack("<HBB", size, form, revision)
    data[before : before + 2] = struct.pack("<H", watts)
    width = 4 if revision == 0 else 8
    data[energy_at : energy_at + width] = (units & (1 << 8 * width) - 1).to_bytes(width, "little")
    return bytes(data)


@contextlib.contextmanager
def drawing(*gpus: AmdGpu) -> Iterator[None]:
    """Let the accumulators run at their powers, as while a collector looks whether they do."""
    stop = threading.Event()

    def run() -> None:
        last = time.monotonic()
        while not stop.wait(0.01):
            now = time.monotonic()
            for gpu in gpus:
                if gpu.moves:
                    gpu.units += int(gpu.watts * (now - last) * gpu.per_joule)
                    gpu.show()
            last = now

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Cray:
    """pm_counters of one node, in joules; every change is a scan."""

    def __init__(self, node: FileNode, accelerators: int = 4, **joules: int) -> None:
        self.folder = node.sys / "cray/pm_counters"
        self.joules = {"energy": 1000, "cpu_energy": 300, "memory_energy": 100}
        self.joules |= {f"accel{i}_energy": 100 + i for i in range(accelerators)} | joules
        self.scans = 1
        put(self.folder / "generation", "1 1571230862955436 us")
        self.show()

    def show(self) -> None:
        """One scan."""
        self.scans += 1
        for name, joules in self.joules.items():
            put(self.folder / name, f"{joules} J 1571230862955436 us")
        put(self.folder / "freshness", f"{self.scans} 1571230862955436 us")

    def count(self, **joules: int) -> None:
        """The controller has measured so much more."""
        for name, more in joules.items():
            self.joules[f"{name}_energy" if name != "energy" else name] += more
        self.show()


class Drawn(NamedTuple):
    """Joules that a meter saw, and the least and most seconds that lay between its two readings."""

    joules: float
    least_s: float
    most_s: float


def drawn_over(body: Callable[[], object], energy_uj: Callable[[], int | None]) -> Drawn:
    """Read a meter, do something, and read it again: however busy the machine is, the time is known."""
    begin_s = time.monotonic()
    first = energy_uj() or 0
    begun_s = time.monotonic()
    body()
    end_s = time.monotonic()
    last = energy_uj() or 0
    return Drawn((last - first) / 1_000_000, end_s - begun_s, time.monotonic() - begin_s)
