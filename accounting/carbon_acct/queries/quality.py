# SPDX-License-Identifier: MIT
"""Judges how far a job's energy can be trusted: coverage, quality and the reasons. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ENOUGH_PERCENT = 99.0
GUESSES = ("modelled", "shared")
"""Methods that make a figure an estimate: nothing was metered, or a meter's energy was divided by what jobs held."""


class ComponentState(NamedTuple):
    """One component of a job over all of its slots. `alloc_us` is the node-time over which it should have been metered."""

    energy_uj: int | None
    metered_us: int
    alloc_us: int
    method: str

    @property
    def guess(self) -> str:
        """Return the least certain method, if it makes the energy an estimate: `modelled` or `shared`; else an empty
        text.
        """
        return self.method if self.method in GUESSES else ""

    @property
    def whole(self) -> bool:
        """Return whether it was metered all the time, and attributed to the job by its use."""
        return self.energy_uj is not None and not self.guess and 0 < self.alloc_us <= self.metered_us


class Verdict(NamedTuple):
    """Coverage in percent (None: the job held no node for any time), quality, and the reasons that lower it."""

    coverage: float | None
    quality: str
    notes: tuple[str, ...]


MEASURED = Verdict(100.0, "measured", ())


def judge(components: Mapping[str, ComponentState], unmetered_us: int, unmetered_nodes: int) -> Verdict:
    """Return the quality of a job from the components that concern it and the node-time without any row.

    Coverage is that of the component covered least among those that are metered at all.
    """
    if components and not unmetered_us and not unmetered_nodes and all(c.whole for c in components.values()):
        return MEASURED  # what comes of the rules below, for most jobs
    metered = {name: c for name, c in components.items() if c.energy_uj is not None}
    guessed = {name: c.guess for name, c in components.items() if c.guess}
    coverage = _coverage(metered, components, unmetered_us)
    notes = [f"{unmetered_nodes} of the job's nodes reported nothing"] if unmetered_nodes and components else []
    notes += [f"{name}: {guess}" for name, guess in guessed.items()]
    missing = [name for name in components if name not in metered and name not in guessed]
    notes += [f"{name}: not metered" for name in missing]
    if not metered and not guessed:
        return Verdict(coverage, "none", tuple(notes) if components else ("no node reported this job",))
    if guessed:
        return Verdict(coverage, "estimated", tuple(notes))
    if missing or unmetered_nodes or coverage is None or coverage < ENOUGH_PERCENT:
        return Verdict(coverage, "partial", tuple(notes))
    return Verdict(coverage, "measured", tuple(notes))


def _coverage(
    metered: Mapping[str, ComponentState], components: Mapping[str, ComponentState], unmetered_us: int
) -> float | None:
    shares = [
        100.0 * min(1.0, c.metered_us / (c.alloc_us + unmetered_us))
        for c in metered.values()
        if c.alloc_us + unmetered_us
    ]
    if shares:
        return min(shares)
    held = unmetered_us or any(c.alloc_us for c in components.values())
    return 0.0 if held else None
