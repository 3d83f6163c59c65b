# SPDX-License-Identifier: MIT
"""The power of hardware that nobody has measured: the makers' figures, at full use.

The aggregator knows how many CPUs a node has, but not which. The figure is the median of all models that make up a node
of that many CPUs. A site that knows better gives its own watts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median

from carbon_acct.estimates.arithmetic import Basis, Power

SOCKETS = (1, 2)
"""The numbers of sockets that are considered. Nodes with more are rare."""

CPU_MW = 4_000
"""The power in milliwatts of a CPU whose node has an unknown number of CPUs, or fits no model: about half a core's 8 W.
"""

UNIT_US = 1000
"""The microseconds in which a milliwatt is a microjoule: one millisecond."""


@dataclass(frozen=True)
class Hardware:
    """The milliwatts of each CPU and GPU, as Slurm counts them, that the site gives; None: the makers' figures."""

    cpu_mw: int | None = None
    gpu_mw: int | None = None

    def basis(self, node_cpus: int | None) -> Basis:
        """Return the basis of estimates for a node of this many CPUs, for when nothing else is known."""
        cpu_mw = self.cpu_mw or typical_cpu_mw(node_cpus)
        gpu_mw = self.gpu_mw or typical_gpu_mw()
        text = f"the hardware's figures ({cpu_mw / 1000:.3g} W a CPU, {gpu_mw / 1000:.3g} W a GPU)"
        return Basis("hardware", text, {"cpu": Power(cpu_mw, UNIT_US), "gpu": Power(gpu_mw, UNIT_US)})


@cache
def typical_cpu_mw(node_cpus: int | None) -> int:
    """Return the milliwatts of a CPU. The CPUs of a node may be its cores or its hardware threads."""
    fitting = [
        1000 * sockets * int(watts) // (sockets * int(count))
        for _, watts, cores, threads, *_ in _rows("tdp_cpu.csv")
        for sockets in SOCKETS
        for count in {cores, threads}
        if sockets * int(count) == node_cpus
    ]
    return int(median(fitting)) if fitting else CPU_MW


@cache
def typical_gpu_mw() -> int:
    """Return the milliwatts of a GPU: those of the median model."""
    return int(median(1000 * int(watts) for _, watts, *_ in _rows("tdp_gpu.csv")))


def _rows(table: str) -> Iterator[list[str]]:
    text = files("carbon_collector.meters").joinpath(table).read_text()
    return (line.split(",") for line in text.splitlines()[1:])
