# SPDX-License-Identifier: MIT
"""What the stand-in libnvidia-ml.so.1 shows: the layout of its state file (nvml/nvml.c; keep the two alike), and
an editor of it for tests. All of it can be changed while somebody reads.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEADER = struct.Struct("=8sI4x")
DEVICE = struct.Struct("=96s96s32sIIQ")
MAGIC = b"NVMLSIM1"
LOST_MW = 0xFFFFFFFF
"""A device with this power is off the bus."""
NO_ENERGY, NO_POWER, NO_MINOR, GPM, MIG = 1, 2, 4, 8, 16
"""Flags of a device."""
MAX_SAMPLES = 16


class _Header(ctypes.Structure):
    _fields_ = (("magic", ctypes.c_char * 8), ("count", ctypes.c_uint32), ("extended", ctypes.c_uint32))


class Device(ctypes.Structure):
    """One GPU."""

    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("bus_id", ctypes.c_char * 32),
        ("minor", ctypes.c_uint32),
        ("power_mw", ctypes.c_uint32),
        ("energy_mj", ctypes.c_uint64),
    )


class Driver(ctypes.Structure):
    """The driver: a new `generation` has lost everyone's handles; `hang...` are calls that do not return."""

    _fields_ = (
        ("generation", ctypes.c_uint32),
        ("unloaded", ctypes.c_uint32),
        ("hang_init", ctypes.c_uint32),
        ("hang", ctypes.c_uint32),
    )


class Instance(ctypes.Structure):
    """One MIG device; `sm_cycles` are those of its GPU instance in which the SMs were busy."""

    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("gpu_instance", ctypes.c_uint32),
        ("compute_instance", ctypes.c_uint32),
        ("gpu_slices", ctypes.c_uint32),
        ("compute_slices", ctypes.c_uint32),
        ("sm_cycles", ctypes.c_uint64),
    )


class Sample(ctypes.Structure):
    """What a process did until a time of the wall clock, in percent."""

    _fields_ = (("timestamp_us", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("sm_util", ctypes.c_uint32))


class More(ctypes.Structure):
    """What else a GPU can do."""

    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("max_limit_mw", ctypes.c_uint32),
        ("gpu_power_mw", ctypes.c_uint32),
        ("module_power_mw", ctypes.c_uint32),
        ("max_instances", ctypes.c_uint32),
        ("instance_count", ctypes.c_uint32),
        ("sample_count", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("cycles", ctypes.c_uint64),
        ("instances", Instance * 8),
        ("samples", Sample * MAX_SAMPLES),
    )


class State:
    """A state file that is mapped: what is set is seen at once."""

    def __init__(self, path: Path, count: int) -> None:
        sizes = [ctypes.sizeof(kind) for kind in (_Header, Device * count, Driver, More * count)]
        offsets = [sum(sizes[:i]) for i in range(len(sizes))]
        with path.open("w+b") as file:
            file.truncate(sum(sizes))
            self._map = mmap.mmap(file.fileno(), 0)
        self.devices = (Device * count).from_buffer(self._map, offsets[1])
        self.driver = Driver.from_buffer(self._map, offsets[2])
        self.more = (More * count).from_buffer(self._map, offsets[3])
        header = _Header.from_buffer(self._map, 0)
        header.count, header.extended = count, 1
        header.magic = MAGIC

    def partition(self, position: int, *instances: tuple[str, int, int, int, int]) -> None:
        """Make MIG devices: (UUID, GPU instance, compute instance, slices of the one, slices of the other)."""
        more = self.more[position]
        more.flags |= MIG
        for i, (uuid, *numbers) in enumerate(instances):
            more.instances[i] = Instance(uuid.encode(), *numbers)
        more.instance_count = len(instances)

    def used(self, position: int, timestamp_us: int, utils: dict[int, int]) -> None:
        """Processes used so many percent of the device until then."""
        more = self.more[position]
        for pid, sm_util in utils.items():
            slot = more.sample_count if more.sample_count < MAX_SAMPLES else 0
            more.samples[slot] = Sample(timestamp_us, pid, sm_util)
            more.sample_count = slot + 1
