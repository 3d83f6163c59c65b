# SPDX-License-Identifier: MIT
"""`carbon-mgr unmatched`: lists what nodes delivered for jobs that Slurm does not know, and says why."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible, width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from carbon_collector.settings import Settings

    from .. import Parser

COLUMNS = ("Cluster", "Node", "JobID", "Run", "User", "Account", "Opened", "Closed", "Joules", "Why")
RIGHT = ("JobID", "Joules")
EXPLAINED = {
    "waiting": "waiting: Slurm has not reported it yet, and is asked about it every ten minutes",
    "purged": "purged: it is older than what slurmdbd keeps (PurgeJobAfter)",
    "never knew": "never knew: Slurm was asked about it by JobID, and knows no such run",
}

ASK_TIMEOUT_S = 60.0
"""Twice as long as the aggregator lets a query run."""


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("unmatched", help="what nodes delivered of jobs that Slurm does not know, and why")
    p.add_argument("--json", action="store_true", help="the aggregator's answers as they are")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    ledgers = _all(settings.load(options.config))
    if options.json:
        print(json.dumps({"unmatched": ledgers}, indent=2))
        return 0
    for line in _table(sorted(ledgers, key=lambda one: (one["opened"], one["node"], one["job_id"]))):
        print(line)
    return 0


def _all(config: Settings) -> list[dict[str, Any]]:
    """Return the ledgers of all pages."""
    from ...client.request import ask

    url = ""
    ledgers: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        url, answer = ask(config, "GET", f"/v1/unmatched?after={after}", ASK_TIMEOUT_S, url)
        ledgers += answer["unmatched"]
        after = answer.get("next")
    return ledgers


def _table(ledgers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each ledger, and an explanation of each reason that occurs. Nothing is yielded where there are
    no ledgers.
    """
    if not ledgers:
        return
    cells = [list(COLUMNS), *([visible(cell) for cell in _cells(ledger)] for ledger in ledgers)]
    widths = [max(width(row[i]) for row in cells) for i in range(len(COLUMNS))]
    for row in cells:
        padded = (_padded(name, cell, size) for name, cell, size in zip(COLUMNS, row, widths, strict=True))
        yield "  ".join(padded).rstrip()
    yield ""
    yield from (text for why, text in EXPLAINED.items() if any(ledger["why"] == why for ledger in ledgers))


def _cells(ledger: Mapping[str, Any]) -> Iterator[str]:
    from carbon_acct.client.units import joules

    yield from (ledger["cluster"], ledger["node"], str(ledger["job_id"]), ledger["run"])
    yield from (ledger["user"] or "", ledger["account"] or "")
    yield from (_local(ledger["opened"]), _local(ledger["closed"]))
    yield "" if ledger["energy_uj"] is None else joules(ledger["energy_uj"])
    yield ledger["why"]


def _local(at: int | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at))


def _padded(name: str, cell: str, size: int) -> str:
    blanks = " " * (size - width(cell))
    return blanks + cell if name in RIGHT else cell + blanks
