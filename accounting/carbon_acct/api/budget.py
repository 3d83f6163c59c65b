# SPDX-License-Identifier: MIT
"""Charges callers for what they hold of the aggregator (memory, connections), and bounds the sum.

When the sum is too large, the caller that holds most loses what it holds, the oldest first. So a flood costs the one
who makes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable


class Charge:
    """The amount that one connection or answer holds. `drop` is called to take it from the caller."""

    def __init__(self, budget: Budget, owner: Hashable, drop: Callable[[], None]) -> None:
        self.owner = owner
        self.amount = 0
        self.drop = drop
        self._budget = budget

    def add(self, amount: int) -> None:
        """Charge more. If the sum is then too large, a charge of the largest holder is dropped, which may be
        this one.
        """
        self._budget.add(self, amount)

    def end(self) -> None:
        """Give the whole amount back. A second call does nothing."""
        self._budget.end(self)


class Budget:
    """A bound on what all callers hold together, and a bound `each` for one owner. It must be used from one thread."""

    def __init__(self, total: int, each: int) -> None:
        self.total = total
        self.each = each
        self.held = 0
        self._of: dict[Hashable, OrderedDict[Charge, None]] = {}
        self._sums: dict[Hashable, int] = {}

    def open(self, owner: Hashable, drop: Callable[[], None]) -> Charge:
        """Return a charge that holds nothing yet."""
        charge = Charge(self, owner, drop)
        self._of.setdefault(owner, OrderedDict())[charge] = None
        self._sums.setdefault(owner, 0)
        return charge

    def of(self, owner: Hashable) -> int:
        """Return the amount that an owner holds."""
        return self._sums.get(owner, 0)

    def add(self, charge: Charge, amount: int) -> None:
        """Charge more, as `Charge.add` describes."""
        if charge not in self._of.get(charge.owner, ()):
            return  # dropped meanwhile
        charge.amount += amount
        self.held += amount
        self._sums[charge.owner] += amount
        while self._sums.get(charge.owner, 0) > self.each:
            self._drop_oldest(charge.owner)
        while self.held > self.total:
            self._drop_oldest(max(self._sums, key=self._sums.__getitem__))

    def end(self, charge: Charge) -> None:
        """Give a charge back, as `Charge.end` describes."""
        own = self._of.get(charge.owner)
        if own is None or charge not in own:
            return
        del own[charge]
        self.held -= charge.amount
        self._sums[charge.owner] -= charge.amount
        if not own:
            del self._of[charge.owner], self._sums[charge.owner]

    def _drop_oldest(self, owner: Hashable) -> None:
        oldest = next(one for one in self._of[owner] if one.amount)
        self.end(oldest)
        oldest.drop()
