# SPDX-License-Identifier: MIT
"""GPUs of one node: device files that jobs can hold, and the state that the stand-in libnvidia-ml.so.1 shows.

A device is busy while a process holds a lock (flock(2)) on its device file: `flock /dev/nvidia0 sleep 5`
is five seconds of work. The kernel takes a lock back when its holder ends, however it ends.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from pathlib import Path

from .hardware import Gpu
from .nvml_state import DEVICE, HEADER, MAGIC

NULL_DEVICE = os.makedev(1, 3)
PJ_PER_MJ = 1_000_000_000


class Gpus:
    """Animates the devices of one node."""

    def __init__(self, root: Path, gpus: tuple[Gpu, ...]) -> None:
        self._gpus = gpus
        self._picojoules = [0] * len(gpus)
        self._files = [_device_file(root / "dev" / f"nvidia{gpu.minor}") for gpu in gpus]
        (root / "nvml").mkdir(parents=True)
        with (root / "nvml" / "state").open("w+b") as file:
            file.truncate(HEADER.size + DEVICE.size * len(gpus))
            self._state = mmap.mmap(file.fileno(), 0)
        HEADER.pack_into(self._state, 0, MAGIC, len(gpus))
        for position, gpu in enumerate(gpus):
            bus_id = f"00000000:{0x10 + position:02X}:00.0".encode()
            fields = (gpu.uuid.encode(), gpu.name.encode(), bus_id, gpu.minor, gpu.idle_mw, gpu.start_mj)
            DEVICE.pack_into(self._state, _offset(position), *fields)
        # `struct` writes byte by byte; through these views a number is one store, which no reader sees half of.
        self._words = memoryview(self._state).cast("I")
        self._longs = memoryview(self._state).cast("Q")

    def step(self, step_ns: int) -> dict[str, int]:
        """Let time pass; return the energy of each device since ever, in microjoules."""
        for position, gpu in enumerate(self._gpus):
            power_mw = gpu.busy_mw if _is_held(self._files[position]) else gpu.idle_mw
            self._picojoules[position] += power_mw * step_ns
            self._show(position, power_mw)
        return {gpu.uuid: self._energy_mj(i) * 1000 for i, gpu in enumerate(self._gpus)}

    def _energy_mj(self, position: int) -> int:
        return self._gpus[position].start_mj + self._picojoules[position] // PJ_PER_MJ

    def _show(self, position: int, power_mw: int) -> None:
        end = _offset(position) + DEVICE.size
        self._words[(end - 12) // 4] = power_mw
        self._longs[(end - 8) // 8] = self._energy_mj(position)


def _offset(position: int) -> int:
    return HEADER.size + DEVICE.size * position


def _device_file(path: Path) -> int:
    """A character device that does nothing (that of /dev/null); a plain file where none may be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, NULL_DEVICE)
    except PermissionError:
        path.touch()
    path.chmod(0o666)
    return os.open(path, os.O_RDWR)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
