# SPDX-License-Identifier: MIT
"""Says which of a node's rows may count for a run of a job: those of its nodes, of its time, of no more time than it had.

A node's root can write any row. What Slurm says of the run bounds what it can charge to somebody else's job: the node
must be in the NodeList, the slot within start and end, and the node-time no longer than the run took. What does not fit
is kept as delivered, and counts for nobody. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from carbon_acct.db.row_types import ExtentRow, LedgerRow
from carbon_acct.estimates.arithmetic import CLOCK_SLACK_S, EPILOG_SLACK_S
from carbon_collector.hostlist import expand
from carbon_collector.units import SLOT_S, US_PER_S

NODE, TIME, NODE_TIME, CEILING = "node", "time", "node_time", "ceiling"
"""Why a row does not fit: the node was not the job's, the slot not of its time, the node-time longer than the run, the
job would have more in the slot than any job.
"""
REASONS = (NODE, TIME, NODE_TIME, CEILING)

MOST_OF_SLOT = 2**63 // 200
"""The most that a run may have in one slot, of each of Amount's figures, and the most facility energy that is estimated
for it besides. A day has 100 slots where clocks are set back, and the figures of a job's day have 64 bits. In energy it
is a mean of 51 MW.
"""
FEW = 8
"""The number of rows of a slot that cannot exceed MOST_OF_SLOT, with a PUE of 10 and an overhead of 3."""

LISTS = 64
"""Node lists of which the names are kept: those of large jobs take megabytes."""


class Extent(NamedTuple):
    """Where and when a run was, as far as Slurm says: None is not known, or not over."""

    nodes: frozenset[str] | None
    low: int
    high: int | None
    node_us: int | None
    """Most node-time that one node can have had."""

    def misfit(self, node: str, slot: int) -> str:
        """Return why a row of a node's slot does not fit; empty: it does."""
        if self.nodes is not None and node not in self.nodes:
            return NODE
        if slot + SLOT_S <= self.low or (self.high is not None and slot >= self.high):
            return TIME
        return ""


class Told(NamedTuple):
    """What the rows of a ledger say together: their time, and their first and last slot."""

    alloc_us: int
    first: int
    last: int


def extent(records: Sequence[ExtentRow]) -> Extent:
    """Return the extent of a run from its record; from all of them where resizes split it."""
    lists = [_names(record.nodelist or "") for record in records]
    nodes = frozenset[str]().union(*(one for one in lists if one)) if all(lists) else None
    started = [record for record in records if record.start is not None]
    if not started:
        return Extent(nodes, 0, None, None)
    # A clock that was set back under a run has it end before it began.
    low = min(min(record.start or 0, record.end or record.start or 0) for record in started)
    if any(record.end is None for record in records):
        return Extent(nodes, low - CLOCK_SLACK_S, None, None)
    high = max(max(record.start or 0, record.end or 0) for record in started)
    longest_us = (high - low + EPILOG_SLACK_S) * US_PER_S
    return Extent(nodes, low - CLOCK_SLACK_S, high + CLOCK_SLACK_S, longest_us)


@lru_cache(maxsize=LISTS)
def _names(nodelist: str) -> frozenset[str] | None:
    """Return the nodes of a list; None where Slurm has none yet (`None assigned`), or it cannot be read."""
    if not nodelist or nodelist.startswith("None") or nodelist == "(null)":
        return None
    try:
        return frozenset(expand(nodelist))
    except ValueError:
        return None


def is_whole(run: Extent, ledgers: Iterable[LedgerRow], told: Mapping[int, Told]) -> bool:
    """Return whether all rows of a run's ledgers fit, by what they say together."""
    node_us: dict[str, int] = defaultdict(int)
    for ledger in ledgers:
        if run.nodes is not None and ledger.node not in run.nodes:
            return False
        rows = told.get(ledger.id)
        if rows is None:
            continue
        if run.misfit(ledger.node, rows.first) or run.misfit(ledger.node, rows.last):
            return False
        node_us[ledger.node] += rows.alloc_us
    return run.node_us is None or all(us <= run.node_us for us in node_us.values())


def beyond(run: Extent, rows: Iterable[tuple[str, int, int, int]]) -> set[tuple[int, int]]:
    """Return the rows, (ledger, slot), that come after a node's time is used up. `rows`: node, slot, ledger, alloc_us.

    All rows of the run that fit otherwise must be given: which go is told by the order of their slots.
    """
    if run.node_us is None:
        return set()
    used: dict[str, int] = defaultdict(int)
    gone = set()
    for node, slot, ledger, alloc_us in sorted(rows):
        used[node] += alloc_us
        if used[node] > run.node_us:
            used[node] -= alloc_us
            gone.add((ledger, slot))
    return gone


class Amount(NamedTuple):
    """What a row says, as far as it adds up over the nodes of a run: facility energy in microjoules, used and held CPU
    time in microseconds.
    """

    ledger: int
    facility_uj: int
    cpu_us: int
    core_us: int


def over_ceiling(rows: Iterable[Amount]) -> set[int]:
    """Return the ledgers whose rows would bring a run above MOST_OF_SLOT in one slot. Small rows are kept first."""
    total = [0, 0, 0]
    gone = set()
    for ledger, *figures in sorted(rows, key=lambda row: (max(row[1:]), row.ledger)):
        after = [before + more for before, more in zip(total, figures, strict=True)]
        if max(after) > MOST_OF_SLOT:
            gone.add(ledger)
        else:
            total = after
    return gone
