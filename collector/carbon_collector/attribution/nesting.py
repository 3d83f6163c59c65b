# SPDX-License-Identifier: MIT
"""Subtracts counters that are inside other counters: a node's meter includes its sockets, a superchip's module its CPU.
Pure.

What an outer counter counted beyond those inside it is its own energy. So nothing is counted twice, and the sum of all
is what the outermost counted. A slow outer counter may be behind those inside it for a while; its own energy is then
unknown until it has caught up. An outer counter that stays behind contradicts them, and is not believed. A model inside
a meter never exceeds what the meter leaves for it.
"""

from __future__ import annotations

from ..apportion import apportion
from ..lean.typing import TYPE_CHECKING
from ..meters.base import MODELLED, inside
from .counter import BEHIND, Energy

if TYPE_CHECKING:
    from ..meters.base import Domain

PATIENCE_US = 60_000_000
"""Longest time for which an outer counter may be behind those inside it. A BMC looks every ten seconds, and what it
said is held for thirty."""
TRUST_US = 600_000_000
"""Time for which an outer counter that was behind for too long must hold its parts before it is believed again."""
FILLED = "the model of the parts inside it leaves nothing of it, so the rest is not known"
CONTRADICTED = "shows less than the parts inside it, so one of the meters is wrong"


class Nesting:
    """How far each outer counter is behind those inside it, in microjoules (`owed`, not positive), and for how long.

    `owed` survives the collector; the times do not.
    """

    def __init__(self) -> None:
        self.owed: dict[str, int] = {}
        self._behind_us: dict[str, int] = {}
        self._trusted_us: dict[str, int] = {}

    def net(self, domains: dict[str, Domain], gross: dict[str, Energy], elapsed_us: int) -> dict[str, Energy]:
        """Return the energy of each domain in one interval less that of the domains inside it, never negative.

        What holds an energy that is not known is not known either.
        """
        result = dict(gross)
        # A module is inside the node that has a meter of its own: the innermost come first.
        outer = sorted((d for d in domains.values() if d.contains), key=lambda domain: domain.component == "other")
        for domain in outer:
            whole = gross[domain.name]
            if whole.uj is None:
                continue
            inner = inside(domain, domains)
            fitted = _fitted(whole.uj, inner, result)
            result.update(fitted)
            own = self._own(domain.name, whole.uj, inner, result, elapsed_us)
            result[domain.name] = Energy(None, f"{domain.name}: {FILLED}") if fitted and not own.reason else own
        return result

    def _own(self, name: str, whole_uj: int, inner: list[Domain], result: dict[str, Energy], elapsed_us: int) -> Energy:
        unknown = next((result[one.name] for one in inner if result[one.name].uj is None), None)
        if unknown is not None:
            return Energy(None, unknown.reason)
        rest = whole_uj - sum(result[one.name].uj or 0 for one in inner) + self.owed.get(name, 0)
        if rest >= 0:
            self.owed[name] = self._behind_us[name] = 0
            return self._trusted(name, rest, elapsed_us)
        self.owed[name] = rest
        self._behind_us[name] = self._behind_us.get(name, 0) + elapsed_us
        if self._behind_us[name] <= PATIENCE_US and name not in self._trusted_us:
            return Energy(None, f"{name}: {BEHIND}")
        self.owed[name] = self._trusted_us[name] = 0
        return Energy(None, f"{name}: {CONTRADICTED}")

    def _trusted(self, name: str, rest_uj: int, elapsed_us: int) -> Energy:
        """Return the energy, unless the counter was behind for too long, and not long ago."""
        if name not in self._trusted_us:
            return Energy(rest_uj, "")
        self._trusted_us[name] += elapsed_us
        if self._trusted_us[name] <= TRUST_US:
            return Energy(None, f"{name}: {CONTRADICTED}")
        del self._trusted_us[name]
        return Energy(rest_uj, "")


def _fitted(whole_uj: int, inner: list[Domain], energies: dict[str, Energy]) -> dict[str, Energy]:
    """Return the energies of modelled domains, made smaller where the meter that contains them leaves less for them."""
    modelled = {d.name: energies[d.name].uj or 0 for d in inner if d.method == MODELLED}
    counted = sum(energies[d.name].uj or 0 for d in inner if d.method != MODELLED)
    # A meter that shows less than other meters inside it is wrong or late; a model still never exceeds it.
    room = whole_uj - counted if counted <= whole_uj else whole_uj
    if sum(modelled.values()) <= room:
        return {}
    parts = dict(zip(modelled, apportion(room, list(modelled.values()))))
    return {name: Energy(uj, "") for name, uj in parts.items() if energies[name].uj is not None}
