# SPDX-License-Identifier: MIT
"""NVIDIA GPUs through NVML's energy counter (Volta and later); the only module that imports pynvml.

The counter is in millijoules since the driver was loaded and has 64 bits, so a decrease is a reset, never
a wrap. Devices are known by UUID; Slurm's indexes are mapped by minor number, never by position.
"""

from __future__ import annotations

import os
from typing import Any

from ..host import read_text
from ..units import UJ_PER_MJ
from .base import COUNTER, Domain, Found, Reading

LOADER_CACHE = "/etc/ld.so.cache"
MAX_WATTS = 2_000
"""More than any device draws (GB200's module: 1,200 W; NVIDIA's data sheets)."""


class Nvml:
    """The devices of one node, by UUID."""

    def __init__(self, pynvml: Any, simulated: bool) -> None:
        self._nvml = pynvml
        self._handles: dict[str, Any] = {}
        self.by_index: dict[str, str] = {}
        self.domains: list[Domain] = []
        self.lost = ""
        for position in range(pynvml.nvmlDeviceGetCount()):
            try:
                self._find_one(position, simulated)
            except pynvml.NVMLError as err:  # noqa: PERF203 - off the bus; the others are not
                self.lost = f"nvml: {str(err).lower()}"

    def _find_one(self, position: int, simulated: bool) -> None:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(position)
        uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
        # gres.conf's File=/dev/nvidia<minor>; AutoDetect=nvml uses the same files.
        self.by_index[str(self._nvml.nvmlDeviceGetMinorNumber(handle))] = uuid
        self._handles[uuid] = handle
        self.domains.append(Domain(uuid, "gpu", -1, 0, MAX_WATTS, COUNTER, simulated))

    def read(self) -> dict[str, Reading]:
        """Read every device; one that fell off the bus does not stop the others."""
        return {uuid: self._read_one(handle) for uuid, handle in self._handles.items()}

    def _read_one(self, handle: Any) -> Reading:
        try:
            return Reading(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * UJ_PER_MJ, "")
        except self._nvml.NVMLError as err:
            return Reading(None, f"nvml: {str(err).lower()}")

    def resolve(self, gpu: str) -> str:
        """UUID of a GPU as a ticket names it: by index, by UUID; what is not known stays as it is."""
        return self.by_index.get(gpu, gpu)


def find(library: str, procfs: str) -> Found:
    """Start NVML where a driver is. pynvml is not even imported elsewhere: it costs megabytes."""
    if not _driver_is_here(library, procfs):
        return Found(None, {"gpu": "no NVIDIA driver"})
    try:
        import pynvml

        if library:
            import ctypes

            # pynvml asks the loader for the name; a library that is already loaded under it is taken.
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        pynvml.nvmlInit()
        simulated = "simulated" in _text(pynvml.nvmlSystemGetDriverVersion()).lower()
        found = Nvml(pynvml, simulated)
        return Found(found, {"gpu": found.lost or "no device"} if not found.domains else {})
    except ImportError:
        return Found(None, {"gpu": "nvidia-ml-py is not installed"})
    except (OSError, pynvml.NVMLError) as err:
        return Found(None, {"gpu": f"nvml: {str(err).lower()}"})


def _driver_is_here(library: str, procfs: str) -> bool:
    if library or os.path.exists(f"{procfs}/driver/nvidia/version"):
        return True
    return "libnvidia-ml.so.1" in read_text(LOADER_CACHE)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
