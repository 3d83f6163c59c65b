# SPDX-License-Identifier: MIT
"""Stores segments from files, on the accounting host, for sites without a network path from the nodes.

Whoever may write the database may do this. A segment is checked as strictly as a delivered one, except for who delivers
it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from carbon_acct.access.node import check_cluster
from carbon_acct.delivery.segment import MAX_SEGMENT_BYTES, parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.errors import RefusedError
from carbon_acct.site import Site


@dataclass(frozen=True)
class Outcome:
    """The result for one file: a line for people, and whether all of the file is in the database."""

    line: str
    complete: bool


def ingest_file(site: Site, path: Path) -> Outcome:
    """Store the segment in a file and return the outcome. The file is left as it is. Raises DatabaseError."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_SEGMENT_BYTES + 1)
    except OSError as err:
        return Outcome(f"cannot be read: {err.strerror or err}", complete=False)
    now = int(time.time())
    try:
        segment = parse_segment(body, now)
        check_cluster(segment.header.cluster, site.cluster)
        receipt = site.database.run(lambda session: store_segment(session, segment, site.terms, now))
    except RefusedError as err:
        return Outcome(f"refused: {err}", complete=False)
    if not receipt.refused:
        return Outcome(f"stored, {receipt.accepted} records", complete=True)
    lines = "; ".join(f"line {r.line}: {r.reason}" for r in receipt.refused)
    count = len(receipt.refused)
    return Outcome(f"stored, {receipt.accepted} records; {count} refused: {lines}", complete=False)
