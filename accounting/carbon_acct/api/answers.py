# SPDX-License-Identifier: MIT
"""Defines the answers of the API, as OpenAPI describes them. It fills them in, and asks for nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from carbon_acct.delivery.store import Receipt
from carbon_acct.queries.jobs import JobRecord
from carbon_acct.queries.totals import Balance, Conservation
from carbon_acct.queries.unmatched import UnmatchedLedger


@dataclass(frozen=True)
class ErrorAnswer:
    """The reason why a request was refused, in one line."""

    detail: str


@dataclass(frozen=True)
class RefusedLineAnswer:
    """A record that was not taken: its line number from 1, and the reason."""

    line: int
    reason: str


@dataclass(frozen=True)
class ReceiptAnswer:
    """The answer to a segment: its name, the number of records that were taken, and the refused lines."""

    segment: str
    accepted: int
    refused: list[RefusedLineAnswer]
    credential: str
    """A credential over the segment's digest, made by the aggregator's user. A node believes no receipt without it."""


@dataclass(frozen=True)
class JobsAnswer:
    """A page of jobs, and warnings about it."""

    jobs: list[JobRecord]
    warnings: list[str]
    next: str | None
    """The value of `after` for the next page; null on the last page."""


@dataclass(frozen=True)
class BalanceAnswer:
    """A balance in decimal strings: a site's microjoules exceed what a JSON number holds exactly."""

    metered_uj: str
    jobs_uj: str
    idle_uj: str
    system_uj: str
    difference_uj: str


@dataclass(frozen=True)
class DroppedAnswer:
    """What nodes dropped because their spools were full. Energies are upper bounds, in decimal strings. `apart` is what
    they say they lost and cannot have had.
    """

    nodes: int
    records: int
    energy_uj: str
    apart_records: int
    apart_energy_uj: str


@dataclass(frozen=True)
class SlurmAnswer:
    """The state of the poll of Slurm: the source of its records, the time of the last successful poll, and the error
    since then.
    """

    cluster: str
    source: str
    polled_at: int | None
    error: str
    sees_all: bool
    """Whether the aggregator's own user may see all jobs, whatever Slurm's PrivateData hides."""
    behind_s: int
    """The length in seconds of the time up to now that no poll has covered yet."""


@dataclass(frozen=True)
class SilentAnswer:
    """Slurm's nodes that do not deliver: the number that never did, the number without a slot in the last day, and the
    names of the first ones.
    """

    never: int
    never_nodes: list[str]
    day: int
    day_nodes: list[str]


@dataclass(frozen=True)
class GridAnswer:
    """The state of one provider of intensities. `refused` says what was left out of its last answer."""

    zone: str
    provider: str
    text: str
    fetched_at: int | None
    error: str
    refused: str = ""


@dataclass(frozen=True)
class ApartAnswer:
    """Delivered rows that count for no job, because they do not fit Slurm's record of it. The energy is a decimal
    string.

    `reason`: `node` (not in the job's NodeList), `time` (not within its start and end), `node_time` (longer than it
    ran), `ceiling` (with them the job has more in a slot than any job).
    """

    reason: str
    rows: int
    energy_uj: str


@dataclass(frozen=True)
class LateAnswer:
    """The changes that a node delivered for a month after the month was closed: the number of job rows, and the
    difference in energy, which may be negative.
    """

    cluster: str
    node: str
    month: int
    """The first second of the month."""
    rows: int
    energy_uj: str
    changed_at: int


@dataclass(frozen=True)
class StatusAnswer:
    """The state of the accounting."""

    version: str
    database: str
    zone: str
    jobs: int
    nodes: int
    segments: int
    unmatched: int
    time: int
    """The time of the aggregator's clock."""
    last_slot: int | None
    """The newest slot that any node delivered."""
    silent: SilentAnswer
    dropped: DroppedAnswer
    apart: list[ApartAnswer]
    late: list[LateAnswer]
    """The newest changes to closed months."""
    slurm: SlurmAnswer
    grid: list[GridAnswer]
    settings: dict[str, str]
    """The settings that the aggregator runs with and that change figures, by `[section] key`."""
    simulated: bool
    conservation: dict[str, BalanceAnswer]


@dataclass(frozen=True)
class UnmatchedAnswer:
    """A page of unmatched ledgers: Slurm has no run of their jobs."""

    unmatched: list[UnmatchedLedger]
    next: int | None
    """The value of `after` for the next page; null on the last page."""


@dataclass(frozen=True)
class SyncAnswer:
    """The result of a poll of Slurm that somebody asked for: the number of jobs that were new or different."""

    jobs_changed: int


@dataclass(frozen=True)
class Health:
    """The answer of a healthy aggregator."""

    status: str = "ok"


def receipt_answer(receipt: Receipt, credential: str) -> ReceiptAnswer:
    """Return a receipt as a node reads it. It leaves out the kinds of refusal, which are for /metrics."""
    refused = [RefusedLineAnswer(line.line, line.reason) for line in receipt.refused]
    return ReceiptAnswer(receipt.segment, receipt.accepted, refused, credential)


def balances(found: Conservation) -> dict[str, BalanceAnswer]:
    """Return the balance of each component."""
    return {name: _balance(b) for name, b in found.components.items()}


def _balance(b: Balance) -> BalanceAnswer:
    return BalanceAnswer(str(b.metered_uj), str(b.jobs_uj), str(b.idle_uj), str(b.system_uj), str(b.difference_uj))
