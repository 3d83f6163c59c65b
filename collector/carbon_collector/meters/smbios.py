# SPDX-License-Identifier: MIT
"""Reads what the firmware states about the node's parts: its SMBIOS table (DMTF DSP0134), which the kernel shows to
root.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "firmware/dmi/tables/DMI"
PROCESSOR, MEMORY_DEVICE = 4, 17
VERSION_AT, SIZE_AT = 0x10, 0x0C
EMPTY = (b"\0\0", b"\xff\xff")
"""Size of a memory device that is not installed, or not known."""


def processors(sysfs: str) -> list[str]:
    """Return the processors' own names. /proc/cpuinfo has no names on Arm."""
    found = []
    for kind, body, strings in _structures(sysfs):
        if kind == PROCESSOR and len(body) > VERSION_AT and 0 < body[VERSION_AT] <= len(strings):
            found.append(strings[body[VERSION_AT] - 1].strip())
    return found


def dimms(sysfs: str) -> int:
    """Number of memory modules that are installed; 0 where that is not known."""
    devices = [body for kind, body, _ in _structures(sysfs) if kind == MEMORY_DEVICE and len(body) > SIZE_AT + 1]
    return sum(body[SIZE_AT : SIZE_AT + 2] not in EMPTY for body in devices)


def _structures(sysfs: str) -> Iterator[tuple[int, bytes, list[str]]]:
    """Yield type, formatted area and strings of each structure, up to the first damaged one."""
    try:
        with open(f"{sysfs}/{TABLE}", "rb") as file:
            table = file.read()
    except OSError:
        return
    at = 0
    while at + 4 <= len(table):
        kind, length = table[at], table[at + 1]
        end = table.find(b"\0\0", at + length)  # after the strings, each of which ends in one zero
        if length < 4 or end < 0:
            return
        yield kind, table[at : at + length], table[at + length : end].decode("ascii", "replace").split("\0")
        at = end + 2
