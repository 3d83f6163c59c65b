# SPDX-License-Identifier: MIT
"""Defines rows: the energy that a job, or the node, has in one slot.

A row is cumulative: at the aggregator a row of a higher revision replaces it, and nothing is ever added to it. No I/O.
"""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING
from ..meters.base import METHODS, MISSING, SHARED
from .counter import PASSING

if TYPE_CHECKING:
    from typing import Any


MAX_REASON = 200
"""Longest reason in characters."""
NEGLIGIBLE = 100
"""What is less than a hundredth of a share's energy does not change its method."""


class _Share:
    """One component of a row. `energy_uj` is `None` until something was metered.

    Energies are in microjoules; `metered_us` is the time for which the component was metered, in microseconds; `method`
    is the least certain one that contributed, and `reason` says why time is unmetered.
    """

    __slots__ = ("energy_uj", "metered_us", "method", "reason")

    def __init__(self) -> None:
        self.energy_uj: int | None = None
        self.metered_us = 0
        self.method = MISSING
        self.reason = ""

    def blame(self, reason: str) -> None:
        """State why something was not metered; the first reason is kept, unless it is one that passes."""
        if not self.reason or self.reason.endswith(PASSING):
            self.reason = reason[:MAX_REASON]

    def cover_late(self, metered_us: int, whole_us: int) -> None:
        """Count time of a row of `whole_us` as metered after all. Where nothing is unmetered there is no reason."""
        self.metered_us += metered_us
        if self.metered_us >= whole_us:
            self.reason = ""

    def _add(self, energy_uj: int, method: str) -> None:
        is_weaker = self.energy_uj is not None and METHODS.index(self.method) > METHODS.index(method)
        self.method = self.method if is_weaker else method
        self.energy_uj = (self.energy_uj or 0) + energy_uj

    def _record(self, parts: dict[str, int], method: str, reason: str) -> dict[str, Any]:
        known = self.energy_uj is not None
        record: dict[str, Any] = {"energy_uj": self.energy_uj}
        record.update({name: uj if known else None for name, uj in parts.items()})
        record.update(metered_us=self.metered_us, method=method)
        if reason:
            record["reason"] = reason[:MAX_REASON]
        return record


class JobShare(_Share):
    """One component of a job's row. `static_uj` is the static part of `energy_uj`; the rest is the dynamic part.

    `shared_uj` is the part of the energy that was divided by what jobs hold, because their use, or what they hold, is not known, and
    `why` says why. Unless it is next to nothing, it makes the method `shared`.
    """

    __slots__ = ("shared_uj", "static_uj", "why")

    def __init__(self) -> None:
        super().__init__()
        self.static_uj = 0
        self.shared_uj = 0
        self.why = ""

    def add(self, static_uj: int, dynamic_uj: int, method: str, why_shared: str = "", shared_uj: int = 0) -> None:
        """Add metered energy; `why_shared` says why `shared_uj` of it was divided by what jobs hold, if it was."""
        self._add(static_uj + dynamic_uj, method)
        self.static_uj += static_uj
        if why_shared and shared_uj:
            self.shared_uj += shared_uj
            self.why = self.why or why_shared

    def merge(self, other: JobShare) -> None:
        """Add what another share has, of another time."""
        if other.energy_uj is not None:
            self.add(other.static_uj, other.energy_uj - other.static_uj, other.method)
            self.shared_uj += other.shared_uj
            self.why = self.why or other.why
        self.metered_us += other.metered_us
        self.blame(other.reason)

    def record(self) -> dict[str, Any]:
        """Return the component as docs/record-format.md describes it."""
        method, reasons = self.method, [self.reason]
        if self.shared_uj * NEGLIGIBLE > (self.energy_uj or 0):
            method = max(method, SHARED, key=METHODS.index)
            reasons.append(self.why)
        return self._record({"static_uj": self.static_uj}, method, "; ".join(filter(None, reasons)))

    def save(self) -> list[Any]:
        """Return the share as the state on disk holds it."""
        parts = [self.energy_uj, self.static_uj, self.shared_uj]
        return [*parts, self.metered_us, self.method, self.reason, self.why]

    @classmethod
    def load(cls, saved: list[Any]) -> JobShare:
        """Return the share that `save` saved."""
        share = cls()
        share.energy_uj, share.static_uj, share.shared_uj = saved[:3]
        share.metered_us, share.method, share.reason, share.why = saved[3:]
        return share


class NodeShare(_Share):
    """One component of the node's row. `idle_uj` and `system_uj` are the parts that belong to no job."""

    __slots__ = ("idle_uj", "system_uj")

    def __init__(self) -> None:
        super().__init__()
        self.idle_uj = 0
        self.system_uj = 0

    def add(self, energy_uj: int, idle_uj: int, system_uj: int, method: str) -> None:
        """Add what a meter counted, and its idle and system part."""
        self._add(energy_uj, method)
        self.idle_uj += idle_uj
        self.system_uj += system_uj

    def record(self) -> dict[str, Any]:
        """Return the component as docs/record-format.md describes it."""
        return self._record({"idle_uj": self.idle_uj, "system_uj": self.system_uj}, self.method, self.reason)

    def save(self) -> list[Any]:
        """Return the share as the state on disk holds it."""
        return [self.energy_uj, self.idle_uj, self.system_uj, self.metered_us, self.method, self.reason]

    @classmethod
    def load(cls, saved: list[Any]) -> NodeShare:
        """Return the share that `save` saved."""
        share = cls()
        share.energy_uj, share.idle_uj, share.system_uj, share.metered_us, share.method, share.reason = saved
        return share


class JobRow:
    """One run of a job in one slot. `alloc_us` is the time for which it held its allocation in the slot.

    `opened` is the start of its ledger in epoch seconds; `cpu_us` is `None` until CPU time is known; `dirty` marks what
    has changed since it was last sealed.
    """

    __slots__ = ("alloc_us", "components", "cpu_us", "dirty", "job_id", "opened", "run", "simulated", "slot")

    def __init__(self, job_id: int, run: str, opened: int, slot: int) -> None:
        self.job_id = job_id
        self.run = run
        self.opened = opened
        self.slot = slot
        self.alloc_us = 0
        self.cpu_us: int | None = None
        self.simulated = False
        self.dirty = True
        self.components: dict[str, JobShare] = {}

    @property
    def key(self) -> tuple[int, str, int]:
        """Return the key of the row on this node: (JobID, run, slot)."""
        return self.job_id, self.run, self.slot

    def component(self, name: str) -> JobShare:
        """Return the share of a component; it is made on first use."""
        if name not in self.components:
            self.components[name] = JobShare()
        return self.components[name]

    def merge(self, other: JobRow) -> None:
        """Add what another row of the run has, of another slot."""
        self.alloc_us += other.alloc_us
        if other.cpu_us is not None:
            self.cpu_us = (self.cpu_us or 0) + other.cpu_us
        self.simulated |= other.simulated
        for name, share in other.components.items():
            self.component(name).merge(share)

    def record(self, revision: int) -> dict[str, Any]:
        """Return the row as docs/record-format.md describes it."""
        head = {"type": "job_slot", "revision": revision, "job_id": self.job_id, "run": self.run}
        times = {"opened": self.opened, "slot": self.slot, "alloc_us": self.alloc_us, "cpu_us": self.cpu_us}
        parts = {name: share.record() for name, share in self.components.items()}
        return {**head, **times, "simulated": self.simulated, "components": parts}

    def save(self) -> list[Any]:
        """Return the row as the state on disk holds it."""
        shares = {name: share.save() for name, share in self.components.items()}
        fields = [self.job_id, self.run, self.opened, self.slot, self.alloc_us, self.cpu_us, self.simulated]
        return [*fields, self.dirty, shares]

    @classmethod
    def load(cls, saved: list[Any]) -> JobRow:
        """Return the row that `save` saved."""
        *head, alloc_us, cpu_us, simulated, dirty, shares = saved
        row = cls(*head)
        row.alloc_us, row.cpu_us, row.simulated, row.dirty = alloc_us, cpu_us, simulated, dirty
        row.components = {name: JobShare.load(share) for name, share in shares.items()}
        return row


class NodeRow:
    """The node in one slot: what its meters counted, and for how long (`elapsed_us`) they were watched."""

    __slots__ = ("components", "dirty", "elapsed_us", "simulated", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.elapsed_us = 0
        self.simulated = False
        self.dirty = True
        self.components: dict[str, NodeShare] = {}

    def component(self, name: str) -> NodeShare:
        """Return the share of a component; it is made on first use."""
        if name not in self.components:
            self.components[name] = NodeShare()
        return self.components[name]

    def record(self, revision: int) -> dict[str, Any]:
        """Return the row as docs/record-format.md describes it."""
        head = {"type": "node_slot", "revision": revision, "slot": self.slot, "elapsed_us": self.elapsed_us}
        parts = {name: share.record() for name, share in self.components.items()}
        return {**head, "simulated": self.simulated, "components": parts}

    def save(self) -> list[Any]:
        """Return the row as the state on disk holds it."""
        shares = {name: share.save() for name, share in self.components.items()}
        return [self.slot, self.elapsed_us, self.simulated, self.dirty, shares]

    @classmethod
    def load(cls, saved: list[Any]) -> NodeRow:
        """Return the row that `save` saved."""
        slot, elapsed_us, simulated, dirty, shares = saved
        row = cls(slot)
        row.elapsed_us, row.simulated, row.dirty = elapsed_us, simulated, dirty
        row.components = {name: NodeShare.load(share) for name, share in shares.items()}
        return row
