# SPDX-License-Identifier: MIT
"""The sources of energy that the collector knows: what each can measure, where to look for it, and how to find it."""

from __future__ import annotations

import os

from ..host import read_text
from .base import Found, Place

FOR = {
    "powercap": ("cpu", "dram"),
    "nvml": ("gpu",),
    "amd": ("gpu",),
    "hwmon": ("cpu", "dram", "gpu"),
    "cray": ("cpu", "dram", "gpu", "other"),
    "psu": ("other",),
    "dcmi": ("other",),
    "redfish": ("other",),
    "model": ("cpu", "dram"),
}
"""What each source may have."""
SLOW = ("nvml", "amd", "hwmon", "psu", "dcmi", "redfish")
"""Sources whose driver may hang, or need long to start."""
UNHURRIED = ("dcmi", "redfish")
"""Sources that are not waited for at the start: a BMC may take seconds, and the rest of the node can wait."""
LAST_RESORT = "model"
"""The source that is looked for only where none before it in the settings can be used: its tables cost memory."""
HWMON = {"power_meter", "amd_energy", "i915", "xe"}
"""Sensors that the source of this name can use."""


def absent_sign(name: str, place: Place, again: bool) -> str:
    """Why a source need not even be tried; empty where there is a sign of it. Code that nobody needs costs memory."""
    if name == "nvml":
        from . import nvml

        return nvml.absent(place, again)
    if name == "hwmon":
        return "" if _sensors(place.sysfs) & HWMON else f"no sensor of energy or power in {place.sysfs}/class/hwmon"
    if name == "psu":
        return "" if _has_power(place.sysfs) else f"no power supply and no power meter in {place.sysfs}/class/hwmon"
    if name == "redfish":
        return "" if place.redfish else "no BMC is named by [collector] redfish"
    sign = {
        "amd": f"{place.sysfs}/module/amdgpu",
        "cray": f"{place.sysfs}/cray/pm_counters",
        "dcmi": place.ipmi_device,
        "model": f"{place.procfs}/stat",
    }.get(name)
    return "" if sign is None or os.path.exists(sign) else f"no {sign}"


def _sensors(sysfs: str) -> set[str]:
    """Kinds of sensors that the node has: most have some, for temperatures. Before Linux 6.14 the name of an ACPI
    power meter was its device's.
    """
    folder = f"{sysfs}/class/hwmon"
    try:
        entries = os.listdir(folder)
    except OSError:
        return set()
    return {read_text(f"{folder}/{entry}/{name}") for entry in entries for name in ("name", "device/name")}


def _has_power(sysfs: str) -> bool:
    """Whether a sensor may show the node's power: an ACPI power meter, or one with a label beside its power."""
    if "power_meter" in _sensors(sysfs):
        return True
    folder = f"{sysfs}/class/hwmon"
    try:
        return any("power1_label" in os.listdir(f"{folder}/{entry}") for entry in os.listdir(folder))
    except OSError:
        return False


def find(name: str, place: Place) -> Found:
    """Look for one source: its module has its name."""
    try:
        module = __import__(f"{__package__}.{name}", fromlist=["find"])
    except ImportError as err:
        return Found(None, dict.fromkeys(FOR[name], str(err)))
    found: Found = module.find(place)
    return found
