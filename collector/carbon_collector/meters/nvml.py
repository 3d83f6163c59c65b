# SPDX-License-Identifier: MIT
"""NVIDIA GPUs through NVML; the only module that imports pynvml, and only where a driver is.

`nvml_device` is one GPU, `nvml_module` the superchips whose counter is not the GPU's alone, `nvml_sharing` what
several jobs do on one GPU. Devices are known by UUID, never by their place in NVML's list.

NVML stays open: where no persistence daemon runs, the last to close it makes the counters begin anew. For the same
reason a driver can only be unloaded when the collector is stopped.
"""

from __future__ import annotations

import os
import time

from ..host import read_text
from ..lean.typing import TYPE_CHECKING
from .base import Domain, Found, Meter, Place, Reading

if TYPE_CHECKING:
    from typing import Any

    from .nvml_device import Device

LOADER_CACHE = "/etc/ld.so.cache"
AGAIN_S = 10.0
"""Where no device answers NVML is started again, not more often than this."""
LAYOUT_S = 60.0
"""How often it is looked whether a GPU was partitioned anew; Slurm takes that in only when slurmd starts."""
SAMPLE_S = 0.1
"""Up to GA100 the power is an instantaneous one: at 10 Hz it is followed, at 1 Hz its peaks are missed."""


class Nvml(Meter):
    """The devices of one node. A device that was found once stays: while it is away it is unknown."""

    def __init__(self, pynvml: Any, place: Place) -> None:
        from .nvml_sharing import Sharing

        super().__init__([])
        self._nvml = pynvml
        self._place = place
        self._devices: dict[str, Device] = {}
        self._all: dict[str, Domain] = {}
        self._sharing = Sharing(pynvml)
        self._read_us = 0
        self._restarted_s = float("-inf")
        self._looked_s = time.monotonic()
        self.lost = ""
        self._open()
        self.domains = list(self._all.values())

    def read(self) -> dict[str, Reading]:
        """Read every device; one that fell off the bus does not stop the others."""
        since_us, self._read_us = self._read_us, time.time_ns() // 1000
        readings = {domain.name: self._read_one(domain.name) for domain in self.domains}
        self.activity = self._done(since_us)
        self._tend(time.monotonic())
        return readings

    def sample(self) -> None:
        """Look at the power of the devices that have no counter."""
        for domain in self.domains:
            if domain.name in self._devices:
                self._devices[domain.name].sample()

    def _read_one(self, name: str) -> Reading:
        device = self._devices.get(name)
        return device.read() if device else Reading(None, self.lost or "nvml: no such device any more")

    def _done(self, since_us: int) -> dict[str, dict[str, int]]:
        """Return what was done on the shared devices since that time. Most nodes have none."""
        shared = [device for name, device in self._devices.items() if name in self.shared]
        return self._sharing.read(shared, since_us)

    # -- the driver -------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Start NVML and find its devices. Raises NVMLError, and has closed NVML then."""
        from .nvml_device import find_devices
        from .nvml_module import take_off_cpus

        self._nvml.nvmlInit()
        try:
            devices, self.lost = find_devices(self._nvml)
            take_off_cpus(self._nvml, devices, self._place)
        except self._nvml.NVMLError:
            self._nvml.nvmlShutdown()
            raise
        self._devices = {device.domain.name: device for device in devices}
        self.sample_s = SAMPLE_S if any(device.integral for device in devices) else 0.0
        self._show()

    def close(self) -> None:
        """Let go of NVML."""
        from .nvml_device import ask

        self._sharing.read([], 0)
        ask(self._nvml, "nvmlShutdown")  # which the driver may have done for us

    def _tend(self, now_s: float) -> None:
        """Start NVML again where nothing answers any more: a driver that was loaded anew voids every handle."""
        if all(device.failed for device in self._devices.values()):
            if now_s - self._restarted_s >= AGAIN_S and is_loaded(self._place):
                self._restarted_s = now_s
                self._restart()
        elif [device for device in self._devices.values() if device.gives_up()]:
            self.sample_s = SAMPLE_S
            self._show()
        elif now_s - self._looked_s >= LAYOUT_S:
            self._looked_s = now_s
            for device in self._devices.values():
                device.look()
            self._show()

    def _restart(self) -> None:
        self.close()
        self._devices = {}
        try:
            self._open()
        except self._nvml.NVMLError as err:
            self.lost = f"nvml: {str(err).lower()}"

    def _show(self) -> None:
        """Let the collector know what can be held, where that is something else than before."""
        parts = {name: part for device in self._devices.values() for name, part in device.parts().items()}
        domains = {**self._all, **{name: device.domain for name, device in self._devices.items()}}
        is_other = bool(self._all) and (domains, parts) != (self._all, self.parts)
        self._all, self.parts = domains, parts
        if is_other:
            self.found = tuple(domains.values())


def absent(place: Place, again: bool) -> str:
    """Return why there is no NVIDIA GPU to look for; empty if there is a driver. This does not import pynvml, which
    costs megabytes.

    The driver's library counts as a sign the first time only: looking `again` and again would load a driver that was
    unloaded.
    """
    there = is_loaded(place) or (not again and "libnvidia-ml.so.1" in read_text(LOADER_CACHE))
    return "" if there else "no NVIDIA driver"


def is_loaded(place: Place) -> bool:
    """Return whether the kernel has loaded the driver. To start NVML without it would load it, while somebody is
    replacing it.
    """
    return bool(place.nvml_library) or os.path.exists(f"{place.procfs}/driver/nvidia/version")


def _pynvml() -> Any:
    """Return the module of nvidia-ml-py, imported without `ctypes.util`. It imports that for other systems than Linux,
    and it brings `subprocess`, `tempfile`, `lzma` and a megabyte and a half.
    """
    import sys

    stand_in = type(sys)("ctypes.util")
    stand_in.find_library = None  # type: ignore[attr-defined]
    had = sys.modules.setdefault("ctypes.util", stand_in)
    try:
        import pynvml
    finally:
        if had is stand_in:
            del sys.modules["ctypes.util"]
    return pynvml


def find(place: Place) -> Found:
    """Start NVML and find its devices."""
    try:
        pynvml = _pynvml()
    except ImportError:
        return Found(None, {"gpu": "nvidia-ml-py is not installed"})
    try:
        if place.nvml_library:
            import ctypes

            # pynvml asks the loader for the name; a library that is already loaded under it is taken.
            ctypes.CDLL(place.nvml_library, mode=ctypes.RTLD_GLOBAL)
        meter = Nvml(pynvml, place)
    except (OSError, pynvml.NVMLError) as err:
        return Found(None, {"gpu": f"nvml: {str(err).lower()}"})
    if meter.domains:
        return Found(meter, {})
    meter.close()  # or it would show the same when it is looked at again
    return Found(None, {"gpu": meter.lost or "nvml: no device"})
