# SPDX-License-Identifier: MIT
"""Reads what a node says of a job: a segment becomes checked records, or a reason why not.

A segment that is torn or foreign is refused as a whole. A bad record is refused by its line number and
does not take the good ones with it. Nothing here knows the database: the same text always gives the
same answer for the same `now`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from carbon_acct.errors import RefusedError
from carbon_collector.units import SLOT_S, US_PER_S

MAX_SEGMENT_BYTES = 8 * 1024 * 1024
CLOCK_SLACK_S = 300
"""A node's clock may be this far ahead of the accounting host's before its slots count as future."""

INT64 = 2**63 - 1
MAX_TIME = 2**40  # seconds; the year 36812, still exact everywhere
MAX_SLOT_US = 2 * SLOT_S * US_PER_S  # twice a slot: a monotonic clock does not tick with a stepped wall clock
CEILING_WATTS = {"cpu": 20_000, "dram": 5_000, "gpu": 50_000, "other": 100_000}
"""No node draws more than this in a component; what claims to is a broken meter or a forged record."""

CEILING_GRACE_S = 60
"""A reading that closes a gap may bring energy of up to so long before the metered time."""

Count = Annotated[int, Field(ge=0, le=INT64)]
Time = Annotated[int, Field(ge=0, le=MAX_TIME)]
Duration = Annotated[int, Field(ge=0, le=MAX_SLOT_US)]
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
    """What a job has of one component in one slot."""

    energy_uj: Count | None = None
    static_uj: Count | None = None
    metered_us: Duration = 0
    method: Method
    reason: Reason | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Share:
        if self.energy_uj is None and self.static_uj is not None:
            raise ValueError("static_uj is given, energy_uj is not")
        if self.energy_uj is not None and self.method == "missing":
            raise ValueError("the component is missing, yet energy_uj is given")
        if (self.static_uj or 0) > (self.energy_uj or 0):
            raise ValueError("static_uj is more than energy_uj")
        return self


class NodeShare(_Record):
    """What the node's meters counted for one component in one slot, and what no job had of it."""

    energy_uj: Count | None = None
    idle_uj: Count | None = None
    system_uj: Count | None = None
    metered_us: Duration = 0
    method: Method
    reason: Reason | None = None

    @model_validator(mode="after")
    def _consistent(self) -> NodeShare:
        if self.energy_uj is None and (self.idle_uj or self.system_uj):
            raise ValueError("idle_uj or system_uj is given, energy_uj is not")
        if self.energy_uj is not None and self.method == "missing":
            raise ValueError("the component is missing, yet energy_uj is given")
        if (self.idle_uj or 0) + (self.system_uj or 0) > (self.energy_uj or 0):
            raise ValueError("idle_uj and system_uj are more than energy_uj")
        return self


class JobSlotRecord(_Record):
    """A job on this node in one slot."""

    type: Literal["job_slot"]
    revision: Revision
    job_id: JobId
    run: Run
    opened: Time
    slot: Time
    alloc_us: Duration
    cpu_us: Count | None = None
    simulated: bool = False
    components: dict[Component, Share]


class NodeSlotRecord(_Record):
    """The node in one slot."""

    type: Literal["node_slot"]
    revision: Revision
    slot: Time
    elapsed_us: Duration
    simulated: bool = False
    components: dict[Component, NodeShare]


Record = LedgerRecord | JobSlotRecord | NodeSlotRecord
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


@dataclass(frozen=True)
class RefusedLine:
    """A record that was not taken, by its line number from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class ParsedSegment:
    """A whole segment: its header, the records that are good, and those that are not."""

    header: Header
    sha256: str
    records: tuple[Record, ...]
    refused: tuple[RefusedLine, ...]


def parse_segment(body: bytes, now: int) -> ParsedSegment:
    """Check a segment. `now` (epoch seconds) bounds its slots. Raises RefusedError 413 or 422 for the whole."""
    if len(body) > MAX_SEGMENT_BYTES:
        raise RefusedError(413, f"the segment has {len(body)} bytes; at most {MAX_SEGMENT_BYTES} are allowed")
    lines = body.split(b"\n")
    if len(lines) < 3 or lines[-1] != b"":
        raise RefusedError(422, "torn segment: it does not end with a whole trailer line")
    header = _header(lines[0])
    _check_trailer(body, lines)
    records: list[Record] = []
    refused: list[RefusedLine] = []
    seen: set[tuple[object, ...]] = set()
    for number, line in enumerate(lines[1:-2], start=2):
        record = _record(line, now)
        if not isinstance(record, str) and _key(record) in seen:
            record = "a second record with the same key in one segment"
        if isinstance(record, str):
            refused.append(RefusedLine(number, record))
            continue
        seen.add(_key(record))
        records.append(record)
    return ParsedSegment(header, hashlib.sha256(body).hexdigest(), tuple(records), tuple(refused))


def _header(line: bytes) -> Header:
    try:
        header = Header.model_validate_json(line)
    except ValidationError as err:
        raise RefusedError(422, f"not a segment: header: {_first(err)}") from err
    if header.version != 1:
        raise RefusedError(
            422, f"record format version {header.version} is not known here (1 is); upgrade the aggregator"
        )
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


def _record(line: bytes, now: int) -> Record | str:
    """The record, or why not."""
    try:
        record = _ADAPTER.validate_json(line)
    except ValidationError as err:
        return _first(err)
    if isinstance(record, LedgerRecord):
        if record.opened > now + CLOCK_SLACK_S:
            return "opened is in the future"
        return record
    return _slot_problem(record, now) or record


def _slot_problem(record: JobSlotRecord | NodeSlotRecord, now: int) -> str:
    if record.slot % SLOT_S:
        return f"slot is not a multiple of {SLOT_S}"
    if record.slot > now + CLOCK_SLACK_S:
        return "slot is in the future"
    for component, share in record.components.items():
        watts = CEILING_WATTS[component]
        ceiling = watts * (share.metered_us + CEILING_GRACE_S * US_PER_S)
        if (share.energy_uj or 0) > ceiling:
            return f"components.{component}.energy_uj: more than {watts} W in the metered time"
    return ""


def _key(record: Record) -> tuple[object, ...]:
    if isinstance(record, LedgerRecord):
        return "ledger", record.job_id, record.run
    if isinstance(record, JobSlotRecord):
        return "job_slot", record.job_id, record.run, record.slot
    return "node_slot", record.slot


def _first(err: ValidationError) -> str:
    """The first thing wrong, in one line, without echoing what a stranger sent."""
    detail = err.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(part) for part in detail["loc"] if part not in ("ledger", "job_slot", "node_slot")]
    message = " ".join(str(detail["msg"]).split()).removeprefix("Value error, ")
    place = "".join(c if c.isprintable() else "?" for c in ".".join(path)[:80])
    return f"{place}: {message}"[:300] if path else message[:300]
