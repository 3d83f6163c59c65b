# SPDX-License-Identifier: MIT
"""The tables: what nodes delivered, what Slurm says of the jobs, and the sums of both with their price.

Energies are microjoules and times epoch seconds, UTC, as everywhere. Three layers, each computed from
the one before and never the other way: as delivered (`ledger`, `node_job_slot`, `node_slot`), Slurm's
record (`job`), and the sums (`job_slot`). A delivered row is replaced only by a higher revision.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

COMPONENTS = ("cpu", "dram", "gpu", "other")
"""What a share can be of. The columns of the tables below carry these names."""

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER PRIMARY KEY by itself
NAME = 255


class Base(DeclarativeBase):
    """Declarative base with one type for every integer: 64 bits."""

    type_annotation_map = {int: BigInteger, str: String(NAME)}  # noqa: RUF012  declared so by SQLAlchemy


class Cluster(Base):
    """A cluster whose nodes deliver here."""

    __tablename__ = "cluster"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    polled_until: Mapped[int | None]
    """Slurm's record of the jobs is known up to here."""


class Node(Base):
    """A node that has delivered something."""

    __tablename__ = "node"
    __table_args__ = (UniqueConstraint("cluster_id", "name"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    name: Mapped[str]


class Segment(Base):
    """A segment that was taken in, and the answer it got: the same segment gets the same answer."""

    __tablename__ = "segment"
    name: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    received: Mapped[int]
    accepted: Mapped[int]
    refused: Mapped[str] = mapped_column(Text)
    """JSON list of {"line", "reason"}."""


class Job(Base):
    """Slurm's record of one run of a job. A requeue is another run, with another submit time."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("cluster_id", "job_id_raw", "submit"),
        Index("job_leader", "cluster_id", "leader_id"),
        Index("job_uid_end", "uid", "end"),
        Index("job_account_end", "account", "end"),
        Index("job_end", "end"),
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    job_id_raw: Mapped[int]
    job_id: Mapped[str]
    leader_id: Mapped[int]
    """The id before `_` or `+`: the array's or the heterogeneous job's; else the job's own."""
    name: Mapped[str] = mapped_column(Text)
    user: Mapped[str | None]
    uid: Mapped[int | None]
    account: Mapped[str | None]
    partition: Mapped[str | None]
    qos: Mapped[str | None]
    state: Mapped[str]
    exit_code: Mapped[str | None]
    restarts: Mapped[int | None]
    sluid: Mapped[str | None]
    submit: Mapped[int]
    eligible: Mapped[int | None]
    start: Mapped[int | None]
    end: Mapped[int | None]
    elapsed_s: Mapped[int | None]
    nnodes: Mapped[int | None]
    ncpus: Mapped[int | None]
    alloc_tres: Mapped[str | None] = mapped_column(Text)
    nodelist: Mapped[str | None] = mapped_column(Text)
    unmetered_us: Mapped[int] = mapped_column(default=0)
    """Node-time of the run for which there is no row at all: it counts against the coverage."""
    unmetered_nodes: Mapped[int] = mapped_column(default=0)


class Ledger(Base):
    """A run of a job on one node in one stream, as delivered; revision 0 while only its slots have come."""

    __tablename__ = "ledger"
    __table_args__ = (
        UniqueConstraint("node_id", "stream", "job_id", "run"),
        Index("ledger_job_id", "cluster_id", "job_id"),
        Index("ledger_matched", "matched_id"),
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id"))
    stream: Mapped[str] = mapped_column(String(8))
    job_id: Mapped[int]
    run: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int]
    opened: Mapped[int]
    closed: Mapped[int | None]
    uid: Mapped[int | None]
    user: Mapped[str | None]
    account: Mapped[str | None]
    partition: Mapped[str | None]
    restart_count: Mapped[int | None]
    het_job_id: Mapped[int | None]
    cpus: Mapped[int | None]
    node_cpus: Mapped[int | None]
    gpus: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str | None] = mapped_column(String(16))
    matched_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))


class Shares:
    """Columns of the four components; a component that does not concern the row is NULL throughout."""

    cpu_uj: Mapped[int | None]
    cpu_static_uj: Mapped[int | None]
    cpu_metered_us: Mapped[int | None]
    cpu_method: Mapped[str | None] = mapped_column(String(16))
    dram_uj: Mapped[int | None]
    dram_static_uj: Mapped[int | None]
    dram_metered_us: Mapped[int | None]
    dram_method: Mapped[str | None] = mapped_column(String(16))
    gpu_uj: Mapped[int | None]
    gpu_static_uj: Mapped[int | None]
    gpu_metered_us: Mapped[int | None]
    gpu_method: Mapped[str | None] = mapped_column(String(16))
    other_uj: Mapped[int | None]
    other_static_uj: Mapped[int | None]
    other_metered_us: Mapped[int | None]
    other_method: Mapped[str | None] = mapped_column(String(16))


class NodeJobSlot(Shares, Base):
    """A job on a node in one slot, as delivered."""

    __tablename__ = "node_job_slot"
    __table_args__ = (Index("node_job_slot_slot", "slot"),)
    ledger_id: Mapped[int] = mapped_column(ForeignKey("ledger.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int]
    alloc_us: Mapped[int]
    cpu_us: Mapped[int | None]
    simulated: Mapped[bool]
    cpu_reason: Mapped[str | None] = mapped_column(Text)
    dram_reason: Mapped[str | None] = mapped_column(Text)
    gpu_reason: Mapped[str | None] = mapped_column(Text)
    other_reason: Mapped[str | None] = mapped_column(Text)


class NodeSlot(Base):
    """A node in one slot, as delivered: what its meters counted, and what no job had of it."""

    __tablename__ = "node_slot"
    __table_args__ = (Index("node_slot_slot", "slot"),)
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int]
    elapsed_us: Mapped[int]
    simulated: Mapped[bool]
    cpu_uj: Mapped[int | None]
    cpu_idle_uj: Mapped[int | None]
    cpu_system_uj: Mapped[int | None]
    cpu_metered_us: Mapped[int | None]
    cpu_method: Mapped[str | None] = mapped_column(String(16))
    cpu_reason: Mapped[str | None] = mapped_column(Text)
    dram_uj: Mapped[int | None]
    dram_idle_uj: Mapped[int | None]
    dram_system_uj: Mapped[int | None]
    dram_metered_us: Mapped[int | None]
    dram_method: Mapped[str | None] = mapped_column(String(16))
    dram_reason: Mapped[str | None] = mapped_column(Text)
    gpu_uj: Mapped[int | None]
    gpu_idle_uj: Mapped[int | None]
    gpu_system_uj: Mapped[int | None]
    gpu_metered_us: Mapped[int | None]
    gpu_method: Mapped[str | None] = mapped_column(String(16))
    gpu_reason: Mapped[str | None] = mapped_column(Text)
    other_uj: Mapped[int | None]
    other_idle_uj: Mapped[int | None]
    other_system_uj: Mapped[int | None]
    other_metered_us: Mapped[int | None]
    other_method: Mapped[str | None] = mapped_column(String(16))
    other_reason: Mapped[str | None] = mapped_column(Text)


class Dropped(Base):
    """What a node's stream has lost so far because the node's spool was full, and what its meters had counted of it."""

    __tablename__ = "dropped"
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(8), primary_key=True)
    revision: Mapped[int]
    records: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    cpu_uj: Mapped[int | None]
    dram_uj: Mapped[int | None]
    gpu_uj: Mapped[int | None]
    other_uj: Mapped[int | None]


class Intensity(Base):
    """Carbon intensity of a zone's electricity in a period; `period_end` NULL: until further notice."""

    __tablename__ = "intensity"
    __table_args__ = (UniqueConstraint("zone", "source", "period_start", "revision"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    zone: Mapped[str]
    period_start: Mapped[int]
    period_end: Mapped[int | None]
    g_per_kwh: Mapped[str] = mapped_column(String(32))
    """Decimal text: exact, on every database."""
    source: Mapped[str]
    scope: Mapped[str] = mapped_column(String(16))
    estimated: Mapped[bool]
    fetched_at: Mapped[int]
    revision: Mapped[int]


class JobSlot(Shares, Base):
    """A run of a job in one slot, summed over its nodes and streams, with its price.

    The components hold what was metered (counter, integrated); what was modelled is in `estimated_uj`.
    `..._method` is the least certain one in the sum, `missing` where nothing is known.
    """

    __tablename__ = "job_slot"
    __table_args__ = (Index("job_slot_slot", "slot"),)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    cpu_us: Mapped[int | None]
    cpu_alloc_us: Mapped[int | None]
    dram_alloc_us: Mapped[int | None]
    gpu_alloc_us: Mapped[int | None]
    other_alloc_us: Mapped[int | None]
    energy_uj: Mapped[int | None]
    estimated_uj: Mapped[int | None]
    simulated: Mapped[bool]
    notes: Mapped[str | None] = mapped_column(Text)
    """JSON list of reasons, each `component: text`; NULL if there is nothing to say."""
    pue: Mapped[str] = mapped_column(String(16))
    intensity_id: Mapped[int] = mapped_column(ForeignKey("intensity.id"))
    carbon_ug: Mapped[int | None]
