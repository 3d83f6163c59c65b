# SPDX-License-Identifier: MIT
"""Reads how much each of several jobs used a GPU that they share, between two readings.

For MIG it reads how busy the slices' multiprocessors were (GPM, Hopper and later). For a whole GPU, which MPS or
Slurm's shards divide, it reads how busy each process kept it.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from .nvml_device import Device, Slice

METRICS = (2, 1)
"""NVML_GPM_METRIC_SM_UTIL, GRAPHICS_UTIL: percent over the time between two samples, in order of preference. The
newest drivers also count SM cycles, but do not document between which instants."""
MILLI = 1000


class Sharing:
    """The samples of each GPU instance, from which its next utilisation is computed."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._samples: dict[tuple[str, int], Any] = {}

    def read(self, devices: list[Device], since_us: int) -> dict[str, dict[str, int]]:
        """Return what was done on each device since the last call (processes: since that wall-clock time), by UUID of
        the slice or `pid:<number>`. A device for which that is unknown is absent.
        """
        before, self._samples = self._samples, {}
        done = {d.domain.name: self._slices(d, before) if d.slices else self._processes(d, since_us) for d in devices}
        for sample in before.values():
            self._nvml.nvmlGpmSampleFree(sample)
        return {name: amounts for name, amounts in done.items() if amounts is not None}

    def _slices(self, device: Device, before: dict[tuple[str, int], Any]) -> dict[str, int] | None:
        """Return the busy slices by UUID, in any unit. If one GPU instance is unknown all are, or the others would pay
        for it.
        """
        instances: dict[int, list[Slice]] = {}
        for one in device.slices:
            instances.setdefault(one.instance, []).append(one)
        done: dict[str, int] | None = {}
        for instance, slices in instances.items():
            percent = self._utilisation(device, instance, before)
            if percent is None or done is None:
                done = None  # go on: the next reading needs a sample of each
                continue
            busy = int(percent * MILLI) * slices[0].instance_slices
            # Compute instances share the multiprocessors of their GPU instance; each is told only of all.
            done.update(zip((one.uuid for one in slices), apportion(busy, [one.slices for one in slices])))
        return done

    def _utilisation(self, device: Device, instance: int, before: dict[tuple[str, int], Any]) -> float | None:
        """Return the percentage of a GPU instance's multiprocessors that were busy since the last reading, or None."""
        key = device.domain.name, instance
        try:
            sample = self._nvml.nvmlGpmSampleAlloc()
        except (self._nvml.NVMLError, AttributeError):
            return None
        try:
            self._nvml.nvmlGpmMigSampleGet(device.handle, instance, sample)
            self._samples[key] = sample
            return self._compare(before[key], sample) if key in before else None
        except (self._nvml.NVMLError, AttributeError):
            if key not in self._samples:
                self._nvml.nvmlGpmSampleFree(sample)
            return None

    def _compare(self, first: Any, second: Any) -> float | None:
        get = self._nvml.c_nvmlGpmMetricsGet_t()
        get.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        get.numMetrics = len(METRICS)
        get.sample1, get.sample2 = first, second
        for metric, number in zip(get.metrics, METRICS):
            metric.metricId = number
        self._nvml.nvmlGpmMetricsGet(get)
        known = [m.value for m in get.metrics[: len(METRICS)] if m.nvmlReturn == self._nvml.NVML_SUCCESS]
        return next((min(100.0, value) for value in known if value >= 0), None)

    def _processes(self, device: Device, since_us: int) -> dict[str, int] | None:
        """Return the percentage of the device that each process used, which NVML averages since that time.

        NVML leaves out processes that did nothing, and is known to fill its list with entries that are no processes
        (nvtop, issue 110).
        """
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(device.handle, since_us)
        except self._nvml.NVMLError as err:
            nothing = (self._nvml.NVML_ERROR_NOT_FOUND, self._nvml.NVML_SUCCESS)
            return {} if err.value in nothing else None
        done: dict[str, int] = {}
        for one in samples:
            if one.pid and one.smUtil <= 100 and one.timeStamp > since_us:
                done[f"pid:{one.pid}"] = done.get(f"pid:{one.pid}", 0) + one.smUtil
        return done
