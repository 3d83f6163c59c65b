# SPDX-License-Identifier: MIT
"""The meters of a node: for each component the first source that works, and why the others did not."""

from __future__ import annotations

from typing import NamedTuple

from . import nvml, powercap
from .base import Domain, Found, Meter, Reading

__all__ = ["Domain", "Meter", "Meters", "Reading", "choose"]


class Meters(NamedTuple):
    """Every meter in use, what each component is missing for, and how a ticket's GPU is named by UUID."""

    meters: list[Meter]
    domains: dict[str, Domain]
    missing: dict[str, str]
    gpus: nvml.Nvml | None

    def read(self) -> dict[str, Reading]:
        """Read every domain of every meter, by the domain's name."""
        return {name: reading for meter in self.meters for name, reading in meter.read().items()}

    def resolve_gpu(self, gpu: str) -> str:
        """UUID of a GPU as a ticket names it."""
        return self.gpus.resolve(gpu) if self.gpus else gpu


def choose(names: list[str], sysfs: str, procfs: str, nvml_library: str) -> Meters:
    """Find the meters called `names`, in that order."""
    meters: list[Meter] = []
    domains: dict[str, Domain] = {}
    missing: dict[str, str] = {}
    gpus = None
    for name in names:
        found = _find(name, sysfs, procfs, nvml_library)
        if found.meter is not None:
            meters.append(found.meter)
            domains.update({domain.name: domain for domain in found.meter.domains})
        if isinstance(found.meter, nvml.Nvml):
            gpus = found.meter
        missing.update(found.missing)
    covered = {domain.component for domain in domains.values()}
    missing = {component: why for component, why in missing.items() if component not in covered}
    for component in ("cpu", "dram", "gpu"):
        if component not in covered:
            missing.setdefault(component, "no meter for it is allowed by [collector] meters")
    return Meters(meters, domains, missing, gpus)


def _find(name: str, sysfs: str, procfs: str, nvml_library: str) -> Found:
    if name == "powercap":
        return powercap.find(sysfs, procfs)
    if name == "nvml":
        return nvml.find(nvml_library, procfs)
    return Found(None, {})
