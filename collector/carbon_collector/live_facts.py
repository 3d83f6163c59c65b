# SPDX-License-Identifier: MIT
"""Computes what a live file says of a job: the sums of its rows so far, as docs/record-format.md, "Live energy", has
them. No I/O.
"""

from __future__ import annotations

from .attribution.rows import JobRow
from .lean.typing import TYPE_CHECKING
from .live import component

if TYPE_CHECKING:
    from typing import Any

    from .attribution.books import Books
    from .attribution.ledger import Ledger

NO_USER = (1 << 32) - 1
"""The first number that is no user id (chown(2))."""


def live_facts(books: Books, node: str) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return user id and facts of each job that is here and whose user is known, by JobID."""
    rows: dict[tuple[int, str], list[JobRow]] = {}
    for row in books.job_rows.values():
        rows.setdefault((row.job_id, row.run), []).append(row)
    found = {}
    for ledger in books.open_ledgers():
        if ledger.job.uid is not None and ledger.job.uid < NO_USER:
            facts = _facts(books, ledger, _sum(ledger, rows.get(ledger.key, [])), node)
            found[str(ledger.job.job_id)] = (ledger.job.uid, facts)
    return found


def _sum(ledger: Ledger, rows: list[JobRow]) -> JobRow:
    """Return what the rows come to, with those that were sealed and forgotten. One row alone is the sum."""
    if len(rows) == 1 and ledger.past is None:
        return rows[0]
    total = JobRow(ledger.job.job_id, ledger.job.run, 0, 0)
    for row in [*([ledger.past] if ledger.past else []), *sorted(rows, key=lambda row: row.slot)]:
        total.merge(row)
    return total


def _facts(books: Books, ledger: Ledger, total: JobRow, node: str) -> dict[str, Any]:
    parts = {}
    for name in books.components_of(ledger):
        share = total.component(name)
        parts[name] = component(
            share.energy_uj, share.static_uj, share.metered_us, total.alloc_us, share.method, share.reason
        )
    return {
        "cluster": books.cluster,
        "node": node,
        "job_id": ledger.job.job_id,
        "run": ledger.job.run,
        "time_us": books.last.wall_us if books.last else ledger.opened_us,
        "begin_us": ledger.opened_us,
        "held_us": total.alloc_us,
        "simulated": total.simulated,
        "components": parts,
    }
