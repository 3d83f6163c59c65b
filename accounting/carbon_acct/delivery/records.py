# SPDX-License-Identifier: MIT
"""The records of a segment (docs/record-format.md): which fields there are, and what each may hold.

What a record may say beside other records, or at a given time, is checked by `segment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from carbon_collector.apportion import apportion
from carbon_collector.units import SLOT_S, US_PER_S

SHARE_ADDED = ("energy_uj", "static_uj", "metered_us")
"""The figures of a share that add up over slots."""
INT64 = 2**63 - 1
MAX_TIME = 2**40  # seconds; the year 36812, still exact everywhere
MAX_SLOT_US = 2 * SLOT_S * US_PER_S  # twice a slot: a monotonic clock does not tick with a stepped wall clock
MAX_SLOTS = 96  # a UTC day of them
MAX_CPU_US = 2**46
"""The CPU time in a slot: two years of one CPU. One reading can bring what a node of 256 CPUs used in three days, and
the rows of 100,000 nodes add up to less than 64 bits.
"""
MAX_DROPPED = 2**40
"""The number of dropped records. No node makes as many, and 8 million streams of them add up to less than 64 bits."""
Count = Annotated[int, Field(ge=0, le=INT64)]
Time = Annotated[int, Field(ge=0, le=MAX_TIME)]
Duration = Annotated[int, Field(ge=0, le=MAX_SLOT_US)]
Durations = Annotated[int, Field(ge=0, le=MAX_SLOTS * MAX_SLOT_US)]
Id = Annotated[int, Field(ge=0, le=2**32 - 1)]
Cpus = Annotated[int, Field(ge=0, le=2**16 - 1)]
"""The number of CPUs of a node. Slurm keeps it in 16 bits (slurm.h, node_info_t)."""
JobId = Annotated[int, Field(ge=1, le=2**32 - 1)]
Revision = Annotated[int, Field(ge=1, le=INT64)]
Word = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Run = Annotated[
    str, StringConstraints(pattern=r"^(sluid:[0-9A-Za-z]{1,32}|(start|seen):[0-9]{1,12}|restart:[0-9]{1,6})$")
]
Reason = Annotated[str, StringConstraints(pattern=r"^[^\x00]{0,1000}$")]
Method = Literal["counter", "integrated", "shared", "modelled", "missing"]
Component = Literal["cpu", "dram", "gpu", "other"]


class _Record(BaseModel):
    """The base of all records. It is strict: a bool is no integer and a string no number. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


R = TypeVar("R", bound=_Record)


class Header(_Record):
    """The node that wrote the segment, and the segment's place in the stream."""

    type: Literal["segment"]
    version: int
    cluster: Name
    node: Name
    boot_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]
    stream: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    sequence: Annotated[int, Field(ge=1, le=INT64)]
    created: Time

    @property
    def name(self) -> str:
        """Return the segment's file name, which is unique for ever."""
        return f"{self.node}.{self.boot_id}.{self.stream}.{self.sequence:08d}.jsonl"


class Trailer(_Record):
    """The end of a segment: the number of records, and the SHA-256 of all that precedes it."""

    type: Literal["end"]
    rows: Count
    sha256: str


class LedgerRecord(_Record):
    """A run of a job on this node."""

    type: Literal["ledger"]
    revision: Revision
    job_id: JobId
    run: Run
    opened: Time
    closed: Time | None = None
    uid: Id | None = None
    user: Word | None = None
    account: Word | None = None
    partition: Word | None = None
    restart_count: Id | None = None
    het_job_id: Id | None = None
    cpus: Cpus | None = None
    node_cpus: Cpus | None = None
    gpus: Annotated[list[Word], Field(max_length=64)] = []
    source: Literal["prolog", "epilog", "cgroup"] | None = None


class Share(_Record):
    """A job's share of one component in the slots of its row. `minute_uj` may be anything: sums/minutes.py checks it, and a
    row whose minutes are wrong is stored without them.
    """

    energy_uj: Count | None = None
    static_uj: Count | None = None
    metered_us: Durations = 0
    method: Method
    reason: Reason | None = None
    minute_uj: Any = None

    def problem(self) -> str:
        """Return where the figures contradict each other, or an empty text. A validator of pydantic's would take longer
        than all other checks.
        """
        if self.energy_uj is None:
            return "" if self.static_uj is None else "static_uj is given, energy_uj is not"
        if self.method == "missing":
            return "the component is missing, yet energy_uj is given"
        return "static_uj is more than energy_uj" if (self.static_uj or 0) > self.energy_uj else ""


class NodeShare(_Record):
    """The energy that a node's meters counted for one component in one slot, and the parts of it that no job has."""

    energy_uj: Count | None = None
    idle_uj: Count | None = None
    system_uj: Count | None = None
    metered_us: Duration = 0
    method: Method
    reason: Reason | None = None

    def problem(self) -> str:
        """Return where the figures contradict each other, or an empty text."""
        rest_uj = (self.idle_uj or 0) + (self.system_uj or 0)
        if self.energy_uj is None:
            return "idle_uj or system_uj is given, energy_uj is not" if rest_uj else ""
        if self.method == "missing":
            return "the component is missing, yet energy_uj is given"
        return "idle_uj and system_uj are more than energy_uj" if rest_uj > self.energy_uj else ""


class JobSlotRecord(_Record):
    """A job on this node in one slot, or in `slots` of them that a full spool made one row of."""

    type: Literal["job_slot"]
    revision: Revision
    job_id: JobId
    run: Run
    opened: Time
    slot: Time
    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 1
    alloc_us: Durations
    cpu_us: Count | None = None
    simulated: bool = False
    components: dict[Component, Share]

    def problem(self) -> str:
        """Return which figure exceeds what its slots can hold, or an empty text."""
        if self.alloc_us > self.slots * MAX_SLOT_US:
            return "alloc_us is longer than its slots"
        return "cpu_us is more than any node has in its slots" if (self.cpu_us or 0) > self.slots * MAX_CPU_US else ""

    def each(self) -> list[JobSlotRecord]:
        """Return a row for each of the record's slots with an even part of its figures. The first ones get what does
        not divide.
        """
        if self.slots == 1:
            return [self]
        shares = {name: _spread(share, SHARE_ADDED, self.slots) for name, share in self.components.items()}
        rows = _spread(self, ("alloc_us", "cpu_us"), self.slots)
        return [row.model_copy(update=self._at(i, shares)) for i, row in enumerate(rows)]

    def _at(self, i: int, shares: dict[Component, list[Share]]) -> dict[str, object]:
        return {
            "slot": self.slot + i * SLOT_S,
            "slots": 1,
            "components": {name: each[i] for name, each in shares.items()},
        }


def _spread(record: R, names: Iterable[str], slots: int) -> list[R]:
    """Return copies, each with an even part of these figures. A figure that is not known is unknown in all of them."""
    parts = {name: _even(getattr(record, name), slots) for name in names}
    return [record.model_copy(update={name: part[i] for name, part in parts.items()}) for i in range(slots)]


def _even(amount: int | None, slots: int) -> Sequence[int | None]:
    return [None] * slots if amount is None else apportion(amount, [1] * slots)


class NodeSlotRecord(_Record):
    """The node in one slot."""

    type: Literal["node_slot"]
    revision: Revision
    slot: Time
    elapsed_us: Duration
    simulated: bool = False
    components: dict[Component, NodeShare]


class DroppedRecord(_Record):
    """The records, and the metered energy of them, that this stream of the node has lost so far because its spool was
    full.
    """

    type: Literal["dropped"]
    revision: Revision
    rows: Annotated[int, Field(ge=0, le=MAX_DROPPED)]
    since: Time
    until: Time
    energy_uj: dict[Component, Count]


Record = LedgerRecord | JobSlotRecord | NodeSlotRecord | DroppedRecord
SLOTTED = (JobSlotRecord, NodeSlotRecord)
"""The records that belong to a slot."""
