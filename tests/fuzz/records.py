# SPDX-License-Identifier: MIT
"""The record reader under a coverage-guided fuzzer: `python tests/fuzz/records.py CORPUS -max_total_time=60`.

`check` is the property; the corpus is replayed by it as ordinary tests.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).parents[1]))

from accounting.samples import NOW, header
from carbon_acct.delivery.records import JobSlotRecord, NodeSlotRecord
from carbon_acct.delivery.segment import (
    CEILING_GRACE_S,
    CLOCK_SLACK_S,
    MAX_ROWS,
    Kind,
    ParsedSegment,
    parse_segment,
)
from carbon_acct.errors import RefusedError
from carbon_acct.estimates.arithmetic import CEILING_WATTS
from carbon_collector.units import SLOT_S, US_PER_S

KINDS = get_args(Kind)


def check(data: bytes) -> None:
    """As a body it is refused or read; as the records of a whole segment it is read, and every line has its fate."""
    _read(data)
    lines = data.split(b"\n")
    segment = _read(_whole(lines))
    if segment is None:
        return
    assert segment.accepted + len(segment.refused) == len(lines)
    assert len(segment.records) <= MAX_ROWS
    for refused in segment.refused:
        assert 2 <= refused.line <= len(lines) + 1
        assert refused.reason
        assert refused.reason.isprintable()
        assert refused.kind in KINDS
    for record in segment.records:
        if isinstance(record, JobSlotRecord | NodeSlotRecord):
            _check_slot(record)


def _read(body: bytes) -> ParsedSegment | None:
    """The segment, or nothing where it is refused as a whole, with a status and a reason."""
    try:
        return parse_segment(body, NOW)
    except RefusedError as err:
        refusal = err
    assert refusal.status in (413, 422)
    assert str(refusal).isprintable()
    return None


def _check_slot(record: JobSlotRecord | NodeSlotRecord) -> None:
    """What is taken can be: no energy below 0, above its ceiling or beyond 64 bits, no slot off the grid or to come."""
    assert record.slot % SLOT_S == 0
    assert 0 <= record.slot <= NOW + CLOCK_SLACK_S
    for name, share in record.components.items():
        ceiling = CEILING_WATTS[name] * (share.metered_us + CEILING_GRACE_S * US_PER_S)
        assert 0 <= (share.energy_uj or 0) <= ceiling < 2**63


def _whole(lines: list[bytes]) -> bytes:
    head = b"".join(line + b"\n" for line in (json.dumps(header()).encode(), *lines))
    end = {"type": "end", "rows": len(lines), "sha256": hashlib.sha256(head).hexdigest()}
    return head + json.dumps(end).encode() + b"\n"


def main() -> None:
    """Fuzz until the time is over, or until something is found."""
    import atheris

    from carbon_acct.delivery import segment

    for name in ("_records", "_slot_problem", "_key", "_first"):
        setattr(segment, name, atheris.instrument_func(getattr(segment, name)))
    segment.parse_segment = atheris.instrument_func(parse_segment)
    atheris.instrument_func(check)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
