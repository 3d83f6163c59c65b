# SPDX-License-Identifier: MIT
"""Units: energy is an integer of microjoules, time an integer of microseconds; conversion is for the screen.

RAPL counts microjoules, and integers add up exactly; hence both.
"""

from __future__ import annotations

UJ_PER_J = 1_000_000
"""Microjoules in a joule."""

UJ_PER_MJ = 1_000
"""Microjoules in a millijoule, the unit of NVML's energy counter."""

UJ_PER_KWH = 3_600_000_000_000
"""Microjoules in a kilowatt-hour."""

US_PER_S = 1_000_000
"""Microseconds in a second."""

USER_HZ_US = 10_000
"""Microseconds in a tick of /proc/stat: USER_HZ is 100 on every architecture that Slurm runs on (proc(5))."""

DAY_S = 86_400
"""Seconds in a day of UTC, which has no leap seconds in epoch seconds."""

SLOT_S = 900
"""Length of a slot in seconds. Slots are aligned to UTC: a slot's start is a multiple of 900 in epoch seconds."""
