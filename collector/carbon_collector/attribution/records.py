# SPDX-License-Identifier: MIT
"""Sealing: what has changed in the node's accounts becomes records; what has ended is then forgotten here. No I/O."""

from __future__ import annotations

from ..lean.named import TYPE_CHECKING, NamedTuple
from ..units import US_PER_S
from .ledger import EPILOG

if TYPE_CHECKING:
    from typing import Any

    from .account import Account
    from .ledger import Ledger
    from .rows import Row

MAX_LEDGERS = 1000
MAX_ROWS = 4000
"""A segment has at most 8 MiB: a ledger has at most 6 KiB (names of 255 characters, escaped), a row 1.4 KiB."""


class Batch(NamedTuple):
    """What goes into one segment."""

    ledgers: list[Ledger]
    rows: list[Row]

    def records(self, revision: int, node_cpus: int) -> list[dict[str, Any]]:
        """As docs/record-format.md says."""
        ledgers = [ledger.record(revision, node_cpus) for ledger in self.ledgers]
        return ledgers + [row.record(revision) for row in self.rows]

    def sealed(self) -> None:
        """It is in the spool; only what changes from now on is told again."""
        for ledger in self.ledgers:
            ledger.dirty = False
        for row in self.rows:
            row.dirty = False


def batches(account: Account) -> list[Batch]:
    """What has changed since it was last sealed, in batches that fit a segment; the jobs come before their rows."""
    ledgers = [ledger for ledger in account.ledgers.values() if ledger.dirty]
    rows = [row for row in account.rows.values() if row.dirty]
    heads = [Batch(ledgers[i : i + MAX_LEDGERS], []) for i in range(0, len(ledgers), MAX_LEDGERS)]
    tails = [Batch([], rows[i : i + MAX_ROWS]) for i in range(0, len(rows), MAX_ROWS)]
    if len(heads) == len(tails) == 1 and len(ledgers) + len(rows) <= MAX_LEDGERS:
        return [Batch(ledgers, rows)]
    return heads + tails


def forget(account: Account, slot: int) -> None:
    """Drop what has ended and is sealed: ledgers that are settled, their rows, and all rows before `slot`.

    Not what a counter that cannot be read may still add to.
    """
    waiting = account.overdue.waiting
    kept = {ledger.key for blind in waiting for ledger in blind.work.ledgers}
    slot = min([slot, *(piece.slot for blind in waiting for piece in blind.pieces)])
    ended = [key for key, ledger in account.ledgers.items() if ledger.settled and not ledger.dirty and key not in kept]
    for job_id, run in ended:
        ledger = account.ledgers.pop((job_id, run))
        if ledger.source != EPILOG:  # else it is not known to have been here, and may come yet
            account.recent[f"{job_id} {run}"] = (ledger.closed_us or 0) // US_PER_S
    gone = set(ended)
    for key in [k for k, row in account.rows.items() if not row.dirty and (k[2] < slot or k[:2] in gone)]:
        del account.rows[key]
        if key[2] < slot:
            account.last_sealed = max(account.last_sealed, key[2])
