# SPDX-License-Identifier: MIT
"""Makes records of what has changed in the node's books, in batches that each fit a segment. No I/O."""

from __future__ import annotations

from ..lean.typing import TYPE_CHECKING, NamedTuple
from .rows import JobRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .books import Books
    from .ledger import Ledger
    from .minutes import Values
    from .rows import NodeRow

MAX_LEDGERS = 1000
"""Most ledgers in a batch. A segment has at most 8 MiB, a ledger at most 6 KiB (names of 255 characters, escaped)."""
MAX_ROWS = 4000
"""Most rows in a batch; a row has at most 1.4 KiB."""
BY_MINUTE = "minute_uj"
"""Name of the field of a share that has its energy by minute."""
MAX_ROWS_BY_MINUTE = 3000
"""The same where rows have minutes, which take at most 0.9 KiB more."""


class Batch(NamedTuple):
    """The contents of one segment. `minutes` has the energies by minute of those rows that are complete."""

    ledgers: list[Ledger]
    rows: Sequence[JobRow | NodeRow]
    minutes: dict[tuple[int, str, int], dict[str, Values]]

    def records(self, revision: int, node_cpus: int) -> Iterator[dict[str, Any]]:
        """Make the records as docs/record-format.md describes them, one at a time: all of them would take memory."""
        for ledger in self.ledgers:
            yield ledger.record(revision, node_cpus)
        for row in self.rows:
            record = row.record(revision)
            if self.minutes and isinstance(row, JobRow):
                for name, values in self.minutes.get(row.key, {}).items():
                    record["components"][name][BY_MINUTE] = values
            yield record

    def sealed(self) -> None:
        """Mark the contents as sealed: only what changes from now on is sealed again."""
        for ledger in self.ledgers:
            ledger.dirty = False
        for row in self.rows:
            row.dirty = False


def batches(books: Books, slot: int = 0) -> list[Batch]:
    """Return what has changed since it was last sealed. Ledgers come before the rows of their jobs.

    A row has its minutes only when it is complete, because a running job's row is sealed twice a minute: `slot` is the one
    before which all rows are. A row that has become complete without another change is therefore sealed once more.
    """
    complete: set[tuple[int, str, int]] = set()
    if books.minutes is not None:
        complete = {key for key, row in books.job_rows.items() if books.is_complete(row, slot)}
    ledgers = [ledger for ledger in books.ledgers.values() if ledger.dirty]
    rows: list[JobRow | NodeRow] = [row for row in books.node_rows.values() if row.dirty]
    rows += [row for key, row in books.job_rows.items() if row.dirty or key in complete]
    most = MAX_ROWS
    minutes: dict[tuple[int, str, int], dict[str, Values]] = {}
    if books.minutes is not None:
        most = MAX_ROWS_BY_MINUTE
        minutes = {key: books.minutes.of(books.job_rows[key]) for key in complete}
    heads = [Batch(ledgers[i : i + MAX_LEDGERS], [], {}) for i in range(0, len(ledgers), MAX_LEDGERS)]
    tails = [Batch([], rows[i : i + most], minutes) for i in range(0, len(rows), most)]
    if len(heads) == len(tails) == 1 and len(ledgers) + len(rows) <= MAX_LEDGERS:
        return [Batch(ledgers, rows, minutes)]
    return heads + tails
