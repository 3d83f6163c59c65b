# SPDX-License-Identifier: MIT
"""Segments: what is torn is refused whole, what is bad by its line, and the good is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import MINUTE_US, NOW, SLOT, job_slot, ledger, node_share, node_slot, segment, share, trailer
from carbon_acct.delivery.segment import MAX_SEGMENT_BYTES, parse_segment
from carbon_acct.errors import RefusedError

GOOD = [ledger(), job_slot(), node_slot()]
DAY_S = 86_400


def refused(row: Any) -> str:
    """Why this record is refused, between two good ones that are not."""
    parsed = parse_segment(segment([ledger(), row, node_slot()]), NOW)
    assert len(parsed.records) == 2
    assert [r.line for r in parsed.refused] == [3]
    return parsed.refused[0].reason


def test_good_segment() -> None:
    """A segment as the format describes it is taken whole, and named as its file."""
    parsed = parse_segment(segment(GOOD), NOW)
    assert [r.type for r in parsed.records] == ["ledger", "job_slot", "node_slot"]
    assert not parsed.refused
    assert parsed.header.name == "n1.b0-07.00c0ffee.00000001.jsonl"


def test_unknown_fields_are_ignored() -> None:
    """A newer collector may say more."""
    assert not parse_segment(segment([ledger(colour="red")], moon="full"), NOW).refused


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_torn(cut: int) -> None:
    """A segment that lost its end is refused whole, wherever it broke off."""
    whole = segment(GOOD)
    with pytest.raises(RefusedError, match="torn segment") as err:
        parse_segment(whole[:-cut], NOW)
    assert err.value.status == 422


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_bit(at: int, bit: int) -> None:
    """No bit of a segment can change and the segment still be taken as a good one."""
    whole = bytearray(segment(GOOD))
    whole[at % len(whole)] ^= 1 << bit
    with pytest.raises(RefusedError):
        parse_segment(bytes(whole), NOW)


@given(st.binary(max_size=400))
def test_nonsense(body: bytes) -> None:
    """Any bytes at all are refused with a reason, never with a fault."""
    with pytest.raises(RefusedError):
        parse_segment(body, NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_nonsense_record(row: Any) -> None:
    """Any JSON in a record's place is refused by its number, and does not take the good ones with it."""
    assert refused(json.dumps(row).encode())


def test_row_count() -> None:
    """A trailer that counts other than there are records is refused."""
    head = segment(GOOD).rsplit(b"\n", 2)[0] + b"\n"
    with pytest.raises(RefusedError, match="counts 4 records, there are 3"):
        parse_segment(head + trailer(head, 4), NOW)


def test_version() -> None:
    """An unknown version is refused, and says which is known."""
    with pytest.raises(RefusedError, match="version 2 is not known"):
        parse_segment(segment(GOOD, version=2), NOW)


def test_too_large() -> None:
    """A segment above the format's size is refused as too large."""
    with pytest.raises(RefusedError) as err:
        parse_segment(b" " * (MAX_SEGMENT_BYTES + 1), NOW)
    assert err.value.status == 413


@pytest.mark.parametrize("name", ["../../etc", "n1\n", "n 1", "", "é"])
def test_header_names(name: str) -> None:
    """Names that could leave a folder or break a line are no names of nodes."""
    with pytest.raises(RefusedError, match="node"):
        parse_segment(segment(GOOD, node=name), NOW)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "JSON"),
        (b'{"type":"job_slot","revision":NaN}', "."),
        (b"[" * 5000, "."),
        (job_slot(type="tea"), "type"),
        (job_slot(slot=SLOT + 1), "multiple of 900"),
        (job_slot(slot=SLOT + 900 * 200), "future"),
        (job_slot(slot=-900), "slot"),
        (ledger(opened=NOW + 7300), "future"),
        (job_slot(job_id=True), "job_id"),
        (job_slot(job_id="7"), "job_id"),
        (job_slot(job_id=7.0), "job_id"),
        (job_slot(revision=2**63), "revision"),
        (job_slot(cpu_us=2**46 + 1), "cpu_us"),
        (job_slot(cpu_us=2**63 - 1, slots=2), "cpu_us"),
        (job_slot(revision=10**4000), "."),
        (job_slot(revision=0), "revision"),
        (job_slot(run="restart:-1"), "run"),
        (job_slot(run="start:1\n"), "run"),
        (job_slot(simulated=1), "simulated"),
        (job_slot(alloc_us=None), "alloc_us"),
        (job_slot(alloc_us=-1), "alloc_us"),
        (job_slot(alloc_us=3 * 900_000_000), "alloc_us"),
        (job_slot({"cpu": share(-1)}), "energy_uj"),
        (job_slot({"cpu": share(2**70)}), "energy_uj"),
        (job_slot({"cpu": share(20_000 * 121 * 10**6)}), "20000 W"),
        (job_slot({"gpu": share(50_000 * 121 * 10**6)}), "50000 W"),
        (job_slot({"cpu": share(10, static_uj=11)}), "static_uj is more"),
        (job_slot({"cpu": share(None, static_uj=1)}), "static_uj is given"),
        (job_slot({"cpu": share(1, method="missing")}), "missing"),
        (job_slot({"cpu": share(1, method="guessed")}), "method"),
        (job_slot({"disk": share()}), "disk"),
        (job_slot({"cpu": 5}), "cpu"),
        (node_slot({"cpu": node_share(10, 6, 5)}), "more than energy_uj"),
        (
            node_slot({"cpu": node_share(0, 6, 5) | {"energy_uj": None}}),
            "components.cpu: idle_uj or system_uj is given",
        ),
        (node_slot({"cpu": node_share(20_000 * 961 * 10**6, 0, 0)}), "20000 W"),
        (ledger(user="a\x00b"), "user"),
        (ledger(user="a\nb"), "user"),
        (ledger(gpus=["x"] * 65), "gpus"),
        (ledger(source="moon"), "source"),
    ],
)
def test_bad_record(row: Any, reason: str) -> None:
    """A bad record is refused by its line with a reason in one line; its neighbours are taken."""
    said = refused(row)
    assert reason in said or reason == "."
    assert said.isprintable()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (b"{", "format"),
        (job_slot({"cpu": share(10, static_uj=11)}), "format"),
        (job_slot(slot=SLOT + 1), "slot"),
        (job_slot(slot=SLOT - SLOT % DAY_S + DAY_S - 900, slots=2), "slot"),
        (job_slot(slot=SLOT + 900 * 200), "future"),
        (ledger(opened=NOW + 7300), "future"),
        (job_slot(alloc_us=2 * 900_000_000 + 1), "ceiling"),
        (job_slot({"cpu": share(20_000 * 121 * 10**6)}), "ceiling"),
        (ledger(), "twice"),
    ],
)
def test_kind_of_refusal(row: Any, kind: str) -> None:
    """Each refused line carries the kind under which /metrics counts it, whatever its reason says."""
    assert parse_segment(segment([ledger(), row, node_slot()]), NOW).refused[0].kind == kind


def test_rows_that_were_pruned_are_past() -> None:
    """A line before the oldest kept slot is refused as `past`, and its neighbours stay."""
    parsed = parse_segment(segment(GOOD), NOW).kept(SLOT + 900)
    assert [line.kind for line in parsed.refused] == ["past", "past"]
    assert parsed.accepted == 1


def test_reason_does_not_echo() -> None:
    """What a stranger wrote is not printed back at whoever reads the log."""
    assert "\x1b" not in refused(json.dumps(job_slot({"\x1b[31m": share()})).encode())


def test_twice_in_one_segment() -> None:
    """Two records with one key in a segment have no order: the second is refused."""
    assert "same key" in refused(ledger())


def test_catch_up_energy_is_no_absurdity() -> None:
    """Energy that a late reading brings to a slot is not taken for a broken meter."""
    row = job_slot({"cpu": share(400 * 10**6, metered_us=MINUTE_US // 60)})
    assert not parse_segment(segment([row]), NOW).refused


DAY = SLOT - SLOT % 86_400
ROWS = st.one_of(
    st.builds(lambda at, slots: {"slot": DAY + 900 * at, "slots": slots}, st.integers(0, 40), st.integers(1, 8)),
    st.just(b"rubbish"),
    st.just(None),
)
"""Rows of jobs, what is no record, and ledgers, which have no slot."""


@given(st.lists(ROWS, max_size=12), st.integers(0, 50))
def test_slots_that_are_kept_no_more(rows: list[Any], after: int) -> None:
    """Lines of older slots are refused by their numbers, beside those that are bad; the rest is as if they were not there."""
    since = DAY + 900 * after
    lines = [
        row if isinstance(row, bytes) else job_slot(job_id=at + 1, **row) if row else ledger(job_id=at + 1)
        for at, row in enumerate(rows)
    ]
    parsed = parse_segment(segment(lines), 2**39)
    kept = parsed.kept(since)
    gone = [at for at, line in enumerate(lines) if line == b"rubbish" or (rows[at] and line["slot"] < since)]

    assert [r.line for r in kept.refused] == [at + 2 for at in gone]
    assert kept.accepted == len(lines) - len(gone)
    assert kept.records == parse_segment(segment([x for at, x in enumerate(lines) if at not in gone]), 2**39).records
    assert kept.kept(since) is kept
    assert parsed.kept(0) is parsed


def test_too_many_slots_that_are_kept_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt has no room to name them all."""
    parsed = parse_segment(segment([job_slot(job_id=at) for at in (1, 2, 3)]), NOW)
    monkeypatch.setattr("carbon_acct.delivery.segment.MAX_REFUSED", 2)
    with pytest.raises(RefusedError, match="more than 2 of its records are bad, the first: slot is older") as err:
        parsed.kept(SLOT + 1)
    assert err.value.status == 422
