# SPDX-License-Identifier: MIT
"""Sensors of the kernel's hwmon: Grace sockets, old AMD CPUs, Intel GPUs.

Grace shows powers only, through ACPI power meters named by `power1_oem_info` (Documentation/hwmon/
acpi_power_meter.rst; NVIDIA's names). "Grace Power" is the whole socket; "CPU Power" (cores) and "SysIO Power" are
inside it, and what it draws beyond them is memory and its regulators. "Module Power" (GH200) holds Grace and GPU
and is not read here. The driver amd_energy (Linux 5.8 to 5.12, since then out of tree) counts sockets and, inside
them, cores; some versions show one socket twice, which only time tells. i915 and xe count cards; a card's second
counter (xe: package) and those of i915's tiles are inside. Where the card's stands still, the package's is read.
"""

from __future__ import annotations

from ..host import read_text
from ..lean.typing import TYPE_CHECKING
from .base import COUNTER, INTEGRATED, WHOLE, Domain, Found, Meter, Part, Place, Reading
from .integral import Integral, now_us
from .sockets import sockets
from .sysfs import cards, is_simulated, listed, read_number, reading_of, reason_of, sensors
from .watching import FIRST_READS, Group, Register

if TYPE_CHECKING:
    from .sysfs import Card

CLASS = "class/hwmon"
INTEL = "0x8086"
GRACE_WATTS = {"cpu": 1_000, "dram": 300}
SOCKET_UW = 1_300_000_000
"""Microwatts that no sensor of a Grace socket can mean. ACPI meters show all bits set now and then
(github.com/lm-sensors/lm-sensors/issues/460)."""
MISFIT = 1.1
"""Factor by which the parts of a socket may exceed it: the sensors are not read at one instant."""
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
            powers = [read_number(path) for path in self._paths]
        except (OSError, ValueError) as err:
            self._fault = f"power1_average: {reason_of(err)}"
            return
        whole, *inside = powers
        if not (0 < whole <= SOCKET_UW and all(0 <= power <= SOCKET_UW for power in inside)):
            self._fault = f"power1_average: {max(powers) / 1e6:.0f} W cannot be"
            return
        if sum(inside) > whole * MISFIT:
            self._fault = f"power1_average: parts of {sum(inside) / 1e6:.0f} W in a socket of {whole / 1e6:.0f} W"
            return
        at_us = now_us()
        beyond = max(0, whole - sum(inside)) if "dram" in self.domains else 0
        self._integrals["cpu"].add(whole - beyond, at_us)
        if "dram" in self.domains:
            self._integrals["dram"].add(beyond, at_us)
        self._fault = ""

    def read(self) -> dict[str, Reading]:
        """Return both energies so far, by domain."""
        self.sample()
        at_us = now_us()
        readings = {self.domains[c].name: integral.reading(at_us) for c, integral in self._integrals.items()}
        return {
            name: Reading(None, self._fault) if r.energy_uj is None and self._fault else r
            for name, r in readings.items()
        }


class Hwmon(Meter):
    """Counters by domain, each with its paths in order of preference; sockets whose power is integrated; and the
    counters that may mirror each other.
    """

    def __init__(
        self, counters: dict[Domain, list[str]], graces: list[Grace], parts: dict[str, Part], group: Group
    ) -> None:
        super().__init__([*counters, *(domain for grace in graces for domain in grace.domains.values())], parts)
        self._all = {domain.name: domain for domain in self.domains}
        self._paths = {domain.name: paths for domain, paths in counters.items()}
        self._registers: dict[str, Register] = {}
        self._graces = graces
        self._group = group
        self._reads = 0
        self.sample_s = SAMPLE_S if graces else 0.0

    def read(self) -> dict[str, Reading]:
        """Read every domain that is in use."""
        self._reads += 1
        wanted = {domain.name for domain in self.domains}
        start_us = now_us()
        readings = {name: reading_of(paths[0]) for name, paths in self._paths.items() if name in wanted}
        at_us = now_us()
        values = {name: r.energy_uj for name, r in readings.items() if r.energy_uj is not None}
        self._group.see(values, at_us, at_us - start_us)
        readings = {name: self._believed(name, reading) for name, reading in readings.items()}
        self._try_spares(wanted, values)
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

    def _believed(self, name: str, reading: Reading) -> Reading:
        """Return a reading, or unknown if its counter mirrors another or may do so."""
        doubt = self._group.doubt(name)
        return Reading(None, doubt) if doubt and self._reads > FIRST_READS else reading

    def _try_spares(self, wanted: set[str], values: dict[str, int]) -> None:
        """Let a card's other counter take over from one that stands still, under another domain's name: it has
        counted from another start.
        """
        at_us = now_us()
        for name, paths in list(self._paths.items()):
            if len(paths) < 2 or name not in wanted:
                continue
            looks = [values.get(name), *(reading_of(path).energy_uj for path in paths[1:])]
            for path, uj in zip(paths, looks):
                self._registers.setdefault(path, Register()).see(uj, at_us)
            first, second = (self._registers[path] for path in paths[:2])
            if first.is_dead(at_us) and second.moves and not second.is_dead(at_us):
                self._replace(name)

    def _replace(self, name: str) -> None:
        _, *paths = self._paths.pop(name)
        other = f"{name}-{_counter_name(paths[0])}"
        self._paths[other] = paths
        self._all = {other if n == name else n: d for n, d in self._all.items()}
        self._all[other] = self._all[other]._replace(name=other)
        renamed = {key: part._replace(domain=other) for key, part in self.parts.items() if part.domain == name}
        self.parts = {**self.parts, **renamed}
        self.found = tuple(self._all.values())


def find(place: Place) -> Found:
    """Find Grace's sockets, else AMD's, and Intel's GPUs."""
    sysfs = place.sysfs
    folders = [f"{sysfs}/{CLASS}/{name}" for name in listed(f"{sysfs}/{CLASS}")]
    simulated = is_simulated(f"{sysfs}/{CLASS}")
    graces = _graces(folders, place, simulated)
    counters = {} if graces else _amd_energy(folders, simulated)
    group = Group([domain.name for domain in counters], is_suspect=True)
    missing = {} if graces or counters else {"cpu": f"no sensor of a CPU socket in {sysfs}/{CLASS}"}
    if graces and not any("dram" in grace.domains for grace in graces):
        missing["dram"] = "inside cpu (Grace's socket sensor)"
    gpus, parts = _intel(cards(sysfs, INTEL), simulated or is_simulated(f"{sysfs}/class/drm"))
    if not gpus and not graces:
        missing["gpu"] = "no Intel GPU with an energy counter"
    counters.update(gpus)
    return Found(Hwmon(counters, graces, parts, group) if counters or graces else None, missing)


def _graces(folders: list[str], place: Place, simulated: bool) -> list[Grace]:
    """Return the Grace sockets that have a sensor. Until Linux 6.14 the ACPI driver put its files beside `device`'s."""
    found: dict[str, dict[str, str]] = {}
    for folder in folders:
        for base in (folder, f"{folder}/device"):
            kind, number = _named(read_text(f"{base}/power1_oem_info"))
            if kind:
                found.setdefault(number, {}).setdefault(kind, f"{base}/power1_average")
    numbers = sorted((number for number, paths in found.items() if "grace" in paths), key=int)
    # On arm64 physical_package_id is any number (ACPI's PPTT); the sensors count sockets from 0.
    ids = sockets(place.sysfs, place.procfs) if numbers else []
    socket_of = {number: ids[int(number)] if int(number) < len(ids) else int(number) for number in numbers}
    return [Grace(number, socket_of[number], found[number], simulated) for number in numbers]


def _named(label: str) -> tuple[str, str]:
    """Return kind and number in the name of a meter: `Grace Power Socket 0` -> ("grace", "0"). ("", "") for every other
    meter.
    """
    words = label.lower().split()
    known = len(words) == 4 and words[1:3] == ["power", "socket"] and words[3].isdigit()
    return (words[0], words[3]) if known and words[0] in ("grace", "cpu", "sysio") else ("", "")


def _grace(name: str, component: str, socket: int, simulated: bool) -> Domain:
    return Domain(name, component, socket, 0, GRACE_WATTS[component], INTEGRATED, simulated)


def _amd_energy(folders: list[str], simulated: bool) -> dict[Domain, list[str]]:
    """Return the sockets (`EsocketN`) of the driver amd_energy, with their counters. Its cores are inside them."""
    found: dict[Domain, list[str]] = {}
    for folder in folders:
        if read_text(f"{folder}/name") != "amd_energy":
            continue
        for name in listed(folder):
            label = read_text(f"{folder}/{name}") if name.endswith("_label") else ""
            if label.startswith("Esocket") and label[7:].isdigit():
                domain = Domain(f"socket-{label[7:]}", "cpu", int(label[7:]), 0, CPU_WATTS, COUNTER, simulated)
                found[domain] = [f"{folder}/{name[:-6]}_input"]
    return found


def _intel(gpus: list[Card], simulated: bool) -> tuple[dict[Domain, list[str]], dict[str, Part]]:
    """Return the cards that count, with their counters, and what a job holds by the name of a card: Slurm's index, the
    render node, or the PCI address.
    """
    counters: dict[Domain, list[str]] = {}
    parts: dict[str, Part] = {}
    for card in gpus:
        paths = _counters_of(card)
        if paths:
            name = card.address
            index = str(len(counters))  # graphics inside a CPU have no counter, and are no GPU to Slurm
            counters[Domain(name, "gpu", -1, GPU_RANGE_UJ, GPU_WATTS, COUNTER, simulated)] = paths
            parts.update(dict.fromkeys(filter(None, (index, card.render, name)), Part(name, WHOLE, name)))
    return counters, parts


def _counters_of(card: Card) -> list[str]:
    """Return the paths of a card's own counter and of its package's. One that has counted comes first, because xe shows
    the card's counter on every chip, also where nothing drives it (github.com/Syllo/nvtop/issues/347).
    """
    for folder in sensors(card):
        if read_text(f"{folder}/name") in ("i915", "xe"):
            names = listed(folder)
            paths = [f"{folder}/{name}" for name in ("energy1_input", "energy2_input") if name in names]
            return sorted(paths, key=lambda path: reading_of(path).energy_uj == 0)
    return []


def _counter_name(path: str) -> str:
    """Return the name of a counter without its file's ending: `energy2_input` -> `energy2`."""
    return path.rpartition("/")[2].partition("_")[0]
