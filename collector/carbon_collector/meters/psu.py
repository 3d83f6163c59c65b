# SPDX-License-Identifier: MIT
"""The whole node's power as the kernel's hwmon shows it: the ACPI power meter of a server, or its power supplies.

An ACPI power meter (`power_meter`, IPMI's OEM tables behind it) and `ibmpowernv`'s "System" show the node at once.
Power supplies on PMBus show their input as `pin` or `pin1` (Documentation/hwmon/pmbus.rst), and the node is their sum.
What a supply gives (`pout`), and the rails behind it, is inside. The files are looked for again where one is gone.
"""

from __future__ import annotations

import os

from ..host import read_text
from .base import INTEGRATED, Domain, Found, Meter, Place, Reading
from .integral import Integral, now_us
from .polled import INSIDE
from .sysfs import is_simulated, listed, read_number, reason_of

CLASS = "class/hwmon"
SUPPLY_WATTS = 10_000
"""Most watts of one power supply; the largest of servers give 5.5 kW."""
SUPPLIES = 8
"""Most power supplies of a node."""
SAMPLE_S = 1.0
LONGEST_US = 5_000_000
SYSTEM = ("system", "total", "total power", "system power", "power total")
"""Labels of a sensor of the whole node, in lower case."""
INPUT = ("pin", "pin1")
"""Labels of a power supply's input."""
PARTS = ("grace", "cpu", "sysio", "module")
"""First words of ACPI meters that show a part of the node (hwmon.py)."""


class Psu(Meter):
    """The sum of one or several power sensors in microwatts, integrated."""

    def __init__(self, paths: list[str], place: Place) -> None:
        simulated = is_simulated(f"{place.sysfs}/{CLASS}")
        super().__init__([Domain("psu", "other", -1, 0, SUPPLY_WATTS * SUPPLIES, INTEGRATED, simulated, INSIDE)])
        self.paths = paths
        self.sample_s = SAMPLE_S
        self._place = place
        self._integral = Integral(LONGEST_US)
        self._fault = ""

    def read(self) -> dict[str, Reading]:
        """Return the energy so far."""
        self.sample()
        reading = self._integral.reading(now_us())
        return {"psu": Reading(None, self._fault) if reading.energy_uj is None and self._fault else reading}

    def sample(self) -> None:
        """Look at the powers. A sum of which one part cannot be read, or cannot be, is not seen."""
        try:
            powers = [read_number(path) for path in self.paths]
        except (OSError, ValueError) as err:
            self._fault = f"power: {reason_of(err)}"
            found = paths_of(self._place.sysfs)
            self.paths = found if len(found) >= len(self.paths) else self.paths
            return
        if not all(0 <= uw <= SUPPLY_WATTS * 1_000_000 for uw in powers) or not any(powers):
            self._fault = f"power: {max(powers) / 1e6:.0f} W cannot be"
            return
        self._fault = ""
        self._integral.add(sum(powers), now_us())


def find(place: Place) -> Found:
    """Find the node's meter, else its power supplies."""
    paths = paths_of(place.sysfs)
    if not paths:
        return Found(None, {"other": f"no power supply and no ACPI power meter in {place.sysfs}/{CLASS}"})
    return Found(Psu(paths, place), {})


def paths_of(sysfs: str) -> list[str]:
    """Return the files whose sum is the node's power: that of one sensor of the whole, else of each power supply."""
    systems: list[str] = []
    supplies: list[str] = []
    seen: set[str] = set()
    for name in listed(f"{sysfs}/{CLASS}"):
        folder = os.path.realpath(f"{sysfs}/{CLASS}/{name}")
        if folder in seen or "/drm/" in folder:
            continue
        seen.add(folder)
        systems += _systems(folder)
        supplies += _labelled(folder, INPUT)[:1]
    return systems[:1] or supplies


def _systems(folder: str) -> list[str]:
    """Return the sensors of the whole node: an ACPI meter that names no part, or sensors that are labelled so."""
    for base in (folder, f"{folder}/device"):
        path = f"{base}/power1_average"
        if "power_meter" in (read_text(f"{base}/name"), read_text(f"{folder}/name")) and os.path.exists(path):
            oem = read_text(f"{base}/power1_oem_info").lower().split()
            return [] if oem and oem[0] in PARTS else [path]
    return _labelled(folder, SYSTEM)


def _labelled(folder: str, labels: tuple[str, ...]) -> list[str]:
    found = []
    for name in listed(folder):
        if name.startswith("power") and name.endswith("_label") and read_text(f"{folder}/{name}").lower() in labels:
            for kind in ("input", "average"):
                path = f"{folder}/{name[:-6]}_{kind}"
                if os.path.exists(path):
                    found.append(path)
                    break
    return found
