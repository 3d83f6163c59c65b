# SPDX-License-Identifier: MIT
"""Sensors of the kernel's hwmon: Grace sockets, old AMD CPUs, Intel GPUs.

Grace shows powers only, through ACPI power meters named by `power1_oem_info` (Documentation/hwmon/
acpi_power_meter.rst; NVIDIA's names). "Grace Power" is the whole socket; "CPU Power" (cores) and "SysIO Power" are
inside it, and what it draws beyond them is memory and its regulators. "Module Power" (GH200) holds Grace and GPU
and is not read here. The driver amd_energy (Linux 5.8 to 5.12, since then out of tree) counts sockets and, inside
them, cores. i915 and xe count cards; a card's second counter (xe: package) and those of i915's tiles are inside.
"""

from __future__ import annotations

from ..host import read_text
from ..lean.typing import TYPE_CHECKING
from .base import COUNTER, INTEGRATED, WHOLE, Domain, Found, Meter, Part, Place, Reading
from .integral import Integral, now_us
from .sockets import sockets
from .sysfs import cards, is_simulated, listed, read_number, reading_of, reason_of, sensors

if TYPE_CHECKING:
    from .sysfs import Card

CLASS = "class/hwmon"
INTEL = "0x8086"
GRACE_WATTS = {"cpu": 1_000, "dram": 300}
CPU_WATTS = 1_000
GPU_WATTS = 1_200
"""Twice what a Data Center GPU Max 1550 may draw (600 W)."""
GPU_RANGE_UJ = 262_144_000_000
"""The drivers add up a 32-bit register in 2^-14 J at each reading of it: after 262 kJ unread, a turn of it is lost
(drivers/gpu/drm/i915/i915_hwmon.c, xe/xe_hwmon.c)."""
SAMPLE_S = 1.0
"""A reading may go through firmware and take tens of milliseconds; the sensors average over 50 ms or 1 s."""
LONGEST_US = 5_000_000


class Grace:
    """One socket's power sensors, integrated: domain `grace-N` less memory, and `grace-dram-N` where that is known."""

    def __init__(self, number: str, socket: int, paths: dict[str, str], simulated: bool) -> None:
        self._paths = [paths["grace"], *(paths[kind] for kind in ("cpu", "sysio") if kind in paths)]
        self.domains = {"cpu": _grace(f"grace-{number}", "cpu", socket, simulated)}
        if len(self._paths) == 3:
            self.domains["dram"] = _grace(f"grace-dram-{number}", "dram", socket, simulated)
        self._integrals = {component: Integral(LONGEST_US) for component in self.domains}
        self._fault = ""

    def sample(self) -> None:
        """Look at the powers. One that cannot be read is not seen."""
        try:
            whole, *inside = [read_number(path) for path in self._paths]
        except (OSError, ValueError) as err:
            self._fault = f"power1_average: {reason_of(err)}"
            return
        at_us = now_us()
        beyond = max(0, whole - sum(inside)) if "dram" in self.domains else 0
        self._integrals["cpu"].add(whole - beyond, at_us)
        if "dram" in self.domains:
            self._integrals["dram"].add(beyond, at_us)
        self._fault = ""

    def read(self) -> dict[str, Reading]:
        """Both energies so far, by domain."""
        self.sample()
        at_us = now_us()
        readings = {self.domains[c].name: integral.reading(at_us) for c, integral in self._integrals.items()}
        return {
            name: Reading(None, self._fault) if r.energy_uj is None and self._fault else r
            for name, r in readings.items()
        }


class Hwmon(Meter):
    """Counters by domain and path, and the sockets whose power is integrated."""

    def __init__(self, counters: dict[Domain, str], graces: list[Grace], parts: dict[str, Part]) -> None:
        super().__init__([*counters, *(domain for grace in graces for domain in grace.domains.values())], parts)
        self._paths = {domain.name: path for domain, path in counters.items()}
        self._graces = graces
        self.sample_s = SAMPLE_S if graces else 0.0

    def read(self) -> dict[str, Reading]:
        """Read every domain that is in use."""
        wanted = {domain.name for domain in self.domains}
        readings = {name: reading_of(path) for name, path in self._paths.items() if name in wanted}
        for grace in self._wanted():
            readings.update(grace.read())
        return {name: reading for name, reading in readings.items() if name in wanted}

    def sample(self) -> None:
        """Look at the powers between two readings."""
        for grace in self._wanted():
            grace.sample()

    def _wanted(self) -> list[Grace]:
        wanted = {domain.name for domain in self.domains}
        return [grace for grace in self._graces if any(d.name in wanted for d in grace.domains.values())]


def find(place: Place) -> Found:
    """Find Grace's sockets, else AMD's, and Intel's GPUs."""
    sysfs = place.sysfs
    folders = [f"{sysfs}/{CLASS}/{name}" for name in listed(f"{sysfs}/{CLASS}")]
    simulated = is_simulated(f"{sysfs}/{CLASS}")
    graces = _graces(folders, sysfs, simulated)
    counters = {} if graces else _amd_energy(folders, simulated)
    missing = {} if graces or counters else {"cpu": f"no sensor of a CPU socket in {sysfs}/{CLASS}"}
    if graces and not any("dram" in grace.domains for grace in graces):
        missing["dram"] = "inside cpu (Grace's socket sensor)"
    gpus, parts = _intel(cards(sysfs, INTEL), simulated or is_simulated(f"{sysfs}/class/drm"))
    if not gpus and not graces:
        missing["gpu"] = "no Intel GPU with an energy counter"
    counters.update(gpus)
    return Found(Hwmon(counters, graces, parts) if counters or graces else None, missing)


def _graces(folders: list[str], sysfs: str, simulated: bool) -> list[Grace]:
    """Sockets with a sensor of their own. Until Linux 6.14 the ACPI driver put its files beside `device`'s."""
    found: dict[str, dict[str, str]] = {}
    for folder in folders:
        for base in (folder, f"{folder}/device"):
            kind, number = _named(read_text(f"{base}/power1_oem_info"))
            if kind:
                found.setdefault(number, {}).setdefault(kind, f"{base}/power1_average")
    numbers = sorted((number for number, paths in found.items() if "grace" in paths), key=int)
    # On arm64 physical_package_id is any number (ACPI's PPTT); the sensors count sockets from 0.
    ids = sockets(sysfs) if numbers else []
    socket_of = {number: ids[int(number)] if int(number) < len(ids) else int(number) for number in numbers}
    return [Grace(number, socket_of[number], found[number], simulated) for number in numbers]


def _named(label: str) -> tuple[str, str]:
    """`Grace Power Socket 0` -> ("grace", "0"); ("", "") for every other meter."""
    words = label.lower().split()
    known = len(words) == 4 and words[1:3] == ["power", "socket"] and words[3].isdigit()
    return (words[0], words[3]) if known and words[0] in ("grace", "cpu", "sysio") else ("", "")


def _grace(name: str, component: str, socket: int, simulated: bool) -> Domain:
    return Domain(name, component, socket, 0, GRACE_WATTS[component], INTEGRATED, simulated)


def _amd_energy(folders: list[str], simulated: bool) -> dict[Domain, str]:
    """Sockets (`EsocketN`) of the driver amd_energy; its cores are inside them."""
    found = {}
    for folder in folders:
        if read_text(f"{folder}/name") != "amd_energy":
            continue
        for name in listed(folder):
            label = read_text(f"{folder}/{name}") if name.endswith("_label") else ""
            if label.startswith("Esocket") and label[7:].isdigit():
                domain = Domain(f"socket-{label[7:]}", "cpu", int(label[7:]), 0, CPU_WATTS, COUNTER, simulated)
                found[domain] = f"{folder}/{name[:-6]}_input"
    return found


def _intel(gpus: list[Card], simulated: bool) -> tuple[dict[Domain, str], dict[str, Part]]:
    """Cards that count, and what a job holds that was given one, by Slurm's index and by its render node."""
    counters: dict[Domain, str] = {}
    parts: dict[str, Part] = {}
    for card in gpus:
        path = _counter_of(card)
        if path:
            name = card.address
            index = str(len(counters))  # graphics inside a CPU have no counter, and are no GPU to Slurm
            counters[Domain(name, "gpu", -1, GPU_RANGE_UJ, GPU_WATTS, COUNTER, simulated)] = path
            parts.update(dict.fromkeys(filter(None, (index, card.render, name)), Part(name, WHOLE, name)))
    return counters, parts


def _counter_of(card: Card) -> str:
    """A card's own counter, else its package's."""
    for folder in sensors(card):
        if read_text(f"{folder}/name") in ("i915", "xe"):
            names = listed(folder)
            return next((f"{folder}/{name}" for name in ("energy1_input", "energy2_input") if name in names), "")
    return ""
