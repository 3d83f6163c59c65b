# SPDX-License-Identifier: MIT
"""Makes records of what has changed in the node's books, in batches that each fit a segment. No I/O."""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .books import Books
    from .ledger import Ledger
    from .rows import JobRow, NodeRow

MAX_LEDGERS = 1000
"""Most ledgers in a batch. A segment has at most 8 MiB, a ledger at most 6 KiB (names of 255 characters, escaped)."""
MAX_ROWS = 4000
"""Most rows in a batch; a row has at most 1.4 KiB."""


class Batch(NamedTuple):
    """The contents of one segment."""

    ledgers: list[Ledger]
    rows: Sequence[JobRow | NodeRow]

    def records(self, revision: int, node_cpus: int) -> Iterator[dict[str, Any]]:
        """Make the records as docs/record-format.md describes them, one at a time: all of them would take memory."""
        for ledger in self.ledgers:
            yield ledger.record(revision, node_cpus)
        for row in self.rows:
            yield row.record(revision)

    def sealed(self) -> None:
        """Mark the contents as sealed: only what changes from now on is sealed again."""
        for ledger in self.ledgers:
            ledger.dirty = False
        for row in self.rows:
            row.dirty = False


def batches(books: Books) -> list[Batch]:
    """Return what has changed since it was last sealed. Ledgers come before the rows of their jobs."""
    ledgers = [ledger for ledger in books.ledgers.values() if ledger.dirty]
    rows: list[JobRow | NodeRow] = [row for row in books.node_rows.values() if row.dirty]
    rows += [row for row in books.job_rows.values() if row.dirty]
    heads = [Batch(ledgers[i : i + MAX_LEDGERS], []) for i in range(0, len(ledgers), MAX_LEDGERS)]
    tails = [Batch([], rows[i : i + MAX_ROWS]) for i in range(0, len(rows), MAX_ROWS)]
    if len(heads) == len(tails) == 1 and len(ledgers) + len(rows) <= MAX_LEDGERS:
        return [Batch(ledgers, rows)]
    return heads + tails
