# SPDX-License-Identifier: MIT
"""For each component of a node the first source that works, and why the others were not taken."""

from __future__ import annotations

import time

from .base import COMPONENTS, COUNTER, INTEGRATED, Domain, Found, Meter, Part, Place, Reading
from .guard import DEADLINE_S, Guard
from .integral import now_us
from .offer import Offer, Verdict, offer_of, read_safely, weakest
from .sources import FOR, LAST_RESORT, SLOW, UNHURRIED, absent_sign, find
from .watching import Register

ALWAYS_ON = ("cpu", "dram")
"""Components whose counters never stand still while the node runs. A GPU may be switched off."""
DEAD = "stands still: a dead counter"
"""Verdict on a source whose counters do not move."""
AGAIN_S = 60.0
"""How often what is missing is looked for again: a driver was loaded, a file became readable."""


class Meters:
    """Every source in use; `names` are those that may be used, in order of preference.

    `domains` by name; `missing`: why a component has none; `parts`: what a job holds, by the name of a device;
    `integrated`: the domains whose energy this process sums up itself.
    """

    def __init__(self, names: list[str], place: Place) -> None:
        self.names = names
        self.place = place
        self.domains: dict[str, Domain] = {}
        self.missing: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self.source: dict[str, str] = {}
        self.integrated: set[str] = set()
        self._offers: dict[str, Offer] = {}
        self._guards: dict[str, Guard] = {}
        self._looking: dict[str, Guard] = {}
        self._registers: dict[str, Register] = {}
        self._changes: list[str] = []
        self._again_s = time.monotonic() + AGAIN_S
        self._look([name for name in names if name != LAST_RESORT])
        deadline_s = time.monotonic() + DEADLINE_S
        for name, guard in self._looking.items():
            if name not in UNHURRIED:
                guard.wait(deadline_s)
        self._settle()

    # -- looking ----------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Take in what has answered late, and look again for what is missing; True if domains or parts are others now."""
        renewed = self._take_renewed()
        if time.monotonic() >= self._again_s:
            self._again_s = time.monotonic() + AGAIN_S
            self._look_at_dead()
            self._look([name for name in self.names if self._could_be_better(name)])
        elif not renewed and not self._judge() and not any(guard.found for guard in self._looking.values()):
            return False
        return self._settle()

    def _take_renewed(self) -> bool:
        """Take in what meters have found since they were found themselves; True if there is any."""
        renewed = False
        for name, offer in self._offers.items():
            if offer.meter and offer.meter.found:
                self._offers[name] = offer._replace(domains=list(offer.meter.found))
                offer.meter.found = ()
                renewed = True
        return renewed

    def _judge(self) -> bool:
        """Take in what behaviour has shown of each source; return whether a verdict is another one now."""
        changed = False
        for name, offer in self._offers.items():
            if offer.meter is not None:
                dead = {component: DEAD for component in ALWAYS_ON if self._is_dead(offer.of(component))}
                condemned = {**dead, **offer.meter.condemned}
                changed |= condemned != offer.condemned
                self._offers[name] = offer._replace(condemned=condemned)
        return changed

    def _is_dead(self, domains: list[Domain]) -> bool:
        """Whether none of these counters moves."""
        at_us = now_us()
        seen = [self._registers.get(domain.name) for domain in domains if domain.method == COUNTER]
        return any(seen) and all(register is None or register.is_dead(at_us) for register in seen)

    def _see(self, readings: dict[str, Reading]) -> None:
        """Take in readings of counters that never stand still while they work."""
        at_us = now_us()
        for name, reading in readings.items():
            domain = self.domains.get(name)
            if domain is None or (domain.method == COUNTER and domain.component in ALWAYS_ON):
                self._registers.setdefault(name, Register()).see(reading.energy_uj, at_us)

    def _look_at_dead(self) -> None:
        """Read the counters that were found dead: a source whose counters move again is used again."""
        for name, offer in self._offers.items():
            dead = [d for component, why in offer.condemned.items() if why == DEAD for d in offer.of(component)]
            if offer.meter is not None and dead:
                used, offer.meter.domains = offer.meter.domains, dead
                self._see(self._read_now(name, offer.meter))
                offer.meter.domains = used

    def _read_now(self, name: str, meter: Meter) -> dict[str, Reading]:
        if name not in self._guards:
            return read_safely(meter)
        self._guards[name].ask()
        return self._guards[name].read(time.monotonic() + DEADLINE_S)

    def _could_be_better(self, name: str) -> bool:
        """Whether a source that did not work would be used if it worked by now. An integral in use is not begun anew."""
        offer = self._offers.get(name)
        if offer is None or (offer.meter and any(d.method == INTEGRATED for d in offer.meter.domains)):
            return False
        return any(
            offer.unreadable(component) and self._rank(name) < self._rank(self.source[component])
            for component in COMPONENTS
        )

    def _rank(self, name: str) -> int:
        return self.names.index(name) if name else len(self.names)

    def _look(self, names: list[str]) -> None:
        for name in names:
            absent = absent_sign(name, self.place, again=name in self._offers)
            if absent:
                self._offers[name] = offer_of(Found(None, dict.fromkeys(FOR[name], absent)), {})
            elif name in SLOW:
                # What it offered before stands until it has answered.
                if name not in self._looking:
                    self._looking[name] = self._guard(name)
            else:
                found = find(name, self.place)
                self._offers[name] = offer_of(found, read_safely(found.meter))
                self._see(self._offers[name].first)

    def _guard(self, name: str) -> Guard:
        return Guard(lambda: find(name, self.place), FOR[name])

    def _settle(self) -> bool:
        """Choose from what is offered; True if domains or parts are others now."""
        for name, guard in list(self._looking.items()):
            if guard.found is None:
                continue
            if name in self._guards:
                self._guards[name].end()
            self._guards[name] = self._looking.pop(name)
            self._offers[name] = offer_of(guard.found, self._first_of(guard))
        self._judge()
        before = self.domains, self.parts
        chosen = {component: self._choose(component) for component in COMPONENTS}
        self._changes += [self._change(c, chosen[c]) for c in COMPONENTS if self.source.get(c, chosen[c]) != chosen[c]]
        self.source = chosen
        self.domains, self.parts = {}, {}
        for name, offer in self._offers.items():
            if offer.meter is not None:
                offer.meter.domains = [d for d in offer.domains if self.source[d.component] == name]
                self.domains.update({domain.name: domain for domain in offer.meter.domains})
                used = {domain.name for domain in offer.meter.domains}
                self.parts.update({name: part for name, part in offer.meter.parts.items() if part.domain in used})
        self.integrated = {name for name, domain in self.domains.items() if domain.method == INTEGRATED}
        self.domains = {name: weakest(domain, self.domains) for name, domain in self.domains.items()}
        has = {domain.component for domain in self.domains.values()}
        self.missing = {component: self._why_not(component) for component in COMPONENTS if component not in has}
        return (self.domains, self.parts) != before

    def _change(self, component: str, new: str) -> str:
        old = self.source[component]
        why = self._offers[old].fault(component) if old in self._offers else ""
        gone = f"{old} ({why})" if why else old or "nothing"
        return f"{component}: {new or 'nothing'} is read from now on, where {gone} was"

    def changes(self) -> list[str]:
        """Return what has changed in the choice of sources since this was last asked, a line each."""
        changes, self._changes = self._changes, []
        return changes

    def _first_of(self, guard: Guard) -> dict[str, Reading]:
        if guard.found is None or guard.found.meter is None:
            return {}
        deadline_s = time.monotonic() + DEADLINE_S
        guard.wait(deadline_s)  # it has found something, and may be about to say so: that is no reading
        guard.ask()
        return guard.read(deadline_s)

    def _choose(self, component: str) -> str:
        """The first source that can be read, else the first that is there at all; empty for none.

        One that has not answered yet keeps its place: a driver that takes long to start is still the best.
        """
        there = ""
        for name in self.names:
            if name == LAST_RESORT and name not in self._offers and component in FOR[name]:
                self._look([name])
            offer = self._offers.get(name)
            if name == "cray" and component in ("cpu", "dram") and self._has_modules():
                continue  # one figure for all sockets cannot be taken off each module that has them inside
            if offer is None and component in FOR[name]:
                return name
            if offer is not None and offer.of(component):
                if not offer.fault(component):
                    return name
                there = there or name
        return there

    def _has_modules(self) -> bool:
        return any(d.component == "gpu" and d.contains for offer in self._offers.values() for d in offer.domains)

    def _why_not(self, component: str) -> str:
        faults = [v.why for v in self.verdicts() if v.component == component]
        return "; ".join(faults) or "no meter for it is allowed by [collector] meters"

    def verdicts(self) -> list[Verdict]:
        """Every source of every component, in order, used or not."""
        found = []
        for component in COMPONENTS:
            for name in self.names:
                offer = self._offers.get(name)
                used = self.source[component] == name
                if offer is None and component in FOR[name]:
                    late = name in self._looking
                    why = "does not answer yet" if late else f"{self.source[component]} comes first"
                    found.append(Verdict(component, name, used, why))
                elif offer is not None and (offer.of(component) or component in offer.missing):
                    why = offer.fault(component) or ("" if used else f"{self.source[component]} comes first")
                    found.append(Verdict(component, name, used, why))
        return found

    # -- reading ----------------------------------------------------------------------------------------------

    def read(self, shared: frozenset[str] = frozenset()) -> dict[str, Reading]:
        """Read every domain, by its name; of those that are `shared` also what was done on them (`activity`)."""
        readings: dict[str, Reading] = {}
        used = [(name, offer.meter) for name, offer in self._offers.items() if offer.meter and offer.meter.domains]
        guards = [self._guards[name] for name, _ in used if name in self._guards]
        for _, meter in used:
            meter.shared = shared
        for guard in guards:
            guard.ask()
        for name, meter in used:
            if name not in self._guards:
                readings.update(read_safely(meter))
        deadline_s = time.monotonic() + DEADLINE_S
        for guard in guards:
            readings.update(guard.read(deadline_s))
        self._see(readings)
        return readings

    def close(self) -> None:
        """End what lives on beyond the process: a session on the BMC."""
        for name in UNHURRIED:
            offer = self._offers.get(name)
            if offer is not None and offer.meter is not None:
                offer.meter.close()

    def activity(self) -> dict[str, dict[str, int]]:
        """Return what was done on each shared domain between the last two readings. A domain for which that is unknown
        is absent.
        """
        return {
            name: done for offer in self._offers.values() if offer.meter for name, done in offer.meter.activity.items()
        }
