# SPDX-License-Identifier: MIT
"""Reads one NVIDIA GPU: its energy (counter or integrated power), its most power, and the parts of it (MIG devices)
that a job can be allocated.

From Volta on a GPU counts millijoules since the driver was loaded, in 64 bits: a decrease is a reset, never a wrap.
Before, its power is integrated. MIG devices have neither; they are parts of their GPU.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from ..units import UJ_PER_MJ, US_PER_S
from .base import COUNTER, INTEGRATED, WHOLE, Domain, Part, Reading
from .integral import Integral, now_us

if TYPE_CHECKING:
    from typing import Any

UW_PER_MW = 1_000
MAX_WATTS = 2_000
"""More than any device without a limit of its own draws (the largest, GB300: 1,400 W; NVIDIA's data sheets)."""
MOST_WATTS = 10_000
"""A limit above this is none."""
STILL_US = 30 * US_PER_S
"""Time without a step after which a counter is dead; it steps every tenth of a second."""
UNSEEN_US = 2 * US_PER_S
"""Longest time between two looks at a power over which it is taken to have gone straight."""


class Slice(NamedTuple):
    """A MIG device: `slices` compute slices of a GPU instance that has `instance_slices` of them.

    `alias` is the name that drivers before R470 gave it, and Slurm with them.
    """

    uuid: str
    alias: str
    instance: int
    slices: int
    instance_slices: int


class Device:
    """A GPU. `failed`: it did not answer when it was last read; `capacity`: compute slices that it has."""

    __slots__ = ("_moved_us", "_units", "capacity", "domain", "failed", "handle", "integral", "minor", "nvml", "slices")

    def __init__(self, nvml: Any, handle: Any, simulated: bool) -> None:
        self.nvml = nvml
        self.handle = handle
        self.failed = False
        self.integral: Integral | None = None
        self._units, self._moved_us = -1, 0
        self.capacity = 0
        self.slices: list[Slice] = []
        uuid = text(nvml.nvmlDeviceGetUUID(handle))
        self.minor = ask(nvml, "nvmlDeviceGetMinorNumber", handle)
        self.domain = Domain(uuid, "gpu", -1, 0, self._max_watts(), COUNTER, simulated)
        if self._lacks("nvmlDeviceGetTotalEnergyConsumption") and not self._lacks("nvmlDeviceGetPowerUsage"):
            self.integrate()
        self.look()

    def integrate(self) -> None:
        """Have the energy from the power, not from a counter."""
        self.integral = Integral(UNSEEN_US)
        self.domain = self.domain._replace(method=INTEGRATED)

    def read(self) -> Reading:
        """Return the energy so far, or unknown with NVML's message."""
        try:
            reading = self._reading()
        except self.nvml.NVMLError as err:
            self.failed = err.value != self.nvml.NVML_ERROR_NOT_SUPPORTED
            return Reading(None, f"nvml: {str(err).lower()}")
        self.failed = False
        return reading

    def _reading(self) -> Reading:
        if self.integral is None:
            units = self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
            if units != self._units:
                self._units, self._moved_us = units, now_us()
            return Reading(units * UJ_PER_MJ, "")
        power_mw = self.nvml.nvmlDeviceGetPowerUsage(self.handle)
        at_us = now_us()
        self._add(power_mw, at_us)
        return self.integral.reading(at_us)

    def gives_up(self) -> bool:
        """Integrate the power from now on if the counter has stood still for long while power is drawn. Returns whether
        that has just begun.
        """
        if self.integral is not None or self._units < 0 or now_us() - self._moved_us < STILL_US:
            return False
        if not ask(self.nvml, "nvmlDeviceGetPowerUsage", self.handle):
            return False
        self.integrate()
        return True

    def sample(self) -> None:
        """Look at the power between two readings, where it is integrated."""
        power_mw = None if self.integral is None else ask(self.nvml, "nvmlDeviceGetPowerUsage", self.handle)
        if self.integral is not None and power_mw is not None:
            self._add(power_mw, now_us())

    def _add(self, power_mw: int, at_us: int) -> None:
        """Take in a power, unless no GPU draws it: some drivers show all bits set now and then."""
        if self.integral is not None and power_mw <= self.domain.max_watts * 1000:
            self.integral.add(power_mw * UW_PER_MW, at_us)

    def parts(self) -> dict[str, Part]:
        """Return what a job holds, by each name that its ticket may have for this device or a part of it.

        Slurm's index is the N of /dev/nvidiaN. A GPU that is partitioned is not given as a whole; its index may then be
        that of something else.
        """
        uuid = self.domain.name
        parts = {uuid: Part(uuid, WHOLE, uuid)}
        if self.minor is not None and not self.slices:
            parts[str(self.minor)] = parts[uuid]
        for one in self.slices:
            share = (one.slices * WHOLE + self.capacity // 2) // self.capacity
            parts[one.uuid] = parts[one.alias] = Part(uuid, min(WHOLE, share), one.uuid)
        return parts

    def look(self) -> None:
        """See how the GPU is partitioned now.

        The most MIG devices that it can have is the number of its compute slices: 7 of an A100 or H100, 4 of an A30.
        """
        mode = ask(self.nvml, "nvmlDeviceGetMigMode", self.handle)
        most = ask(self.nvml, "nvmlDeviceGetMaxMigDeviceCount", self.handle) if mode and mode[0] else 0
        found = [self._slice(position) for position in range(most or 0)]
        self.slices = [one for one in found if one is not None]
        self.capacity = max([most or 0, *(one.instance_slices for one in self.slices)])

    def _slice(self, position: int) -> Slice | None:
        """Return the MIG device at a position, or None: there may be holes between them."""
        mig = ask(self.nvml, "nvmlDeviceGetMigDeviceHandleByIndex", self.handle, position)
        ids = [ask(self.nvml, f"nvmlDeviceGet{what}", mig) for what in ("UUID", "GpuInstanceId", "ComputeInstanceId")]
        if mig is None or None in ids:
            return None
        has = ask(self.nvml, "nvmlDeviceGetAttributes_v2", mig)
        whole = has.gpuInstanceSliceCount if has else 1
        alias = f"MIG-{self.domain.name}/{ids[1]}/{ids[2]}"
        return Slice(text(ids[0]), alias, ids[1], (has.computeInstanceSliceCount if has else 0) or whole, whole)

    def _max_watts(self) -> int:
        """Return the most watts that a counter can mean: twice the highest limit that the board allows, where it states
        one.

        That is a property of the board; the limit in force is a setting and bounds nothing.
        """
        limits = ask(self.nvml, "nvmlDeviceGetPowerManagementLimitConstraints", self.handle)
        watts = limits[1] // 1000 if limits else 0
        return watts * 2 if 0 < watts <= MOST_WATTS else MAX_WATTS

    def _lacks(self, query: str) -> bool:
        """Return whether the device does not support a query. A device on which it only fails now may support it."""
        try:
            getattr(self.nvml, query)(self.handle)
        except self.nvml.NVMLError as err:
            return bool(err.value == self.nvml.NVML_ERROR_NOT_SUPPORTED)
        return False


def find_devices(nvml: Any) -> tuple[list[Device], str]:
    """Return the devices, and NVML's message about those that cannot be opened. They do not prevent the use of the
    others.
    """
    simulated = "simulated" in text(nvml.nvmlSystemGetDriverVersion()).lower()
    devices, lost = [], ""
    for position in range(nvml.nvmlDeviceGetCount()):
        try:
            devices.append(Device(nvml, nvml.nvmlDeviceGetHandleByIndex(position), simulated))
        except nvml.NVMLError as err:  # noqa: PERF203 - off the bus
            lost = f"nvml: {str(err).lower()}"
    return devices, lost


def ask(nvml: Any, query: str, *args: Any) -> Any:
    """Return NVML's answer to a query, or `None` if the device, the driver or the binding does not know it."""
    try:
        return getattr(nvml, query)(*args)
    except (nvml.NVMLError, AttributeError):
        return None


def text(value: str | bytes) -> str:
    """Return a text as str: older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
