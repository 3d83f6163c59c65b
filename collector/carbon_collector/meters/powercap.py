# SPDX-License-Identifier: MIT
"""RAPL through the kernel's powercap tree: CPU packages and their memory.

Zones go by their `name` (the number in `intel-rapl:N` is only the order of registration), de-duplicated by
real path and by package. psys covers the platform and mmio mirrors a package: neither is ever added; core and
uncore are inside their package. A domain whose counter was 0 when the kernel looked has no zone
(rapl_check_domain): its energy is unknown, not nothing. See Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import os

from ..host import cpu_vendor, read_text
from ..lean.typing import NamedTuple
from .base import COUNTER, Domain, Found, Meter, Place, Reading
from .sockets import sockets
from .sysfs import is_simulated, reason_of

CLASS = "class/powercap"
# Where the kernel names no limit, or one that no socket has: a generous socket, the DIMMs of one socket.
DEFAULT_WATTS = {"cpu": 1000, "dram": 300}
NO_ZONE = "no RAPL zone"


class Zone(NamedTuple):
    """A zone by its real path; `die` is empty where it is the package's only one."""

    path: str
    component: str
    package: int
    die: str


class Powercap(Meter):
    """The open `energy_uj` files of one node; root-only since CVE-2020-8694, so they are opened once and kept."""

    def __init__(self, domains: dict[str, tuple[Domain, str]]) -> None:
        super().__init__([domain for domain, _ in domains.values()])
        self._paths = {name: path for name, (_, path) in domains.items()}
        self._fds: dict[str, int] = {}

    def read(self) -> dict[str, Reading]:
        """Read every zone; a zone that vanished (CPU hotplug) is opened again when it is back."""
        return {domain.name: self._read_one(domain.name) for domain in self.domains}

    def __del__(self) -> None:
        """Meters are looked for again and again; only one set of files stays open."""
        for fd in self._fds.values():
            os.close(fd)

    def _read_one(self, name: str) -> Reading:
        if not self._paths[name]:
            return Reading(None, NO_ZONE)
        try:
            fd = self._fds.get(name)
            if fd is None:
                fd = self._fds[name] = os.open(self._paths[name], os.O_RDONLY)
            return Reading(int(os.pread(fd, 32, 0)), "")
        except (OSError, ValueError) as err:
            stale = self._fds.pop(name, None)
            if stale is not None:
                os.close(stale)
            return Reading(None, f"energy_uj: {reason_of(err)}")


def find(place: Place) -> Found:
    """Find the packages and their memory."""
    zones = _zones(place.sysfs)
    if not zones:
        why = f"{NO_ZONE} in {place.sysfs}/{CLASS}"
        return Found(None, {"cpu": why, "dram": why})
    mirrored = cpu_vendor(place.procfs) not in ("", "GenuineIntel")
    simulated = is_simulated(f"{place.sysfs}/{CLASS}")
    domains: dict[str, tuple[Domain, str]] = {}
    for name, zone in _counted(zones, mirrored).items():
        range_uj = _number(f"{zone.path}/max_energy_range_uj")
        watts = _max_watts(zone.path, zone.component)
        domain = Domain(name, zone.component, zone.package, range_uj, watts, COUNTER, simulated)
        domains[name] = (domain, f"{zone.path}/energy_uj")
    for component in ("cpu", "dram"):
        have = {domain.socket for domain, _ in domains.values() if domain.component == component}
        for package in set(sockets(place.sysfs)) - have if have else ():
            name = _name(component, package)
            domains[name] = (Domain(name, component, package, 0, 0, COUNTER, simulated), "")
    has_dram = any(domain.component == "dram" for domain, _ in domains.values())
    return Found(Powercap(domains), {} if has_dram else {"dram": "no dram zone"})


def _counted(zones: list[Zone], mirrored: bool) -> dict[str, Zone]:
    """Zones that are counted, each once, by the name of their domain.

    An Intel package of several dies has a counter for each (CLX-AP). AMD kernels 6.9 to 6.11 showed one zone a CCD,
    each mirroring the package (26096aed255f). TPMI counts packages, whatever their dies.
    """
    whole = {(zone.component, zone.package) for zone in zones if not zone.die}
    counted: dict[str, Zone] = {}
    for zone in zones:
        name = _name(zone.component, zone.package, "" if mirrored else zone.die)
        if not (zone.die and (zone.component, zone.package) in whole):
            counted.setdefault(name, zone)
    return counted


def _name(component: str, package: int, die: str = "") -> str:
    return f"{'package' if component == 'cpu' else 'dram'}-{package}" + (f"-{die}" if die else "")


def _zones(sysfs: str) -> list[Zone]:
    """Packages, and after them their memory."""
    base = f"{sysfs}/{CLASS}"
    try:
        names = sorted(name for name in os.listdir(base) if ":" in name and not name.startswith("intel-rapl-mmio"))
    except OSError:
        return []
    zones: dict[str, Zone] = {}
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        package = _package(read_text(f"{path}/name"))
        if package is not None:
            zones[path] = Zone(path, "cpu", *package)
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        parent = zones.get(os.path.dirname(path))
        if read_text(f"{path}/name") == "dram" and parent is not None:
            zones[path] = Zone(path, "dram", parent.package, parent.die)
    return list(zones.values())


def _package(name: str) -> tuple[int, str] | None:
    """`package-1` -> (1, ""), `package-1-die-0` -> (1, "die-0")."""
    kind, _, rest = name.partition("-")
    number, _, die = rest.partition("-")
    return (int(number), die) if kind == "package" and number.isdigit() else None


def _max_watts(zone: str, component: str) -> int:
    """Most watts the counter can mean: twice the larger of the long-term limit and the maximum, else a default."""
    most_uw = DEFAULT_WATTS[component] * 1_000_000
    limits = [_number(f"{zone}/constraint_0_{name}") for name in ("max_power_uw", "power_limit_uw")]
    return max((limit for limit in limits if limit <= most_uw), default=0) * 2 // 1_000_000 or DEFAULT_WATTS[component]


def _number(path: str) -> int:
    text = read_text(path)
    return int(text) if text.isdigit() else 0
