# SPDX-License-Identifier: MIT
"""Counters inside counters: a node's meter holds its sockets, a superchip's module its CPU. Pure.

What an outer counter counted beyond those inside it is its own; so nothing is counted twice, and the sum of all
is what the outermost counted.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING
from ..meters.base import inside
from .counter import Energy

if TYPE_CHECKING:
    from ..meters.base import Domain

MAX_OWED_UJ = 100_000_000_000
"""How far an outer counter may be behind those inside it: a BMC that looks every ten seconds, at 10 kW."""


def net(domains: dict[str, Domain], gross: dict[str, Energy], owed: dict[str, int]) -> dict[str, Energy]:
    """Energy of each domain in one interval less that of the domains inside it, never negative.

    Where those inside are ahead, the difference is kept in `owed` and taken off the next interval. What holds
    an energy that is not known is not known either.
    """
    result = dict(gross)
    # A module is inside the node that has a meter of its own: the innermost come first.
    outer = sorted((d for d in domains.values() if d.contains), key=lambda domain: domain.component == "other")
    for domain in outer:
        whole = gross[domain.name]
        inner = [result[one.name] for one in inside(domain, domains)]
        unknown = next((energy for energy in inner if energy.uj is None), None)
        if whole.uj is None or unknown is not None:
            result[domain.name] = whole if unknown is None or whole.uj is None else Energy(None, unknown.reason)
            continue
        rest = whole.uj - sum(energy.uj or 0 for energy in inner) + owed.get(domain.name, 0)
        owed[domain.name] = max(-MAX_OWED_UJ, min(0, rest))
        result[domain.name] = Energy(max(0, rest), "")
    return result
