# SPDX-License-Identifier: MIT
"""Reads what a node says of a job: a segment becomes checked records, or a reason why not.

A segment that is torn or foreign is refused as a whole. A bad record is refused by its line number and
does not take the good ones with it. Nothing here knows the database: the same text always gives the
same answer for the same `now`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from carbon_acct.errors import RefusedError
from carbon_collector.split import apportion
from carbon_collector.units import SLOT_S, US_PER_S

MAX_SEGMENT_BYTES = 8 * 1024 * 1024
SHARE_ADDED = ("energy_uj", "static_uj", "metered_us")
"""What adds up over slots in a share."""
CLOCK_SLACK_S = 2 * 3600
"""How far a node's clock may be ahead of the accounting host's: one that takes local time for UTC is hours off, and what
it counted is right all the same."""

INT64 = 2**63 - 1
MAX_TIME = 2**40  # seconds; the year 36812, still exact everywhere
MAX_SLOT_US = 2 * SLOT_S * US_PER_S  # twice a slot: a monotonic clock does not tick with a stepped wall clock
MAX_SLOTS = 96  # a UTC day of them
MAX_ROWS = 40_000
"""Of one slot each in a segment: 4 KiB of memory each. A node's own compactor makes no more than 22,000."""
MAX_LINES = 100_000
"""Records in a segment. The smallest that means something has 84 bytes."""
MAX_REFUSED = 10_000
"""Records that are named in a receipt, 300 characters each: a node reads no more than 4 MiB of an answer."""
MAX_CPU_US = 2**46
"""In a slot: two years of a CPU. What a node of 256 of them used in three days may come with one reading, and the rows
of 100,000 nodes add up to less than 64 bits."""
MAX_DROPPED = 2**40
"""Records. No node makes so many, and 8 million streams of them add up to less than 64 bits."""
CEILING_WATTS = {"cpu": 20_000, "dram": 5_000, "gpu": 50_000, "other": 100_000}
"""No node draws more than this in a component; what claims to is a broken meter or a forged record."""

CEILING_GRACE_S = 60
"""A reading that closes a gap may bring energy of up to so long before the metered time."""

Count = Annotated[int, Field(ge=0, le=INT64)]
Time = Annotated[int, Field(ge=0, le=MAX_TIME)]
Duration = Annotated[int, Field(ge=0, le=MAX_SLOT_US)]
Durations = Annotated[int, Field(ge=0, le=MAX_SLOTS * MAX_SLOT_US)]
Id = Annotated[int, Field(ge=0, le=2**32 - 1)]
JobId = Annotated[int, Field(ge=1, le=2**32 - 1)]
Revision = Annotated[int, Field(ge=1, le=INT64)]
Word = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Run = Annotated[
    str, StringConstraints(pattern=r"^(sluid:[0-9A-Za-z]{1,32}|(start|seen):[0-9]{1,12}|restart:[0-9]{1,6})$")
]
Reason = Annotated[str, StringConstraints(pattern=r"^[^\x00]{0,1000}$")]
Method = Literal["counter", "integrated", "modelled", "missing"]
Component = Literal["cpu", "dram", "gpu", "other"]


class _Record(BaseModel):
    """Strict: a bool is no integer, a string no number; fields that are not known are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


R = TypeVar("R", bound=_Record)


class Header(_Record):
    """Who wrote the segment, and its place in the stream."""

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
        """The segment's file name: unique for ever."""
        return f"{self.node}.{self.boot_id}.{self.stream}.{self.sequence:08d}.jsonl"


class _Trailer(_Record):
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
    cpus: Id | None = None
    node_cpus: Id | None = None
    gpus: Annotated[list[Word], Field(max_length=64)] = []
    source: Literal["prolog", "epilog", "cgroup"] | None = None


class Share(_Record):
    """What a job has of one component in the slots of its row."""

    energy_uj: Count | None = None
    static_uj: Count | None = None
    metered_us: Durations = 0
    method: Method
    reason: Reason | None = None

    def problem(self) -> str:
        """Where its figures contradict each other; pydantic would take longer to ask than to check all the rest."""
        if self.energy_uj is None:
            return "" if self.static_uj is None else "static_uj is given, energy_uj is not"
        if self.method == "missing":
            return "the component is missing, yet energy_uj is given"
        return "static_uj is more than energy_uj" if (self.static_uj or 0) > self.energy_uj else ""


class NodeShare(_Record):
    """What the node's meters counted for one component in one slot, and what no job had of it."""

    energy_uj: Count | None = None
    idle_uj: Count | None = None
    system_uj: Count | None = None
    metered_us: Duration = 0
    method: Method
    reason: Reason | None = None

    def problem(self) -> str:
        """Where its figures contradict each other."""
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
        """A figure that its slots have no room for."""
        if self.alloc_us > self.slots * MAX_SLOT_US:
            return "alloc_us is longer than its slots"
        return "cpu_us is more than any node has in its slots" if (self.cpu_us or 0) > self.slots * MAX_CPU_US else ""

    def each(self) -> list[JobSlotRecord]:
        """A row for each of its slots, with an even part of its figures; what does not divide goes to the first ones."""
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
    """Copies, each with an even part of these figures; what is not known is so in all of them."""
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
    """What this stream of the node has lost so far because its spool was full: records, and what the meters had counted."""

    type: Literal["dropped"]
    revision: Revision
    rows: Annotated[int, Field(ge=0, le=MAX_DROPPED)]
    since: Time
    until: Time
    energy_uj: dict[Component, Count]


Record = LedgerRecord | JobSlotRecord | NodeSlotRecord | DroppedRecord
SLOTTED = (JobSlotRecord, NodeSlotRecord)
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


KINDS = (
    ("in the future", "future"),
    ("older than", "past"),
    (" W in the metered time", "ceiling"),
    ("more than any node", "ceiling"),
    ("longer than its slots", "ceiling"),
    ("multiple of", "slot"),
    ("two days", "slot"),
    ("same key", "twice"),
    ("speaks of more than", "too_many"),
)


def kind_of(reason: str) -> str:
    """The class of the reason for which a record was refused, as /metrics counts it; `format` where it says no other."""
    return next((kind for part, kind in KINDS if part in reason), "format")


@dataclass(frozen=True)
class RefusedLine:
    """A record that was not taken, by its line number from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class ParsedSegment:
    """A whole segment: its header, the records that are good, and those that are not.

    `records` has one for each slot, `lines` the line of each; `accepted` counts the lines.
    """

    header: Header
    sha256: str
    records: tuple[Record, ...]
    lines: tuple[int, ...]
    oldest: int
    """No slot of it is before this; MAX_TIME where it has none."""
    refused: tuple[RefusedLine, ...]
    accepted: int

    def kept(self, since: int) -> ParsedSegment:
        """Without the lines of slots before `since` (epoch seconds), of which delivered rows are no longer kept.

        Whether lines have the same key, or are too many, was judged before. Raises RefusedError 422 for the whole.
        """
        if self.oldest >= since:
            return self
        pairs = list(zip(self.lines, self.records, strict=True))
        old = {line for line, record in pairs if isinstance(record, SLOTTED) and record.slot < since}
        refused = [*self.refused, *(RefusedLine(line, "slot is older than the rows that are kept") for line in old)]
        refused.sort(key=attrgetter("line"))
        _check_refused(refused)
        left = [(line, record) for line, record in pairs if line not in old]
        return replace(
            self,
            records=tuple(record for _, record in left),
            lines=tuple(line for line, _ in left),
            oldest=since,
            refused=tuple(refused),
            accepted=self.accepted - len(old),
        )


def parse_segment(body: bytes, now: int) -> ParsedSegment:
    """Check a segment. `now` (epoch seconds) bounds its slots. Raises RefusedError 413 or 422 for the whole."""
    if len(body) > MAX_SEGMENT_BYTES:
        raise RefusedError(413, f"the segment has {len(body)} bytes; at most {MAX_SEGMENT_BYTES} are allowed")
    if body.count(b"\n") > MAX_LINES + 2:
        raise RefusedError(413, f"the segment has more than {MAX_LINES} records")
    lines = body.split(b"\n")
    if len(lines) < 3 or lines[-1] != b"":
        raise RefusedError(422, "torn segment: it does not end with a whole trailer line")
    header = _header(lines[0])
    _check_trailer(body, lines)
    records: list[Record] = []
    numbers: list[int] = []
    oldest = MAX_TIME
    refused: list[RefusedLine] = []
    seen: set[tuple[object, ...]] = set()
    for number, line in enumerate(lines[1:-2], start=2):
        found = _records(line, now)
        if not isinstance(found, str):
            keys = list(map(_key, found))
            if not seen.isdisjoint(keys):
                found = "a second record with the same key in one segment"
            elif len(records) + len(found) > MAX_ROWS:
                found = f"with it the segment speaks of more than {MAX_ROWS} slots of jobs and node"
        if isinstance(found, str):
            refused.append(RefusedLine(number, found))
            _check_refused(refused)
            continue
        seen.update(keys)
        records += found
        numbers += [number] * len(found)
        first = found[0]
        if isinstance(first, SLOTTED) and first.slot < oldest:
            oldest = first.slot
    accepted = len(lines) - 3 - len(refused)
    sha256 = hashlib.sha256(body).hexdigest()
    return ParsedSegment(header, sha256, tuple(records), tuple(numbers), oldest, tuple(refused), accepted)


def _check_refused(refused: Sequence[RefusedLine]) -> None:
    if len(refused) > MAX_REFUSED:
        raise RefusedError(422, f"more than {MAX_REFUSED} of its records are bad, the first: {refused[0].reason}")


def _header(line: bytes) -> Header:
    try:
        header = Header.model_validate_json(line)
    except ValidationError as err:
        raise RefusedError(422, f"not a segment: header: {_first(err)}") from err
    if header.version != 1:
        reason = f"record format version {header.version} is not known here (1 is); upgrade the aggregator"
        raise RefusedError(422, reason, "version")
    return header


def _check_trailer(body: bytes, lines: list[bytes]) -> None:
    try:
        trailer = _Trailer.model_validate_json(lines[-2])
    except ValidationError as err:
        raise RefusedError(422, f"torn segment: trailer: {_first(err)}") from err
    covered = body[: len(body) - len(lines[-2]) - 1]
    if hashlib.sha256(covered).hexdigest() != trailer.sha256:
        raise RefusedError(422, "torn segment: its checksum does not fit")
    if trailer.rows != len(lines) - 3:
        raise RefusedError(422, f"torn segment: the trailer counts {trailer.rows} records, there are {len(lines) - 3}")


def _records(line: bytes, now: int) -> Sequence[Record] | str:
    """The record, one for each of its slots, or why not."""
    try:
        record = _ADAPTER.validate_json(line)
    except ValidationError as err:
        return _first(err)
    if isinstance(record, LedgerRecord):
        return "opened is in the future" if record.opened > now + CLOCK_SLACK_S else [record]
    if isinstance(record, DroppedRecord):
        return [record]
    problem = _slot_problem(record, now)
    if problem or isinstance(record, NodeSlotRecord):
        return problem or [record]
    return record.each()


def _slot_problem(record: JobSlotRecord | NodeSlotRecord, now: int) -> str:
    slots = 1
    if isinstance(record, JobSlotRecord):
        slots = record.slots
        if problem := record.problem():
            return problem
    if record.slot % SLOT_S:
        return f"slot is not a multiple of {SLOT_S}"
    if record.slot + (slots - 1) * SLOT_S > now + CLOCK_SLACK_S:
        return "slot is in the future"
    if record.slot // SLOT_S % MAX_SLOTS + slots > MAX_SLOTS:
        return "its slots are of two days of UTC"
    for component, share in record.components.items():
        if problem := share.problem():
            return f"components.{component}: {problem}"
        if share.metered_us > slots * MAX_SLOT_US:
            return f"components.{component}.metered_us is longer than its slots"
        watts = CEILING_WATTS[component]
        if (share.energy_uj or 0) > watts * (share.metered_us + CEILING_GRACE_S * US_PER_S):
            return f"components.{component}.energy_uj: more than {watts} W in the metered time"
    return ""


def _key(record: Record) -> tuple[object, ...]:
    if isinstance(record, LedgerRecord):
        return "ledger", record.job_id, record.run
    if isinstance(record, JobSlotRecord):
        return "job_slot", record.job_id, record.run, record.slot
    return (record.type, record.slot) if isinstance(record, NodeSlotRecord) else (record.type,)


def _first(err: ValidationError) -> str:
    """The first thing wrong, in one line, without echoing what a stranger sent."""
    detail = err.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(part) for part in detail["loc"] if part not in ("ledger", "job_slot", "node_slot", "dropped")]
    message = " ".join(str(detail["msg"]).split())
    if detail["type"] == "union_tag_invalid":  # pydantic's own message quotes the tag
        message = "type: not a record that is known"
    place = "".join(c if c.isprintable() else "?" for c in ".".join(path)[:80])
    return f"{place}: {message}"[:300] if path else message[:300]
