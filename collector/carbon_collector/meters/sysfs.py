# SPDX-License-Identifier: MIT
"""Reads small files of the kernel's, and finds the GPUs that its DRM shows."""

from __future__ import annotations

import os

from ..host import read_text
from ..lean.typing import NamedTuple
from .base import Reading

DRM = "class/drm"
AMD = "0x1002"
"""PCI vendor."""
DUAL_DIE = ("0x7408", "0x740c")
"""PCI ids of MI250X and MI250: one card, two devices."""


def read_bytes(path: str, size: int = 4096) -> bytes:
    """Return the content of a small file, read at once. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def read_number(path: str) -> int:
    """Return the number that a file holds. Raises OSError, ValueError."""
    return int(read_bytes(path))


def reading_of(path: str) -> Reading:
    """Return a counter in microjoules, or why it cannot be read."""
    try:
        return Reading(read_number(path), "")
    except (OSError, ValueError) as err:
        return Reading(None, f"{os.path.basename(path)}: {reason_of(err)}")


def reason_of(err: BaseException) -> str:
    """Return the kernel's words for an error, in lower case."""
    return (err.strerror or str(err)).lower() if isinstance(err, OSError) else f"not a number ({err})"


def is_simulated(folder: str) -> bool:
    """Return whether a folder shows simulated hardware: a file in it says so."""
    return os.path.exists(f"{folder}/simulated")


def listed(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none if there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


class Card(NamedTuple):
    """A GPU on the PCI bus: real path and address of its device, PCI device id (`0x7408`), number of its render node."""

    path: str
    address: str
    device: str
    render: str


def cards(sysfs: str, vendor: str) -> list[Card]:
    """Return the GPUs of one maker (PCI vendor id, `0x1002`) in the order of their PCI addresses.

    Slurm numbers GPUs in the order of the PCI bus where it finds them itself (AutoDetect=rsmi, oneapi), and writes that
    number, not the device file's, into SLURM_JOB_GPUS (src/plugins/gres/common/gres_common.c).
    """
    found: dict[str, Card] = {}
    for name in listed(f"{sysfs}/{DRM}"):
        path = os.path.realpath(f"{sysfs}/{DRM}/{name}/device")
        # card0-DP-1 is a connector of card0; its device is the card.
        if name[:4] == "card" and name[4:].isdigit() and read_text(f"{path}/vendor") == vendor:
            render = [entry[7:] for entry in listed(f"{path}/drm") if entry.startswith("renderD")]
            found[path] = Card(path, os.path.basename(path), read_text(f"{path}/device"), render[0] if render else "")
    return sorted(found.values(), key=lambda card: (len(card.address), card.address))


def sensors(card: Card) -> list[str]:
    """Return the hwmon folders of a card."""
    return [f"{card.path}/hwmon/{name}" for name in listed(f"{card.path}/hwmon")]
