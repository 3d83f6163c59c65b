# SPDX-License-Identifier: MIT
"""The powercap tree of one node, laid out as the kernel does (Documentation/power/powercap/powercap.rst).

`class/` is to be seen at /sys/class/powercap and `devices/` at /sys/devices/virtual/powercap; the links from
the one into the other are relative, as the kernel's are.
"""

from __future__ import annotations

from pathlib import Path

from .files import Number, put
from .hardware import DRAM_RANGE_UJ, PACKAGE_RANGE_UJ, SOCKETS

SIMULATED = "these counters are simulated; no energy was measured"
# Long-term limit and maximum of a 105 W socket and its memory.
PACKAGE_LIMITS_UW = (250_000_000, 500_000_000)
DRAM_LIMITS_UW = (0, 40_000_000)


class Powercap:
    """The counters of one node: `package-S` and `dram-S` for each socket S."""

    def __init__(self, root: Path) -> None:
        self.ranges: dict[str, int] = {}
        self._files: dict[str, Number] = {}
        self._root = root
        put(root / "class" / "simulated", SIMULATED)
        put(root / "devices" / "intel-rapl" / "enabled", "1")
        self._link("intel-rapl", "intel-rapl")
        for socket in range(SOCKETS):
            package = f"intel-rapl/intel-rapl:{socket}"
            self._zone(package, f"package-{socket}", PACKAGE_RANGE_UJ, PACKAGE_LIMITS_UW)
            self._zone(f"{package}/intel-rapl:{socket}:0", f"dram-{socket}", DRAM_RANGE_UJ, DRAM_LIMITS_UW)

    def write(self, energy_uj: dict[str, int]) -> None:
        """Show the energies of some zones, counted since ever, as counters that wrap."""
        for zone, energy in energy_uj.items():
            # The kernel's readers add (range - before) + now at a wrap, so the counter is modulo the range.
            self._files[zone].write(energy % self.ranges[zone])

    def _zone(self, path: str, zone: str, range_uj: int, limits_uw: tuple[int, int]) -> None:
        folder = self._root / "devices" / path
        put(folder / "name", "dram" if zone.startswith("dram") else zone)
        put(folder / "enabled", "1")
        put(folder / "max_energy_range_uj", str(range_uj))
        put(folder / "constraint_0_name", "long_term")
        put(folder / "constraint_0_power_limit_uw", str(limits_uw[0]))
        put(folder / "constraint_0_max_power_uw", str(limits_uw[1]))
        put(folder / "constraint_0_time_window_us", "999424")
        # 0400 since CVE-2020-8694 (kernel commit 949dd0104c49).
        self._files[zone] = Number(folder / "energy_uj", mode=0o400)
        self.ranges[zone] = range_uj
        self._link(Path(path).name, path)

    def _link(self, name: str, path: str) -> None:
        (self._root / "class").mkdir(parents=True, exist_ok=True)
        (self._root / "class" / name).symlink_to(f"../../devices/virtual/powercap/{path}")
