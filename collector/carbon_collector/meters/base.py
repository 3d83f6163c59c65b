# SPDX-License-Identifier: MIT
"""What a meter is: monotonic energy in integer microjoules for named domains, or the reason why not."""

from __future__ import annotations

from typing import NamedTuple, Protocol

COUNTER = "counter"
INTEGRATED = "integrated"
MODELLED = "modelled"
MISSING = "missing"


class Domain(NamedTuple):
    """One thing with a counter of its own.

    `name` is unique on the node and stable (`package-0`, `GPU-<uuid>`); `component` is cpu, dram or gpu;
    `socket` the CPU socket it belongs to, -1 for none; `range_uj` where the counter wraps, 0 for never;
    `max_watts` the most it can draw; `simulated` marks a counter that no hardware drives.
    """

    name: str
    component: str
    socket: int
    range_uj: int
    max_watts: int
    method: str
    simulated: bool


class Reading(NamedTuple):
    """A domain's counter in microjoules at one instant; `None` and the reason where it cannot be read now."""

    energy_uj: int | None
    reason: str


class Meter(Protocol):
    """One source of energy. A meter finds its domains once and reads them again and again."""

    domains: list[Domain]

    def read(self) -> dict[str, Reading]:
        """Read every domain, by its name. Never raises for what the hardware does."""


class Found(NamedTuple):
    """What looking for a meter gave: the meter if it works, and why each component is missing if not."""

    meter: Meter | None
    missing: dict[str, str]
