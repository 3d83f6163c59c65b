# SPDX-License-Identifier: MIT
"""States the watts of hardware that nobody has measured: the makers' figures, at full use. It measures nothing.

A GPU's type comes from the job's AllocTRES. A type that the tables do not know, or none, has the median model's watts.
The aggregator knows how many CPUs a node has, but not of which model: the figure is the median of all models that can
make up such a node. A site that knows better states its own watts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from carbon_acct.estimates.arithmetic import Basis, Power
from carbon_collector.errors import SettingsError
from carbon_collector.meters.tdp import Accelerator, accelerator, accelerators, cpus, read_accelerators

SOCKETS = (1, 2)
"""Nodes with more are rare."""

CPU_MW = 4_000
"""Of a CPU of a node of which not even their number is known, or fits no model: about half a core's 8 W."""

UNIT_US = 1000
"""A milliwatt is a microjoule in a millisecond."""


@dataclass(frozen=True)
class Hardware:
    """Milliwatts that the site gives for each CPU and GPU, as Slurm counts them; None: the makers' figures.

    `models`: the accelerators of the site's own table; they come before those of the shipped one.
    """

    cpu_mw: int | None = None
    gpu_mw: int | None = None
    models: tuple[Accelerator, ...] = ()

    def basis(self, node_cpus: int | None, alloc_tres: str = "") -> Basis:
        """Return what estimates for a job on nodes of so many CPUs rest on when nothing else is known."""
        cpu_mw = self.cpu_mw or typical_cpu_mw(node_cpus)
        gpu_mw, which = (self.gpu_mw, "GPU") if self.gpu_mw else self._gpu(alloc_tres)
        text = f"the hardware's figures ({cpu_mw / 1000:.3g} W a CPU, {gpu_mw / 1000:.4g} W a {which})"
        return Basis("hardware", text, {"cpu": Power(cpu_mw, UNIT_US), "gpu": Power(gpu_mw, UNIT_US)})

    def _gpu(self, alloc_tres: str) -> tuple[int, str]:
        """Return the milliwatts of a GPU of the job, the mean over its types, and the names of these types."""
        known = [*self.models, *_shipped()]
        total_w, count, names = 0.0, 0, []
        for name, number in gpu_types(alloc_tres).items():
            found = accelerator(name, known)
            if found is None or found.watts is None:
                return typical_gpu_mw(), "GPU"
            total_w, count = total_w + found.watts * number, count + number
            names.append(name)
        if not count:
            return typical_gpu_mw(), "GPU"
        return round(1000 * total_w / count), " or ".join(names)


def load_hardware(path: str) -> Hardware:
    """Read [site] accelerators; no path, the shipped table alone. Raises SettingsError that names the line."""
    if not path:
        return Hardware()
    try:
        return Hardware(models=tuple(read_accelerators(Path(path).read_text("utf-8").splitlines())))
    except (OSError, ValueError) as err:
        raise SettingsError(f"[site] accelerators = {path}: {err}") from err


def gpu_types(alloc_tres: str) -> Mapping[str, int]:
    """Return the number of GPUs of each type that AllocTRES names: `gres/gpu:a100=4` -> {"a100": 4}."""
    found = re.findall(r"(?:^|,)gres/gpu:([^=,]+)=(\d+)(?=,|$)", alloc_tres or "")
    return {name: int(number) for name, number in found if int(number)}


@cache
def typical_cpu_mw(node_cpus: int | None) -> int:
    """Return the typical milliwatts of one CPU in a node with `node_cpus` CPUs.

    It is the median over the listed models of which 1 or more make such a node. Slurm may count a node's cores or its
    hardware threads as CPUs, so both are tried. Where no model fits, it is CPU_MW.
    """
    fitting = [
        1000 * sockets * model.watts // (sockets * count)
        for model in cpus()
        for sockets in SOCKETS
        for count in {model.cores, model.threads}
        if sockets * count == node_cpus
    ]
    return int(median(fitting)) if fitting else CPU_MW


@cache
def typical_gpu_mw() -> int:
    """Return the milliwatts of a GPU: the median model's."""
    return int(median(1000 * model.watts for model in _shipped() if model.kind == "gpu" and model.watts))


@cache
def _shipped() -> tuple[Accelerator, ...]:
    return tuple(accelerators())
