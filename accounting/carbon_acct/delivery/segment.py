# SPDX-License-Identifier: MIT
"""Reads a segment: turns its text into checked records, or into the reason why it is refused.

A segment that is torn or foreign is refused as a whole. A bad record is refused by its line number, and the good ones
are kept. Nothing here knows the database: the same text gives the same result for the same `now`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from carbon_acct.delivery.records import (
    MAX_SLOT_US,
    MAX_SLOTS,
    MAX_TIME,
    SLOTTED,
    DroppedRecord,
    Header,
    JobSlotRecord,
    LedgerRecord,
    NodeSlotRecord,
    Record,
    Trailer,
)
from carbon_acct.errors import RefusedError
from carbon_acct.estimates.arithmetic import CEILING_WATTS
from carbon_collector.units import SLOT_S, US_PER_S

MAX_SEGMENT_BYTES = 8 * 1024 * 1024
CLOCK_SLACK_S = 2 * 3600
"""The time in seconds by which a node's clock may be ahead of the accounting host's. A clock that takes local time for
UTC is hours off, and what the node counted is right all the same.
"""

MAX_ROWS = 40_000
"""The number of rows, of one slot each, in a segment; each takes 4 KiB of memory. A node's own compactor makes no more
than 22,000.
"""
MAX_LINES = 100_000
"""The number of records in a segment. The smallest record that means something has 84 bytes."""
MAX_REFUSED = 10_000
"""The number of refused records in a receipt, of 300 characters each. A node reads no more than 4 MiB of an answer."""
CEILING_GRACE_S = 60
"""The time in seconds before the metered time of which a reading that closes a gap may bring energy."""

Kind = Literal["format", "ceiling", "future", "past", "slot", "twice", "too_many"]
"""The kinds of refusal, which are the labels of /metrics (docs/http-api.md)."""


class Refusal(NamedTuple):
    """Why a record is not taken: the kind of refusal, and the reason in one line."""

    kind: Kind
    reason: str


_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])

PRUNED = Refusal("past", "slot is older than the rows that are kept")
"""The refusal of a slot whose delivered rows may have been pruned."""


@dataclass(frozen=True)
class RefusedLine:
    """A record that was not taken: its line number from 1, the kind of refusal as /metrics counts it, and the reason."""

    line: int
    kind: Kind
    reason: str


@dataclass(frozen=True)
class ParsedSegment:
    """A whole segment: its header, its good records, and the refused lines.

    A line that covers several slots gives one record for each of them. `records` holds those records, and `lines` the
    line number of each record. `accepted` is the number of lines that were taken.
    """

    header: Header
    sha256: str
    records: tuple[Record, ...]
    lines: tuple[int, ...]
    oldest: int
    """The first slot of the segment; MAX_TIME where it has none."""
    refused: tuple[RefusedLine, ...]
    accepted: int
    is_part: bool = False
    """It is stored without a receipt: the rest of the segment comes after it."""

    def refusing(self, lines: Collection[RefusedLine]) -> ParsedSegment:
        """Return the segment with these lines refused as well, and without their records."""
        new = {line.line: line for line in lines}
        refused = sorted([*self.refused, *new.values()], key=attrgetter("line"))
        return replace(self, refused=tuple(refused), accepted=self.accepted - len(new)) if new else self

    def parts(self, most: int) -> list[ParsedSegment]:
        """Yield the segment in pieces of at most this many records. The last one has the receipt."""
        starts = range(0, max(1, len(self.records)), most)
        return [
            replace(
                self,
                records=self.records[at : at + most],
                lines=self.lines[at : at + most],
                is_part=at != starts[-1],
            )
            for at in starts
        ]

    def kept(self, since: int) -> ParsedSegment:
        """Return the segment without the lines of slots before `since` (epoch seconds), of which delivered rows are no
        longer kept.

        Duplicate keys and too many records were refused before. Raises RefusedError 422 for the whole segment.
        """
        if self.oldest >= since:
            return self
        pairs = list(zip(self.lines, self.records, strict=True))
        old = {line for line, record in pairs if isinstance(record, SLOTTED) and record.slot < since}
        refused = [*self.refused, *(RefusedLine(line, *PRUNED) for line in old)]
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


class ManyRowsError(Exception):
    """The segment has more rows than the caller accepts at once."""


def parse_segment(body: bytes, now: int, rows: int = MAX_ROWS) -> ParsedSegment:
    """Check a segment. `now` (epoch seconds) bounds its slots.

    Raises RefusedError 413 or 422 for the whole; ManyRowsError for one of more than `rows`, where they are fewer than
    MAX_ROWS.
    """
    if len(body) > MAX_SEGMENT_BYTES:
        raise RefusedError(413, f"the segment has {len(body)} bytes; at most {MAX_SEGMENT_BYTES} are allowed")
    if body.count(b"\n") > MAX_LINES + 2:
        raise RefusedError(413, f"the segment has more than {MAX_LINES} records")
    lines = body.split(b"\n")
    if len(lines) < 3 or lines[-1] != b"":
        raise RefusedError(422, "torn segment: it does not end with a whole trailer line")
    header = parse_header(lines[0])
    _check_trailer(body, lines)
    records: list[Record] = []
    numbers: list[int] = []
    oldest = MAX_TIME
    refused: list[RefusedLine] = []
    seen: set[tuple[object, ...]] = set()
    for number, line in enumerate(lines[1:-2], start=2):
        outcome = _records(line, now)
        if not isinstance(outcome, Refusal):
            keys = list(map(_key, outcome))
            if not seen.isdisjoint(keys):
                outcome = Refusal("twice", "a second record with the same key in one segment")
            elif len(records) + len(outcome) > rows < MAX_ROWS:
                raise ManyRowsError
            elif len(records) + len(outcome) > MAX_ROWS:
                reason = f"with it the segment has more than {MAX_ROWS} slots of jobs and nodes"
                outcome = Refusal("too_many", reason)
        if isinstance(outcome, Refusal):
            refused.append(RefusedLine(number, *outcome))
            _check_refused(refused)
            continue
        seen.update(keys)
        records += outcome
        numbers += [number] * len(outcome)
        first = outcome[0]
        if isinstance(first, SLOTTED) and first.slot < oldest:
            oldest = first.slot
    accepted = len(lines) - 3 - len(refused)
    sha256 = hashlib.sha256(body).hexdigest()
    return ParsedSegment(header, sha256, tuple(records), tuple(numbers), oldest, tuple(refused), accepted)


def _check_refused(refused: Sequence[RefusedLine]) -> None:
    if len(refused) > MAX_REFUSED:
        raise RefusedError(422, f"more than {MAX_REFUSED} of its records are bad, the first: {refused[0].reason}")


def parse_header(line: bytes) -> Header:
    """Return the header, the first line of a segment. Raises RefusedError 422."""
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
        trailer = Trailer.model_validate_json(lines[-2])
    except ValidationError as err:
        raise RefusedError(422, f"torn segment: trailer: {_first(err)}") from err
    covered = body[: len(body) - len(lines[-2]) - 1]
    if hashlib.sha256(covered).hexdigest() != trailer.sha256:
        raise RefusedError(422, "torn segment: its checksum does not fit")
    if trailer.rows != len(lines) - 3:
        raise RefusedError(422, f"torn segment: the trailer counts {trailer.rows} records, there are {len(lines) - 3}")


def _records(line: bytes, now: int) -> Sequence[Record] | Refusal:
    """Return the record of a line as a list, or why it is refused. A record of several slots is split into one for each
    slot.
    """
    try:
        record = _ADAPTER.validate_json(line)
    except ValidationError as err:
        return Refusal("format", _first(err))
    if isinstance(record, LedgerRecord):
        latest = now + CLOCK_SLACK_S
        which = "opened" if record.opened > latest else "closed" if (record.closed or 0) > latest else ""
        return Refusal("future", f"{which} is in the future") if which else [record]
    if isinstance(record, DroppedRecord):
        return [record]
    problem = _slot_problem(record, now)
    if problem or isinstance(record, NodeSlotRecord):
        return problem or [record]
    return record.each()


def _slot_problem(record: JobSlotRecord | NodeSlotRecord, now: int) -> Refusal | None:
    slots = 1
    if isinstance(record, JobSlotRecord):
        slots = record.slots
        if problem := record.problem():
            return Refusal("ceiling", problem)
    if record.slot % SLOT_S:
        return Refusal("slot", f"slot is not a multiple of {SLOT_S}")
    if record.slot + (slots - 1) * SLOT_S > now + CLOCK_SLACK_S:
        return Refusal("future", "slot is in the future")
    if record.slot // SLOT_S % MAX_SLOTS + slots > MAX_SLOTS:
        return Refusal("slot", "its slots lie in two days of UTC")
    for component, share in record.components.items():
        if problem := share.problem():
            return Refusal("format", f"components.{component}: {problem}")
        if share.metered_us > slots * MAX_SLOT_US:
            return Refusal("ceiling", f"components.{component}.metered_us is longer than its slots")
        watts = CEILING_WATTS[component]
        if (share.energy_uj or 0) > watts * (share.metered_us + CEILING_GRACE_S * US_PER_S):
            reason = f"components.{component}.energy_uj: more than {watts} W in the metered time"
            return Refusal("ceiling", reason)
    return None


def _key(record: Record) -> tuple[object, ...]:
    if isinstance(record, LedgerRecord):
        return "ledger", record.job_id, record.run
    if isinstance(record, JobSlotRecord):
        return "job_slot", record.job_id, record.run, record.slot
    return (record.type, record.slot) if isinstance(record, NodeSlotRecord) else (record.type,)


def _first(err: ValidationError) -> str:
    """Return the first error in one line, without echoing what a stranger sent."""
    detail = err.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(part) for part in detail["loc"] if part not in ("ledger", "job_slot", "node_slot", "dropped")]
    message = " ".join(str(detail["msg"]).split())
    if detail["type"] == "union_tag_invalid":  # pydantic's own message quotes the tag
        message = "type: not a record that is known"
    place = "".join(c if c.isprintable() else "?" for c in ".".join(path)[:80])
    return f"{place}: {message}"[:300] if path else message[:300]
