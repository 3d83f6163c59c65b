# SPDX-License-Identifier: MIT
"""The rows that queries return to the arithmetic, by the names of their columns.

SQLAlchemy returns rows whose columns no type checker knows. What adds up energies declares here which columns it reads,
so that a misspelt or missing one is found before it runs.
"""

from __future__ import annotations

from typing import Protocol


class LedgerRow(Protocol):
    """A ledger as it was delivered, with its node's name, and the job that it is matched to."""

    id: int
    matched_id: int | None
    node_id: int
    node: str
    opened: int
    closed: int | None
    source: str | None
    cpus: int | None
    node_cpus: int | None
    gpus: str | None
    """JSON list of UUIDs."""


class StoredLedgerRow(LedgerRow, Protocol):
    """A ledger with its key in the stream, and its revision."""

    stream: str
    job_id: int
    run: str
    revision: int


class ExtentRow(Protocol):
    """Where and when a run was, by Slurm's record."""

    start: int | None
    end: int | None
    nodelist: str | None


class GroupRow(Protocol):
    """What of a run says in which roll-up its days are."""

    association_id: int | None
    state: str


class JobRow(Protocol):
    """A run of a job in Slurm's record, with its cluster's name, and what is known of its unmetered time."""

    id: int
    cluster: str
    cluster_id: int
    job_id_raw: int
    partition: str | None
    association_id: int | None
    state: str
    start: int | None
    end: int | None
    nodelist: str | None
    elapsed_s: int | None
    nnodes: int | None
    alloc_tres: str | None
    unmetered_us: int
    unmetered_nodes: int


class EndedJobRow(Protocol):
    """A run that has ended, with the resources that it was allocated."""

    id: int
    cluster_id: int
    partition: str | None
    start: int
    end: int
    state: str
    nnodes: int | None
    ncpus: int | None
    alloc_tres: str | None
    elapsed_s: int | None


class MeasuredJobRow(Protocol):
    """A run without unmetered time; its allocation is known and not 0."""

    id: int
    nnodes: int
    ncpus: int
    alloc_tres: str | None


class DeliveredRow(Protocol):
    """A row of node_job_slot with columns of its ledger; the columns of the components are read by name."""

    matched_id: int
    node_id: int
    opened: int
    closed: int | None
    source: str | None
    cpus: int | None
    node_cpus: int | None
    gpus: str | None
    slot: int
    alloc_us: int
    simulated: bool


class FactorRow(Protocol):
    """A row of slot_factor."""

    id: int
    zone: str
    slot: int
    revision: int
    pue: str
    pue_float: float
    g_per_kwh: str
    g_per_kwh_float: float
    source_id: int
    estimated: bool
    market_g_per_kwh: str | None
    upstream_g_per_kwh: str | None
    td_g_per_kwh: str | None


class UsedSlotRow(Protocol):
    """A slot of a job, by the columns from which its emissions are calculated."""

    job_id: int
    slot: int
    energy_uj: int | None
    estimated_uj: int | None
    factor_id: int
