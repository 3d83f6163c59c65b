# SPDX-License-Identifier: MIT
"""Rows: what a job, and the node, came to in one slot. Cumulative, replaced at the aggregator, never added to."""

from __future__ import annotations

from ..lean.named import TYPE_CHECKING
from ..meters.base import METHODS, MISSING

if TYPE_CHECKING:
    from typing import Any


MAX_REASON = 200


class Share:
    """One component of a row, in microjoules and microseconds. `energy_uj` is None until something was metered.

    `first` and `second` are the static and dynamic part of a job, or the idle and the system part of a node.
    """

    __slots__ = ("energy_uj", "first_uj", "metered_us", "method", "reason", "second_uj")

    def __init__(self) -> None:
        self.energy_uj: int | None = None
        self.first_uj = 0
        self.second_uj = 0
        self.metered_us = 0
        self.method = MISSING
        self.reason = ""

    def add(self, energy_uj: int, first_uj: int, second_uj: int, method: str) -> None:
        """Add metered energy. A row's method is the weakest that had a part in it."""
        weaker = self.energy_uj is not None and METHODS.index(self.method) > METHODS.index(method)
        self.method = self.method if weaker else method
        self.energy_uj = (self.energy_uj or 0) + energy_uj
        self.first_uj += first_uj
        self.second_uj += second_uj

    def blame(self, reason: str) -> None:
        """Say why something was not metered; the first reason stays."""
        self.reason = self.reason or reason[:MAX_REASON]

    def save(self) -> list[Any]:
        """For the state on disk."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def load(cls, saved: list[Any]) -> Share:
        """From the state on disk."""
        share = cls()
        for name, value in zip(cls.__slots__, saved):
            setattr(share, name, value)
        return share


class Row:
    """A job (`job_id`, `run`) or the node (`job_id` 0) in one slot."""

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
        self.components: dict[str, Share] = {}

    def component(self, name: str) -> Share:
        """The share of a component, made when it is first spoken of."""
        if name not in self.components:
            self.components[name] = Share()
        return self.components[name]

    def save(self) -> list[Any]:
        """For the state on disk."""
        shares = {name: share.save() for name, share in self.components.items()}
        fields = [self.job_id, self.run, self.opened, self.slot, self.alloc_us, self.cpu_us, self.simulated]
        return [*fields, self.dirty, shares]

    @classmethod
    def load(cls, saved: list[Any]) -> Row:
        """From the state on disk."""
        row = cls(*saved[:4])
        row.alloc_us, row.cpu_us, row.simulated, row.dirty = saved[4:8]
        row.components = {name: Share.load(share) for name, share in saved[8].items()}
        return row

    def record(self, revision: int) -> dict[str, Any]:
        """As docs/record-format.md says."""
        if not self.job_id:
            parts = {name: _record(share, "idle_uj", "system_uj") for name, share in self.components.items()}
            head = {"type": "node_slot", "revision": revision, "slot": self.slot, "elapsed_us": self.alloc_us}
            return {**head, "simulated": self.simulated, "components": parts}
        parts = {name: _record(share, "static_uj", "") for name, share in self.components.items()}
        head = {"type": "job_slot", "revision": revision, "job_id": self.job_id, "run": self.run}
        times = {"opened": self.opened, "slot": self.slot, "alloc_us": self.alloc_us, "cpu_us": self.cpu_us}
        return {**head, **times, "simulated": self.simulated, "components": parts}


def _record(share: Share, first: str, second: str) -> dict[str, Any]:
    known = share.energy_uj is not None
    record: dict[str, Any] = {"energy_uj": share.energy_uj, first: share.first_uj if known else None}
    if second:
        record[second] = share.second_uj if known else None
    record["metered_us"] = share.metered_us
    record["method"] = share.method
    if share.reason:
        record["reason"] = share.reason
    return record
