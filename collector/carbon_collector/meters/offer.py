# SPDX-License-Identifier: MIT
"""Holds what one source offers for each component, and whether it is used."""

from __future__ import annotations

from ..lean.typing import NamedTuple
from .base import METHODS, Domain, Found, Meter, Reading, inside


class Verdict(NamedTuple):
    """The verdict on one source of one component: whether it is used, and why not (or what is wrong with it)."""

    component: str
    source: str
    used: bool
    why: str


class Offer(NamedTuple):
    """The offer of a source: its domains, what their first readings were, and what it lacks and why.

    `condemned`: by component, why what it shows cannot be true, as its behaviour over time has shown.
    """

    meter: Meter | None
    domains: list[Domain]
    first: dict[str, Reading]
    missing: dict[str, str]
    condemned: dict[str, str] = {}  # noqa: RUF012 - never changed in place

    def of(self, component: str) -> list[Domain]:
        """Return the domains of one component."""
        return [domain for domain in self.domains if domain.component == component]

    def fault(self, component: str) -> str:
        """Return why no domain of this component can be used; empty if one can."""
        return self.condemned.get(component) or self.unreadable(component)

    def unreadable(self, component: str) -> str:
        """Return why no domain of this component could be read when it was looked for; empty if one could."""
        faults = [self.first[d.name].reason if d.name in self.first else "" for d in self.of(component)]
        return "" if "" in faults else faults[0] if faults else self.missing.get(component, "")


def offer_of(found: Found, first: dict[str, Reading]) -> Offer:
    """Return what a source offers, from what looking for it found and from its first readings."""
    domains = list(found.meter.domains) if found.meter else []
    return Offer(found.meter, domains, first, found.missing)


def read_safely(meter: Meter | None) -> dict[str, Reading]:
    """Return a meter's readings, or unknown ones if it fails."""
    if meter is None:
        return {}
    try:
        return meter.read()
    except Exception as err:  # noqa: BLE001 - a fault of ours in one meter must not stop the others
        return {domain.name: Reading(None, f"failed: {err!r}") for domain in meter.domains}


def weakest(domain: Domain, domains: dict[str, Domain]) -> Domain:
    """Return a domain with its least certain method: what is left of a counter is no better than what was taken off."""
    methods = [domain.method, *(one.method for one in inside(domain, domains))]
    return domain._replace(method=max(methods, key=METHODS.index))
