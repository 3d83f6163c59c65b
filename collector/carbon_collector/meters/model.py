# SPDX-License-Identifier: MIT
"""Estimates energy where nothing can be read: that of CPUs by their TDP and use, that of memory by what is installed.

    P(u) = P_idle + (TDP - P_idle) x u        P_idle = IDLE_SHARE x TDP, u the part of the socket's CPU time in use

It is computed as energy since boot from the kernel's own counters, uptime and busy CPU time. So it never falls, needs
no state, and a collector that starts again continues where the last one was. docs/methodology.md says how far off it
is.
"""

from __future__ import annotations

import os

from .. import host
from ..lean.typing import TYPE_CHECKING, NamedTuple
from . import smbios, tdp
from .base import IDLE_SHARE, MODELLED, Domain, Found, Meter, Place, Reading
from .integral import now_us

if TYPE_CHECKING:
    from ..topology import Topology

CORE_WATTS = 8
"""For a CPU that the table does not know. The median of the table is 8.4 W a core, half of it lies within 6.4 and
11.9; others assume 4 W a thread (CodeCarbon) or 12 W a core (Green Algorithms)."""
DIMM_MW = 5_000
"""A memory module, whatever its size (CodeCarbon 3; RAPL shows 0.5 to 6 W per DIMM)."""
MEMORY_INSIDE = ("jep106:036b:0241",)
"""CPUs whose TDP has their memory in it: NVIDIA Grace."""
GIB = 1 << 30


class Guess(NamedTuple):
    """The most milliwatts of a socket or of the memory, and the basis of that figure."""

    full_mw: int
    why: str


class Guesses(NamedTuple):
    """The guesses for a node: each socket by its number, and the memory (0 if it is inside the CPUs)."""

    sockets: dict[int, Guess]
    memory: Guess


def energy_uj(uptime_us: int, busy_us: int, cpus: int, full_mw: int) -> int:
    """Return the microjoules of a socket of `cpus` CPUs since boot, after `busy_us` of CPU time."""
    idle_mw = int(full_mw * IDLE_SHARE["cpu"])
    return (uptime_us * idle_mw * cpus + busy_us * (full_mw - idle_mw)) // (1000 * cpus)


class Model(Meter):
    """A node's sockets and memory."""

    def __init__(self, place: Place, topology: Topology, guesses: Guesses) -> None:
        simulated = os.path.exists(f"{place.sysfs}/class/powercap/simulated")
        sockets = [_domain(f"model-cpu-{s}", "cpu", s, guess, simulated) for s, guess in guesses.sockets.items()]
        memory = [_domain("model-dram", "dram", -1, guesses.memory, simulated)] if guesses.memory.full_mw else []
        super().__init__(sockets + memory)
        self._sysfs, self._procfs = place.sysfs, place.procfs
        self._topology = topology
        self._guesses = guesses

    def read(self) -> dict[str, Reading]:
        """Return the energy since boot."""
        if not host.is_current(self._topology, self._sysfs):
            # A CPU that is switched off takes its line out of /proc/stat, and brings all of its past back.
            self._topology = host.topology(self._sysfs, self._procfs)
            return {domain.name: Reading(None, "the CPUs that are online have changed") for domain in self.domains}
        uptime_us = now_us()
        busy = host.busy_us(self._procfs, self._topology)
        return {domain.name: Reading(self._energy(domain, uptime_us, busy), "") for domain in self.domains}

    def _energy(self, domain: Domain, uptime_us: int, busy: dict[int, int]) -> int:
        if domain.component == "dram":
            return uptime_us * self._guesses.memory.full_mw // 1000
        cpus = self._topology.cpus_on(domain.socket)
        if not cpus:  # all CPUs of the socket are switched off
            return uptime_us * int(self._guesses.sockets[domain.socket].full_mw * IDLE_SHARE["cpu"]) // 1000
        return energy_uj(uptime_us, busy[domain.socket], cpus, self._guesses.sockets[domain.socket].full_mw)


def _domain(name: str, component: str, socket: int, guess: Guess, simulated: bool) -> Domain:
    # /proc/stat steps by 10 ms a CPU: twice the TDP leaves room for that in short intervals.
    return Domain(name, component, socket, 0, 2 * guess.full_mw // 1000 + 1, MODELLED, simulated)


def find(place: Place) -> Found:
    """Return a model of the node's power, and what is missing without one."""
    topology = host.topology(place.sysfs, place.procfs)
    if not topology.cpus:
        why = f"no CPU in {place.sysfs}/devices/system/cpu"
        return Found(None, {"cpu": why, "dram": why})
    guesses = guess_all(place, topology)
    return Found(Model(place, topology, guesses), {} if guesses.memory.full_mw else {"dram": guesses.memory.why})


def guess_all(place: Place, topology: Topology) -> Guesses:
    """Return what the node's sockets and memory draw at most."""
    info = host.cpu_facts(place.procfs)
    virtual = host.is_guest(place.procfs)
    names = [info.get("model name", ""), *smbios.processors(place.sysfs), _soc(place.sysfs), info.get("cpu", "")]
    names = [name for name in names if name]
    known = tdp.cpu(names)
    sockets = {}
    for socket in sorted(set(topology.socket_of.values())):
        cpus = topology.cpus_on(socket)
        sockets[socket] = _of_table(known, cpus, virtual) if known else _by_cores(names, info, cpus)
    if known and known.name in MEMORY_INSIDE:
        return Guesses(sockets, Guess(0, f"inside the TDP of {known.name}"))
    return Guesses(sockets, _memory(place, virtual))


def _of_table(known: tdp.Cpu, cpus: int, virtual: bool) -> Guess:
    """Return the power of a socket by the table. A virtual machine has its share of a socket, and so has a host that
    shows fewer CPUs than the model has cores.
    """
    why = f"{known.name}: TDP {known.watts} W ({known.source})"
    if (virtual or cpus < known.cores) and cpus < known.threads:
        return Guess(known.watts * 1000 * cpus // known.threads, f"{why}, {cpus} of {known.threads} threads of it")
    return Guess(known.watts * 1000, why)


def _by_cores(names: list[str], info: dict[str, str], cpus: int) -> Guess:
    cores, threads = (int(info[key]) if info.get(key, "").isdigit() else 0 for key in ("cpu cores", "siblings"))
    cores = max(1, cpus * cores // threads) if 0 < cores <= threads else cpus
    name = names[0] if names else "a CPU without a name"
    return Guess(CORE_WATTS * 1000 * cores, f"{name} is not in the table; {CORE_WATTS} W for each of {cores} cores")


def _memory(place: Place, virtual: bool) -> Guess:
    total = host.memory(place.procfs).total
    modules = 0 if virtual else smbios.dimms(place.sysfs)
    if modules:
        return Guess(modules * DIMM_MW, f"{modules} modules of {DIMM_MW // 1000} W")
    if total:
        return Guess(max(1, int(total * tdp.GIB_MW / GIB)), f"{total / GIB:.0f} GiB of {tdp.GIB_MW / 1000} W")
    return Guess(0, f"no MemTotal in {place.procfs}/meminfo")


def _soc(sysfs: str) -> str:
    """Return maker and chip by SMCCC_ARCH_SOC_ID, on Arm: `jep106:036b:0241`."""
    return host.read_text(f"{sysfs}/devices/soc0/soc_id")
