# SPDX-License-Identifier: MIT
"""RAPL through the kernel's powercap tree: CPU packages and their memory.

Zones go by their `name` (the number in `intel-rapl:N` is only the order of registration) and by real path. psys
covers the platform and is never added; core and uncore are inside their package. A package may have several zones:
one for each way to its counter (MSR, TPMI, MMIO), of which one is read and the next takes over where the first
stands still; and one for each die, which count for themselves or mirror their package, which only time tells
(`watching`). A domain whose counter was 0 when the kernel looked has no zone (rapl_check_domain): its energy is
unknown, not nothing. See Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import os

from ..host import cpu_vendor, is_guest, read_text
from ..lean.typing import NamedTuple
from .base import COUNTER, Domain, Found, Meter, Place, Reading
from .integral import now_us
from .sockets import sockets
from .sysfs import is_simulated, reason_of
from .watching import FIRST_READS, Group, Register

CLASS = "class/powercap"
MAX_WATTS = {"cpu": 1000, "dram": 300}
"""Most watts of a socket, and of the memory of one. Of the sockets that are sold the largest draws 500 W for long.
Power limits are settings: sites lower and lift them while a node runs, and firmware states any number."""
CONTROLS = ("intel-rapl-tpmi", "intel-rapl", "intel-rapl-mmio")
"""Control types that show a package, the preferred first. Each has a counter of its own for the same package."""
MIRRORING = ("AuthenticAMD", "HygonGenuine")
"""Makers on whose CPUs kernels 6.9 to 6.11 showed one zone a CCD, each the whole package (26096aed255f)."""
NO_ZONE = "no RAPL zone"


class Zone(NamedTuple):
    """A zone by its real path; `die` is empty where it is the package's only one; `control` is its control type."""

    path: str
    component: str
    package: int
    die: str
    control: str

    @property
    def domain(self) -> str:
        """Name of the zone's domain."""
        return _name(self.component, self.package, self.die)


class Powercap(Meter):
    """The open `energy_uj` files of one node; root-only since CVE-2020-8694, so they are opened once and kept.

    `domains` by name, each with its zone's directory (empty where a package has none); `spares`: by name the zones
    that count the same by another way; `groups`: counters that may be mirrors of each other; `guest`: whether the
    node is a virtual machine, whose packages may be views of its host's.
    """

    def __init__(
        self, domains: dict[str, tuple[Domain, str]], spares: dict[str, list[Zone]], groups: list[Group], guest: bool
    ) -> None:
        super().__init__([domain for domain, _ in domains.values()])
        self._all = {name: domain for name, (domain, _) in domains.items()}
        self._paths = {name: path for name, (_, path) in domains.items()}
        self._spares = {name: zones for name, zones in spares.items() if zones}
        self._registers: dict[str, Register] = {}
        self._groups = groups
        self._guest = guest
        self._reads = 0
        self._fds: dict[str, int] = {}
        self._judge()
        self.domains = list(self._offered().values())

    def read(self) -> dict[str, Reading]:
        """Read every zone; a zone that vanished (CPU hotplug) is opened again when it is back."""
        self._reads += 1
        start_us = now_us()
        wanted = {domain.name for domain in self.domains}
        watched = {name for group in self._groups for name in group.names}
        found = {name: self._read_path(path) for name, path in self._paths.items() if name in wanted | watched}
        self._watch({name: r.energy_uj for name, r in found.items() if r.energy_uj is not None}, start_us)
        self._try_spares(found)
        return {name: self._believed(name, found.get(name, Reading(None, NO_ZONE))) for name in wanted}

    def __del__(self) -> None:
        """Close the files of the zones. Meters are looked for again and again, and only one set of files must stay
        open.
        """
        for fd in self._fds.values():
            os.close(fd)

    def _read_path(self, path: str) -> Reading:
        if not path:
            return Reading(None, NO_ZONE)
        try:
            fd = self._fds.get(path)
            if fd is None:
                fd = self._fds[path] = os.open(f"{path}/energy_uj", os.O_RDONLY)
            return Reading(int(os.pread(fd, 32, 0)), "")
        except (OSError, ValueError) as err:
            stale = self._fds.pop(path, None)
            if stale is not None:
                os.close(stale)
            return Reading(None, f"energy_uj: {reason_of(err)}")

    # -- mirrors ----------------------------------------------------------------------------------------------

    def _watch(self, values: dict[str, int], start_us: int) -> None:
        """Compare counters with each other; where that changes a verdict, offer other domains."""
        at_us = now_us()
        if [group for group in self._groups if group.see(values, at_us, at_us - start_us)]:
            self._judge()
            self.found = tuple(self._offered().values())

    def _judge(self) -> None:
        """Condemn the zones of a virtual machine if they mirror each other: they are those of its host, of which it is
        a part.
        """
        mirrors = [name for group in self._groups for name in group.mirrors if not self._is_die(name)]
        self.condemned = {}
        if self._guest and mirrors:
            shown = sum(domain.component == "cpu" for domain in self._all.values())
            why = f"{shown} packages of a virtual machine that mirror {shown - len(mirrors)}: they are its host's"
            self.condemned = {"cpu": why, "dram": why}

    def _offered(self) -> dict[str, Domain]:
        """Return the domains without the dies that mirror another die of their package."""
        mirrors = {name for group in self._groups for name in group.mirrors if self._is_die(name)}
        return {name: domain for name, domain in self._all.items() if name not in mirrors}

    def _is_die(self, name: str) -> bool:
        return name.count("-") > 1

    def _believed(self, name: str, reading: Reading) -> Reading:
        """Return a reading, or unknown if its counter mirrors another or may do so."""
        if self._all[name].component in self.condemned:
            return Reading(None, self.condemned[self._all[name].component])
        doubt = next(filter(None, (group.doubt(name) for group in self._groups)), "")
        return Reading(None, doubt) if doubt and self._reads > FIRST_READS else reading

    # -- other ways to a counter ------------------------------------------------------------------------------

    def _try_spares(self, found: dict[str, Reading]) -> None:
        """Let the next zone of a package take over from one that stands still, under another domain's name: it has
        counted from another start.
        """
        at_us = now_us()
        for name, zones in list(self._spares.items()):
            register = self._registers.setdefault(name, Register())
            register.see(found[name].energy_uj if name in found else None, at_us)
            for zone in zones:
                spare = self._registers.setdefault(zone.path, Register())
                spare.see(self._read_path(zone.path).energy_uj, at_us)
                if register.is_dead(at_us) and spare.moves and not spare.is_dead(at_us):
                    self._replace(name, zone)
                    break

    def _replace(self, name: str, zone: Zone) -> None:
        domain = self._all.pop(name)
        other = f"{zone.domain}-{zone.control.rpartition('-')[2]}"
        self._all[other] = domain._replace(name=other, range_uj=_number(f"{zone.path}/max_energy_range_uj"))
        self._paths[other] = zone.path
        del self._paths[name]
        self._spares[other] = [one for one in self._spares.pop(name) if one != zone]
        self.found = tuple(self._offered().values())


def find(place: Place) -> Found:
    """Find the packages and their memory."""
    zones = _zones(place.sysfs)
    if not zones:
        why = f"{NO_ZONE} in {place.sysfs}/{CLASS}"
        return Found(None, {"cpu": why, "dram": why})
    simulated = is_simulated(f"{place.sysfs}/{CLASS}")
    counted = _counted(zones)
    domains: dict[str, tuple[Domain, str]] = {}
    for name, (zone, *_) in counted.items():
        range_uj = _number(f"{zone.path}/max_energy_range_uj")
        watts = MAX_WATTS[zone.component]
        domain = Domain(name, zone.component, zone.package, range_uj, watts, COUNTER, simulated)
        domains[name] = (domain, zone.path)
    packages = sockets(place.sysfs, place.procfs)
    for component in ("cpu", "dram"):
        have = {domain.socket for domain, _ in domains.values() if domain.component == component}
        for package in set(packages) - have if have else ():
            name = _name(component, package)
            domains[name] = (Domain(name, component, package, 0, 0, COUNTER, simulated), "")
    has_dram = any(domain.component == "dram" for domain, _ in domains.values())
    guest = is_guest(place.procfs)
    groups = _groups([domain for domain, path in domains.values() if path], place.procfs, guest)
    meter = Powercap(domains, {name: spares for name, (_, *spares) in counted.items()}, groups, guest)
    return Found(meter, {} if has_dram else {"dram": "no dram zone"})


def _groups(domains: list[Domain], procfs: str, guest: bool) -> list[Group]:
    """Return the groups of counters that may mirror each other: the dies of each package, and the packages."""
    groups = []
    for component in ("cpu", "dram"):
        by_package: dict[int, list[str]] = {}
        for domain in domains:
            if domain.component == component:
                by_package.setdefault(domain.socket, []).append(domain.name)
        suspect = cpu_vendor(procfs) in MIRRORING
        groups += [Group(names, suspect) for names in by_package.values() if len(names) > 1]
        if component == "cpu" and len(by_package) > 1:
            groups.append(Group([names[0] for names in by_package.values()], guest))
    return groups


def _counted(zones: list[Zone]) -> dict[str, list[Zone]]:
    """Return the zones of each counter by the name of its domain, the preferred zone first. A zone of the whole
    package, read in whichever way, replaces those of its dies.
    """
    whole = {(zone.component, zone.package) for zone in zones if not zone.die}
    counted: dict[str, list[Zone]] = {}
    for zone in sorted(zones, key=lambda zone: CONTROLS.index(zone.control)):
        if not (zone.die and (zone.component, zone.package) in whole):
            counted.setdefault(zone.domain, []).append(zone)
    return counted


def _name(component: str, package: int, die: str = "") -> str:
    return f"{'package' if component == 'cpu' else 'dram'}-{package}" + (f"-{die}" if die else "")


def _zones(sysfs: str) -> list[Zone]:
    """Return the zones: packages, and after them their memory."""
    base = f"{sysfs}/{CLASS}"
    try:
        names = sorted(name for name in os.listdir(base) if name.partition(":")[0] in CONTROLS)
    except OSError:
        return []
    zones: dict[str, Zone] = {}
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        package = _package(read_text(f"{path}/name"))
        if package is not None:
            zones[path] = Zone(path, "cpu", *package, name.partition(":")[0])
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        parent = zones.get(os.path.dirname(path))
        if read_text(f"{path}/name") == "dram" and parent is not None:
            zones[path] = parent._replace(path=path, component="dram")
    return list(zones.values())


def _package(name: str) -> tuple[int, str] | None:
    """Return package and die of a zone's name: `package-1` -> (1, ""), `package-1-die-0` -> (1, "die-0")."""
    kind, _, rest = name.partition("-")
    number, _, die = rest.partition("-")
    return (int(number), die) if kind == "package" and number.isdigit() else None


def _number(path: str) -> int:
    text = read_text(path)
    return int(text) if text.isdigit() else 0
