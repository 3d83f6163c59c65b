# SPDX-License-Identifier: MIT
"""Defines a meter: it gives monotonic energy in integer microjoules for named domains, or the reason why not."""

from __future__ import annotations

from ..lean.typing import NamedTuple

COUNTER = "counter"
INTEGRATED = "integrated"
SHARED = "shared"
"""Method of a job's part where its use is not known: the meter's energy is divided by what each job holds."""
MODELLED = "modelled"
MISSING = "missing"

METHODS = (COUNTER, INTEGRATED, SHARED, MODELLED, MISSING)
"""Methods, from the most trusted to none."""

COMPONENTS = ("cpu", "dram", "gpu", "other")
"""Components of a node; `other` is what a meter of the whole node counts beyond the first three."""

EVERY_NODES = ("cpu", "dram")
"""Components that every node has, whether or not they can be metered."""

IDLE_SHARE = {"cpu": 0.3, "dram": 0.5, "gpu": 0.15}
"""Assumed share of idle power in the power under full load, until something was seen; sources: docs/methodology.md."""

WHOLE = 1000
"""Shares of a device are in thousandths."""


class Domain(NamedTuple):
    """A part of the node that has a counter of its own.

    `name` is unique on the node and stable (`package-0`, `GPU-<uuid>`); `component` is cpu, dram, gpu or, for a meter
    of the whole node, other; `socket` the CPU socket it belongs to, -1 for none; `range_uj` where the counter wraps, 0
    for never; `max_watts` the most it can draw; `simulated` marks a counter that no hardware drives. `contains`: names
    of domains, or components, whose energy is inside this counter and is taken off.
    """

    name: str
    component: str
    socket: int
    range_uj: int
    max_watts: int
    method: str
    simulated: bool
    contains: tuple[str, ...] = ()


def inside(domain: Domain, domains: dict[str, Domain]) -> list[Domain]:
    """Return the domains whose energy is inside this one's counter."""
    held = domain.contains
    return [d for d in domains.values() if held and d.name != domain.name and (d.name in held or d.component in held)]


class Reading(NamedTuple):
    """A domain's counter in microjoules at one instant; `None` and the reason where it cannot be read now."""

    energy_uj: int | None
    reason: str


class Part(NamedTuple):
    """What a job holds when its ticket names a device: `share` thousandths of `domain`; `uuid` names it in records.

    A whole GPU is 1000 of itself; a MIG instance is its slices, one GCD of an MI250X half of its card.
    """

    domain: str
    share: int
    uuid: str


class Meter:
    """One source of energy. A meter finds what it can read once and reads it again and again.

    `domains` are those to read: all that were found, until other sources were preferred for some of them.
    `parts`: by every name that a ticket may have for a device (Slurm's index, UUID), what a job then holds.
    `found`: what `domains` could be from now on, where that is other than it was (and so may be `parts`): a driver came
    back, a GPU was partitioned; whoever takes it in empties it.
    `condemned`: by component, why what the meter shows of it cannot be true, as its behaviour over time has shown.
    `shared`: domains that several jobs hold; `activity` is what was done on each of them since the last reading,
    in any unit, by the UUID of the part or by `pid:<number>`; a domain is absent where that is not known.
    """

    sample_s = 0.0
    """How often a power that is integrated wants to be looked at between two readings; 0 for never."""

    def __init__(self, domains: list[Domain], parts: dict[str, Part] | None = None) -> None:
        self.domains = domains
        self.parts = parts or {}
        self.found: tuple[Domain, ...] = ()
        self.condemned: dict[str, str] = {}
        self.shared: frozenset[str] = frozenset()
        self.activity: dict[str, dict[str, int]] = {}

    def read(self) -> dict[str, Reading]:
        """Read every domain, by its name. Never raises for what the hardware does."""
        raise NotImplementedError

    def sample(self) -> None:
        """Look at a power between two readings."""

    def close(self) -> None:
        """Let go of what it holds: another takes its place."""


class Found(NamedTuple):
    """The result of looking for a meter: the meter if it works, and the reason for each component that is missing."""

    meter: Meter | None
    missing: dict[str, str]


class Place(NamedTuple):
    """Where a node shows its hardware: the settings of the same names."""

    sysfs: str
    procfs: str
    nvml_library: str
    ipmi_device: str
    redfish: str = ""
    redfish_credentials: str = ""
    redfish_ca: str = ""
