# SPDX-License-Identifier: MIT
"""RAPL through the kernel's powercap tree: CPU packages and their memory.

Zones go by their `name` (the number in `intel-rapl:N` is only the order of registration), de-duplicated by
real path and by package. psys covers the platform and mmio mirrors a package: neither is ever added; core and
uncore are inside their package. See Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import os

from ..host import cpu_vendor, read_text
from .base import COUNTER, Domain, Found, Reading

CLASS = "class/powercap"
# Where the kernel names no limit: a generous socket, the DIMMs of one socket.
DEFAULT_WATTS = {"cpu": 1000, "dram": 300}


class Powercap:
    """The open `energy_uj` files of one node; root-only since CVE-2020-8694, so they are opened once and kept."""

    def __init__(self, domains: dict[str, tuple[Domain, str]]) -> None:
        self.domains = [domain for domain, _ in domains.values()]
        self._paths = {name: path for name, (_, path) in domains.items()}
        self._fds: dict[str, int] = {}

    def read(self) -> dict[str, Reading]:
        """Read every zone; a zone that vanished (CPU hotplug) is opened again when it is back."""
        return {name: self._read_one(name) for name in self._paths}

    def _read_one(self, name: str) -> Reading:
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


def find(sysfs: str, procfs: str) -> Found:
    """Find the packages and their memory. Zones that cannot be read are named with the reason."""
    mirrored = cpu_vendor(procfs) not in ("", "GenuineIntel")
    zones = _zones(sysfs)
    if not zones:
        why = f"no RAPL zone in {sysfs}/{CLASS}"
        return Found(None, {"cpu": why, "dram": why})
    simulated = os.path.exists(f"{sysfs}/{CLASS}/simulated")
    domains: dict[str, tuple[Domain, str]] = {}
    missing: dict[str, str] = {}
    for zone, component, package, die in zones:
        # An Intel package of several dies has a counter for each (CLX-AP). AMD kernels 6.9 to 6.11 showed one
        # zone a CCD, each mirroring the package (26096aed255f).
        kind = "dram" if component == "dram" else "package"
        name = f"{kind}-{package}" if mirrored or not die else f"{kind}-{package}-{die}"
        if name in domains:
            continue
        domain = Domain(
            name=name,
            component=component,
            socket=package,
            range_uj=_number(f"{zone}/max_energy_range_uj"),
            max_watts=_max_watts(zone, component),
            method=COUNTER,
            simulated=simulated,
        )
        domains[name] = (domain, f"{zone}/energy_uj")
    if not any(domain.component == "dram" for domain, _ in domains.values()):
        missing["dram"] = "no dram zone"
    return Found(Powercap(domains), missing)


def _zones(sysfs: str) -> list[tuple[str, str, int, str]]:
    """(real path, component, package, die) of each zone that counts, packages before their children."""
    base = f"{sysfs}/{CLASS}"
    try:
        names = sorted(name for name in os.listdir(base) if ":" in name and not name.startswith("intel-rapl-mmio"))
    except OSError:
        return []
    zones: dict[str, tuple[str, int, str]] = {}
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        package = _package(read_text(f"{path}/name"))
        if package is not None:
            zones[path] = ("cpu", *package)
    for name in names:
        path = os.path.realpath(f"{base}/{name}")
        parent = zones.get(os.path.dirname(path))
        if read_text(f"{path}/name") == "dram" and parent is not None:
            zones[path] = ("dram", *parent[1:])
    return [(path, *zone) for path, zone in zones.items()]


def _package(name: str) -> tuple[int, str] | None:
    """`package-1` -> (1, ""), `package-1-die-0` -> (1, "die-0")."""
    kind, _, rest = name.partition("-")
    number, _, die = rest.partition("-")
    return (int(number), die) if kind == "package" and number.isdigit() else None


def _max_watts(zone: str, component: str) -> int:
    """Most watts the counter can mean: twice the larger of the long-term limit and the maximum, else a default."""
    limits = [_number(f"{zone}/constraint_0_{name}") for name in ("max_power_uw", "power_limit_uw")]
    return max(limits) * 2 // 1_000_000 or DEFAULT_WATTS[component]


def _number(path: str) -> int:
    text = read_text(path)
    return int(text) if text.isdigit() else 0


def reason_of(err: BaseException) -> str:
    """The kernel's words for what went wrong, in lower case."""
    return (err.strerror or str(err)).lower() if isinstance(err, OSError) else f"not a number ({err})"
