# SPDX-License-Identifier: MIT
"""The tables: what nodes delivered, what Slurm says of the jobs, and the sums of both with their emissions.

Energies are microjoules and times epoch seconds, UTC, as everywhere. Layers, each computed from the ones
before and never the other way: as delivered (`ledger`, `node_job_slot`, `node_slot`), Slurm's record (`job`),
the grid's (`intensity`, `slot_factor`), the sums (`job_slot`), their days (`job_day`), and the roll-ups
(`day_sum`, `site_slot`). A delivered row is replaced only by a higher revision.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from carbon_collector.meters.base import COUNTER, INTEGRATED, SHARED

COUNTED = (COUNTER, INTEGRATED)
"""Methods of energy that was measured and is the job's own by its use."""
METERED = (*COUNTED, SHARED)
"""Methods of energy that was measured. `shared`: a node divided it by what its jobs held, because their use is unknown.
The other methods are `modelled` and `missing`."""

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER PRIMARY KEY by itself
NAME = 255


class Base(DeclarativeBase):
    """Declarative base with one type for every integer: 64 bits."""

    type_annotation_map = {int: BigInteger, str: String(NAME)}  # noqa: RUF012  declared so by SQLAlchemy


class Meta(Base):
    """A fact about the database itself: the time zone of its days, since when it has details, how its sums were made."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]


class Cluster(Base):
    """A cluster whose nodes deliver here."""

    __tablename__ = "cluster"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    polled_until: Mapped[int | None]
    """The time up to which Slurm's record of the jobs is known."""


class Node(Base):
    """A node that has delivered something."""

    __tablename__ = "node"
    __table_args__ = (UniqueConstraint("cluster_id", "name"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    name: Mapped[str]


class Segment(Base):
    """A segment that was stored, and its answer: the same segment gets the same answer again."""

    __tablename__ = "segment"
    name: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    received: Mapped[int]
    accepted: Mapped[int]
    refused: Mapped[str] = mapped_column(Text)
    """JSON list of {"line", "reason"}."""


class Association(Base):
    """The key of a roll-up: Slurm's association (user and account) with partition and QOS."""

    __tablename__ = "association"
    __table_args__ = (Index("association_account", "account"), Index("association_user", "user"))
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    """The SHA-256 of the other columns: unique on every database, also where values are unknown."""
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    uid: Mapped[int | None]
    user: Mapped[str | None]
    account: Mapped[str | None]
    partition: Mapped[str | None]
    qos: Mapped[str | None]


class Job(Base):
    """Slurm's record of one run of a job. A requeue is another run, with another submit time."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("cluster_id", "job_id_raw", "submit"),
        Index("job_leader", "cluster_id", "leader_id"),
        Index("job_association_end", "association_id", "end"),
        Index("job_end", "end"),
    )
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"))
    job_id_raw: Mapped[int]
    job_id: Mapped[str]
    leader_id: Mapped[int]
    """The id before `_` or `+`, of the array or the heterogeneous job; else the job's own."""
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
    """The node-time of the run for which no row was delivered. It lowers the coverage."""
    unmetered_nodes: Mapped[int] = mapped_column(default=0)
    association_id: Mapped[int | None]
    """The row in `association`. It is no foreign key, because SQLite adds none to an existing table."""
    group: Mapped[str | None]
    gid: Mapped[int | None]
    timelimit_s: Mapped[int | None]
    req_cpus: Mapped[int | None]
    req_nodes: Mapped[int | None]
    req_tres: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None]
    comment: Mapped[str | None] = mapped_column(Text)
    workdir: Mapped[str | None] = mapped_column(Text)
    derived_exit_code: Mapped[str | None] = mapped_column(String(32))
    suspended_s: Mapped[int | None]


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
    """The columns of the four components (carbon_collector.meters.base.COMPONENTS); a component that does not concern the row is NULL throughout."""

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
    minutes: Mapped[str | None] = mapped_column(Text)
    """The energies by minute (sums/minutes.py); NULL where the node does not tell them."""


class NodeSlot(Base):
    """A node in one slot, as delivered: what its meters counted, and the part of it that went to no job."""

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
    """The records that a node's stream has lost so far because the spool was full, and the energy that its meters had
    counted of them.
    """

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


class Apart(Base):
    """A delivered row of a job's slot that does not fit what Slurm says of the run, and counts for nobody (sums/fit.py)."""

    __tablename__ = "apart"
    ledger_id: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(String(16))


class NodeTotal(Base):
    """What a node's rows of jobs in one slot say together, over all streams: what the node's ceilings are held to."""

    __tablename__ = "node_total"
    __table_args__ = (Index("node_total_slot", "slot"),)
    node_id: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    jobs: Mapped[int]
    cpu_us: Mapped[int]
    cpu_uj: Mapped[int]
    dram_uj: Mapped[int]
    gpu_uj: Mapped[int]
    other_uj: Mapped[int]


class LateChange(Base):
    """The changes that a node delivered for a month after it was closed: the number of job rows, and by how much their
    energy grew or shrank.
    """

    __tablename__ = "late_change"
    node_id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[int] = mapped_column(primary_key=True)
    """The month's first second, of the site's time zone."""
    jobs: Mapped[int]
    energy_uj: Mapped[int]
    changed_at: Mapped[int]


class FactorSource(Base):
    """The source of an emission factor: a provider's figures for a zone, or a site's contract."""

    __tablename__ = "factor_source"
    __table_args__ = (UniqueConstraint("zone", "provider", "scope", "purpose", "text"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    zone: Mapped[str] = mapped_column(String(64))
    provider: Mapped[str] = mapped_column(String(32))
    text: Mapped[str]
    """The text that people see."""
    scope: Mapped[str] = mapped_column(String(16))
    """`lifecycle` or `direct`."""
    purpose: Mapped[str] = mapped_column(String(16))
    """`location` or `market` (GHG Protocol, scope 2 guidance)."""


class Intensity(Base):
    """A source's carbon intensity in a period. `period_end` NULL means until further notice. The highest revision
    holds.
    """

    __tablename__ = "intensity"
    __table_args__ = (UniqueConstraint("source_id", "period_start", "revision"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("factor_source.id"))
    period_start: Mapped[int]
    period_end: Mapped[int | None]
    g_per_kwh: Mapped[str] = mapped_column(String(64))
    """Decimal text: exact, on every database."""
    estimated: Mapped[bool]
    fetched_at: Mapped[int]
    updated_at: Mapped[int | None]
    """The provider's own time stamp."""
    revision: Mapped[int]


class Forecast(Base):
    """What a source expects of a period: the newest forecast only. It is no factor, and never accounts for a job."""

    __tablename__ = "forecast"
    __table_args__ = (UniqueConstraint("source_id", "period_start"),)
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("factor_source.id"))
    period_start: Mapped[int]
    period_end: Mapped[int]
    g_per_kwh: Mapped[str] = mapped_column(String(64))
    fetched_at: Mapped[int]


class SlotFactor(Base):
    """PUE and emission factors of a zone's slot: a function of the settings and the intensities. The highest revision holds.

    A job's slot names the revision that was applied to it, so what must be recalculated is known whatever is killed when.
    Exact texts, decimals or fractions; the `..._float` only weigh what is shown. NULL: the site states none.
    """

    __tablename__ = "slot_factor"
    __table_args__ = (UniqueConstraint("zone", "slot", "revision"), Index("slot_factor_slot", "slot"))
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    zone: Mapped[str] = mapped_column(String(64))
    slot: Mapped[int]
    revision: Mapped[int]
    pue: Mapped[str] = mapped_column(String(64))
    pue_float: Mapped[float]
    g_per_kwh: Mapped[str] = mapped_column(String(64))
    g_per_kwh_float: Mapped[float]
    source_id: Mapped[int] = mapped_column(ForeignKey("factor_source.id"))
    estimated: Mapped[bool]
    market_g_per_kwh: Mapped[str | None] = mapped_column(String(64))
    market_source_id: Mapped[int | None] = mapped_column(ForeignKey("factor_source.id"))
    upstream_g_per_kwh: Mapped[str | None] = mapped_column(String(64))
    td_g_per_kwh: Mapped[str | None] = mapped_column(String(64))
    computed_at: Mapped[int]


class Sums(Shares):
    """The columns that add up over the slots of a job.

    The components hold what was metered (counter, integrated, shared). What was modelled or estimated is in
    `estimated_uj`. `..._method` is the least certain method in the sum, `missing` where nothing is known.
    """

    cpu_us: Mapped[int | None]
    cpu_alloc_us: Mapped[int | None]
    dram_alloc_us: Mapped[int | None]
    gpu_alloc_us: Mapped[int | None]
    other_alloc_us: Mapped[int | None]
    energy_uj: Mapped[int | None]
    estimated_uj: Mapped[int | None]
    facility_uj: Mapped[int | None]
    carbon_ug: Mapped[int | None]
    market_ug: Mapped[int | None]
    embodied_ug: Mapped[int | None]
    upstream_ug: Mapped[int | None]
    td_ug: Mapped[int | None]
    core_us: Mapped[int | None]
    """CPU time held; `gpu_us`: GPU time held."""
    gpu_us: Mapped[int | None]
    gpu_idle_uj: Mapped[int | None]
    """Energy of GPUs held at idle power; `cpu_unused_uj`: of CPUs held and not used (sums/waste.py)."""
    cpu_unused_uj: Mapped[int | None]
    simulated: Mapped[bool]
    notes: Mapped[str | None] = mapped_column(Text)
    """JSON list of reasons, each `component: text`; NULL if there is nothing to say."""


class JobSlot(Sums, Base):
    """A run of a job in one slot, summed over its nodes and streams, with its emissions."""

    __tablename__ = "job_slot"
    __table_args__ = (Index("job_slot_slot", "slot"), Index("job_slot_factor", "factor_id"))
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    factor_id: Mapped[int] = mapped_column(ForeignKey("slot_factor.id"))
    minutes: Mapped[str | None] = mapped_column(Text)
    """The energies by minute (sums/minutes.py); NULL where they are not known of all nodes."""


class JobDay(Sums, Base):
    """A run of a job in one day of the site: the sums of its slots. It stays when the slots are folded."""

    __tablename__ = "job_day"
    __table_args__ = (Index("job_day_day", "day"),)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    """The first second of the day."""
    sources: Mapped[str] = mapped_column(String(64))
    """The ids of the factor sources that were applied, separated by commas."""
    g_per_kwh_weight: Mapped[float]
    """The sum of energy x intensity, in microjoules x g/kWh: the weight of the mean intensity that is shown."""
    pue_weight: Mapped[float]
    """The sum of energy x PUE."""


class DaySum(Base):
    """The sums of the runs of an association and a state in a day, updated with every job_day.

    `..._jobs` is the number of jobs that have a figure. Where no job has one, the sum is unknown.
    """

    __tablename__ = "day_sum"
    __table_args__ = (Index("day_sum_day", "day"),)
    association_id: Mapped[int] = mapped_column(ForeignKey("association.id"), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Slurm's state of the runs, without `by UID`. Empty: of runs that were pruned before states were kept here."""
    part: Mapped[int] = mapped_column(primary_key=True, server_default="0")
    """0, and further numbers where a figure has more than one row can hold: the figure is the sum of all parts
    (db/large_sums.py).
    """
    jobs: Mapped[int]
    first_jobs: Mapped[int]
    """Of `jobs`, those that have no earlier day."""
    simulated_jobs: Mapped[int]
    cpu_us: Mapped[int]
    cpu_us_jobs: Mapped[int]
    energy_uj: Mapped[int]
    energy_uj_jobs: Mapped[int]
    estimated_uj: Mapped[int]
    estimated_uj_jobs: Mapped[int]
    cpu_uj: Mapped[int]
    cpu_uj_jobs: Mapped[int]
    dram_uj: Mapped[int]
    dram_uj_jobs: Mapped[int]
    gpu_uj: Mapped[int]
    gpu_uj_jobs: Mapped[int]
    other_uj: Mapped[int]
    other_uj_jobs: Mapped[int]
    facility_uj: Mapped[int]
    facility_uj_jobs: Mapped[int]
    carbon_ug: Mapped[int]
    carbon_ug_jobs: Mapped[int]
    market_ug: Mapped[int]
    market_ug_jobs: Mapped[int]
    embodied_ug: Mapped[int]
    embodied_ug_jobs: Mapped[int]
    upstream_ug: Mapped[int]
    upstream_ug_jobs: Mapped[int]
    td_ug: Mapped[int]
    td_ug_jobs: Mapped[int]
    core_us: Mapped[int]
    core_us_jobs: Mapped[int]
    gpu_us: Mapped[int]
    gpu_us_jobs: Mapped[int]
    gpu_idle_uj: Mapped[int]
    gpu_idle_uj_jobs: Mapped[int]
    cpu_unused_uj: Mapped[int]
    cpu_unused_uj_jobs: Mapped[int]


class SiteSlot(Base):
    """A cluster in one slot, as delivered: what the meters of its nodes counted, and where that energy went.

    `..._nodes` is the number of nodes that metered the component. Where no node did, the sums are unknown. `part` as in
    DaySum.
    """

    __tablename__ = "site_slot"
    __table_args__ = (Index("site_slot_slot", "slot"),)
    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True, server_default="0")
    elapsed_us: Mapped[int]
    simulated_nodes: Mapped[int]
    cpu_uj: Mapped[int]
    cpu_jobs_uj: Mapped[int]
    cpu_idle_uj: Mapped[int]
    cpu_system_uj: Mapped[int]
    cpu_nodes: Mapped[int]
    dram_uj: Mapped[int]
    dram_jobs_uj: Mapped[int]
    dram_idle_uj: Mapped[int]
    dram_system_uj: Mapped[int]
    dram_nodes: Mapped[int]
    gpu_uj: Mapped[int]
    gpu_jobs_uj: Mapped[int]
    gpu_idle_uj: Mapped[int]
    gpu_system_uj: Mapped[int]
    gpu_nodes: Mapped[int]
    other_uj: Mapped[int]
    other_jobs_uj: Mapped[int]
    other_idle_uj: Mapped[int]
    other_system_uj: Mapped[int]
    other_nodes: Mapped[int]
