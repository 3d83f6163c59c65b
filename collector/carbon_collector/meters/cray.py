# SPDX-License-Identifier: MIT
"""HPE Cray's pm_counters: what the blade's controller measured of CPUs, memory, accelerators and the whole node.

Each file holds a value, its unit and when it was taken: `27725 J 1571230862955436 us`, ten times a second
(`raw_scan_hz`). `freshness` counts the scans, `generation` the changes of a power cap, which leave the energies
alone. `energy` holds all the others. An accelerator is a card: an MI250X's two GCDs share one.
HPE's "User Access to Compute Node Power Data".
"""

from __future__ import annotations

import os
import time

from ..units import UJ_PER_J
from .base import COUNTER, WHOLE, Domain, Found, Meter, Part, Place, Reading
from .sysfs import AMD, DUAL_DIE, cards, is_simulated, listed, read_bytes, reason_of

FOLDER = "cray/pm_counters"
ENERGY = "_energy"
TRIES = 5
STALE_S = 2.0
"""Scans that are farther apart are none."""
STALE_SCANS = 20
WATTS = {"cpu": 2_000, "dram": 1_000, "gpu": 2_000, "other": 20_000}
NAMES = {"energy": "cray-node", "cpu_energy": "cray-cpu", "memory_energy": "cray-memory"}
COMPONENTS = {"cray-node": "other", "cray-cpu": "cpu", "cray-memory": "dram"}
INSIDE = ("cpu", "dram", "gpu")


class Cray(Meter):
    """The files of one node, by domain."""

    def __init__(self, folder: str, files: dict[Domain, str], parts: dict[str, Part]) -> None:
        super().__init__(list(files), parts)
        self._folder = folder
        self._files = {domain.name: file for domain, file in files.items()}
        self._scans: int | None = None
        self._seen_s = 0.0

    def read(self) -> dict[str, Reading]:
        """Read all files of one scan; unknown where the controller has stopped scanning."""
        names = [domain.name for domain in self.domains]
        scans = _scans(self._folder)
        for _ in range(TRIES):
            before = scans
            readings = {name: _joules(f"{self._folder}/{self._files[name]}") for name in names}
            scans = _scans(self._folder)
            if scans == before:
                break
        stale_s = self._stale_s(scans)
        return {name: Reading(None, f"no scan for {stale_s:.0f} s") for name in names} if stale_s else readings

    def _stale_s(self, scans: int | None) -> float:
        """Return the seconds since the last scan, or 0 if that is no longer than it should be."""
        now_s = time.monotonic()
        if scans is None or scans != self._scans:
            self._scans, self._seen_s = scans, now_s
            return 0.0
        hz = _first_word(f"{self._folder}/raw_scan_hz")
        age_s = now_s - self._seen_s
        return age_s if hz and age_s > max(STALE_S, STALE_SCANS / hz) else 0.0


def find(place: Place) -> Found:
    """Find the energies that this node has."""
    folder = f"{place.sysfs}/{FOLDER}"
    simulated = is_simulated(folder)
    names = [name for name in listed(folder) if name == "energy" or name.endswith(ENERGY)]
    numbered = [name for name in names if name[:5] == "accel" and name[5:-7].isdigit()]
    accelerators = sorted(numbered, key=lambda name: int(name[5:-7])) or ["accel_energy"]
    accelerators = [name for name in accelerators if _first_word(f"{folder}/{name}") != 0]  # 0: there is none
    files = {_domain(name, simulated): name for name in (*NAMES, *accelerators) if name in names}
    has = {domain.component for domain in files}
    missing = {c: f"no such energy in {folder}" for c in (*INSIDE, "other") if c not in has}
    parts = _parts([d.name for d in files if d.component == "gpu"], place.sysfs)
    return Found(Cray(folder, files, parts) if files else None, missing)


def _domain(file: str, simulated: bool) -> Domain:
    name = NAMES.get(file) or f"cray-accel{file[5:-7] or 0}"
    component = COMPONENTS.get(name, "gpu")
    inside = INSIDE if component == "other" else ()
    return Domain(name, component, -1, 0, WATTS[component], COUNTER, simulated, inside)


def _parts(accelerators: list[str], sysfs: str) -> dict[str, Part]:
    """Return what a job holds, by Slurm's index: an accelerator, or half of one where Slurm counts two GPUs in each."""
    dies = [card for card in cards(sysfs, AMD) if card.device in DUAL_DIE]
    if not accelerators or len(dies) != 2 * len(accelerators):
        return {name[10:]: Part(name, WHOLE, name) for name in accelerators}
    halves = [(name, die) for name in accelerators for die in range(2)]
    return {str(i): Part(name, WHOLE // 2, f"{name}-gcd{die}") for i, (name, die) in enumerate(halves)}


def _joules(path: str) -> Reading:
    try:
        value, unit, *_ = read_bytes(path).split()
        if unit != b"J":
            raise ValueError(f"in {unit.decode('ascii', 'replace')}, not in J")  # noqa: TRY301 - one kind of nonsense
        return Reading(int(value) * UJ_PER_J, "")
    except (OSError, ValueError) as err:
        return Reading(None, f"{os.path.basename(path)}: {reason_of(err)}")


def _scans(folder: str) -> int | None:
    return _first_word(f"{folder}/freshness")


def _first_word(path: str) -> int | None:
    try:
        return int(read_bytes(path).split()[0])
    except (OSError, ValueError, IndexError):
        return None
