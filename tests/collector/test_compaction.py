# SPDX-License-Identifier: MIT
"""A full spool: nothing is lost while time can be made coarser, nothing is counted twice whatever arrives, and what is
dropped is counted.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.delivery.records import DroppedRecord, JobSlotRecord, LedgerRecord, NodeSlotRecord
from carbon_acct.delivery.segment import MAX_ROWS
from carbon_collector.log import Log
from carbon_collector.spool import coarsen
from carbon_collector.spool.sealer import Sealer
from carbon_collector.spool.segment import Header, Spare, segment
from carbon_collector.spool.spool import Spool

from .history import FAST, KIB, SLOT, START, History, Node, Store, live_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["time"] * 12 + ["flush"] * 6 + ["open", "open", "close", "ship", "leak", "fly", "crash", "stream"]
        ),
        st.integers(0, 1000),
    ),
    min_size=60,
    max_size=400,
)


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder that is soon synced."""
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        yield Path(folder)


@pytest.mark.slow
@given(OPS, st.sampled_from([8, 12, 24, 48]), st.randoms(use_true_random=False))
def test_whatever_arrives_the_totals_stay(ops: list[tuple[str, int]], kib: int, chance: random.Random) -> None:
    """Segments compacted at any point, acknowledged or not, delivered in any order and often: until something is dropped
    the totals are the truth; and each slot always adds up.
    """
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        history = History(Path(folder), kib * KIB)
        history.run(ops)
        node, store = history.node, history.store
        complete = node.flush()
        lost = node.lost()
        rest = node.segments() * 2
        rest += [] if lost["rows"] else chance.sample(node.sealed, len(node.sealed) // 2)
        chance.shuffle(rest)
        for body in rest:
            store.take(body)

    assert store.differences() == {}
    if complete and not lost["rows"]:
        assert store.node_uj() == node.counted
        assert store.had() == {key: uj for key, uj in node.had.items() if uj}
    if complete and not history.leaked:
        # Of a slot that is dropped an earlier version may have been delivered.
        assert all(uj + lost["energy_uj"][name] >= node.counted[name] for name, uj in store.node_uj().items())
        assert store.lost() == lost


@pytest.mark.slow
def test_a_full_spool_loses_nothing_while_time_can_be_coarser(fast: Path) -> None:
    """Two days of 8 jobs in a fifth of the room: each job has its joules, each slot adds up, and nothing is dropped."""
    node = live_of(8, 2 * 96, fast, 128 * KIB)
    store = Store()
    for body in node.segments():
        store.take(body)

    assert sum(map(len, node.sealed)) > 5 * 128 * KIB
    assert node.spool.size() <= 128 * KIB
    assert node.lost()["rows"] == 0
    assert store.had() == node.had
    assert store.node_uj() == node.counted
    assert store.differences() == {}
    assert len({row.slot for row in store.of(NodeSlotRecord)}) == 2 * 96


def kinds(node: Node) -> list[tuple[str, int]]:
    """Type and length in slots of every record in the spool."""
    lines = [coarsen.read(line) for body in node.segments() for line in body.split(b"\n")[1:-2]]
    return [(line.kind, line.slots) for line in lines]


@pytest.mark.slow
def test_what_is_superseded_goes_first(fast: Path) -> None:
    """Thirty segments a slot: their last versions are kept as they are, a row a slot."""
    node = live_of(8, 40, fast, 300 * KIB, flushes=30)
    store = Store()
    for body in node.segments():
        store.take(body)

    assert sum(map(len, node.sealed)) > 10 * 300 * KIB
    assert {slots for kind, slots in kinds(node) if kind == "job_slot"} == {1}
    assert (store.had(), store.node_uj(), store.differences()) == (node.had, node.counted, {})


def test_what_is_dropped_is_told(fast: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Far too little room: the newest is there, the oldest is not, a record and the log say how much that was."""
    node = live_of(8, 6 * 96, fast, 64 * KIB)
    store = Store()
    for body in node.segments():
        store.take(body)
    slots = {row.slot for row in store.of(NodeSlotRecord)}
    [told] = store.of(DroppedRecord)

    assert node.spool.size() <= 64 * KIB
    assert max(slots) == START + 6 * 96 * SLOT
    assert told.until == min(slots) > START + SLOT
    assert told.since == START + SLOT
    assert store.lost() == node.lost()
    assert {name: uj + told.energy_uj[name] for name, uj in store.node_uj().items()} == node.counted
    assert store.differences() == {}
    said = capfd.readouterr().err.splitlines()
    assert len([line for line in said if "made coarser" in line]) == 1
    assert sum(int(line.split()[5]) for line in said if "are dropped" in line) == told.rows


def test_short_jobs_leave_with_their_ledgers(fast: Path) -> None:
    """A node of short jobs cannot be made coarser: the oldest jobs go whole, and the spool never fills with their names."""
    node = Node(fast, 64 * KIB)
    for _ in range(400):
        job_id = node.open()
        node.interval(300)
        node.close(job_id)
        assert node.flush()
    store = Store()
    for body in node.segments():
        store.take(body)
    ledgers = {row.job_id for row in store.of(LedgerRecord)}

    assert {row.job_id for row in store.of(JobSlotRecord)} <= ledgers
    assert min(ledgers) > 100
    assert max(ledgers) == 400
    assert store.differences() == {}


def test_too_little_room_for_anything(fast: Path) -> None:
    """What is there stays, rows wait in memory, and leave when there is room."""
    node = Node(fast, 300)
    node.open()
    for _ in range(5):
        node.interval(SLOT)
        assert not node.flush()
    assert node.lost()["rows"] == 0
    node.spool.limit_bytes = 64 * KIB
    assert node.flush()
    store = Store()
    store.take(node.segments()[0])
    node.spool.limit_bytes = 300
    node.interval(SLOT)

    assert (store.had(), store.node_uj()) != (node.had, node.counted)
    assert not node.flush()
    assert len(node.segments()) == 1


def test_what_flies_or_is_torn_stays(fast: Path) -> None:
    """A segment on its way, a torn one and another's file are left as they are; the rest makes room."""
    node = live_of(8, 10, fast, 1024 * KIB)
    folder = Path(node.spool.folder)
    flying, torn = node.spool.segments()[:2]
    (folder / torn).write_bytes((folder / torn).read_bytes()[:-300])
    (folder / "notes.jsonl").write_text("a person's\n")
    left = {name: (folder / name).read_bytes() for name in (flying, torn, "notes.jsonl")}
    node.spool.limit_bytes = 64 * KIB
    node.spool.fly(flying)
    for _ in range(96):
        node.interval(SLOT)
        assert node.flush()
    found = {name: (folder / name).read_bytes() for name in left}

    assert left == found
    assert node.spool.size() <= 64 * KIB


FOREIGN = [
    b"[]",
    b"[" * 100_000,
    b'{"type":"job_slot","revision":1,"slot":900,"job_id":[1]}',
    b'{"type":"job_slot","revision":1,"slot":"x"}',
    b'{"type":"job_slot","revision":1,"slot":900,"slots":-5}',
    b'{"type":"node_slot","revision":"1","slot":900,"components":{}}',
    b'{"type":"node_slot","revision":1,"slot":900,"components":{"cpu":{}}}',
    b'{"type":"node_slot","revision":1,"slot":900,"components":[]}',
    b'{"type":"ledger","revision":1,"job_id":1,"run":"r","closed":"never"}',
    b'{"type":"dropped","revision":1,"rows":"many"}',
]


@pytest.mark.slow
@pytest.mark.parametrize("line", FOREIGN)
def test_what_no_collector_wrote_stops_none(line: bytes, fast: Path) -> None:
    """Whole segments of another stream with a line that means nothing: left to the aggregator, and the rest makes room."""
    node = live_of(8, 10, fast, 1024 * KIB)
    header = Header("c", "n", "b", "0" * 8)
    row = json.dumps({"type": "ledger", "revision": 1, "job_id": 1, "run": "r", "closed": 5, "pad": "x" * 800}).encode()
    for n in range(1, 16):
        name, data = segment(header, n, 1, [line, row])
        (Path(node.spool.folder) / name).write_bytes(data)
        os.utime(Path(node.spool.folder) / name, (n, n))
    node.spool.limit_bytes = 64 * KIB + (1700 * KIB if len(line) > KIB else 0)
    for _ in range(96):
        node.interval(SLOT)
        assert node.flush()

    assert node.spool.size() <= node.spool.limit_bytes


def test_a_segment_has_no_more_slots_than_are_taken(fast: Path) -> None:
    """Of merged rows a few kilobytes speak of ten thousand slots: they are joined only as far as an aggregator goes."""
    spool = Spool(str(fast), 2 << 20)
    header = Header("c", "n", "b", "0" * 8)
    day = {"type": "job_slot", "run": "restart:0", "opened": 1, "slot": START, "slots": 96, "alloc_us": 5}
    for n, (jobs, copies) in enumerate([(100, 200), (400, 1)], 1):
        rows = [{**day, "job_id": n * 1000 + job, "revision": n, "components": {}} for job in range(jobs)]
        old = [{**day, "slots": 1, "job_id": n * 1000, "revision": r, "components": {}} for r in range(copies)]
        spool.add(*segment(header, n, 1, [json.dumps(record).encode() for record in [*rows, *old]]))
    assert len(spool.segments()) == 2
    (fast / "person.jsonl").write_bytes(bytes(spool.limit_bytes - spool.size()))
    numbers = iter(range(10, 1000))
    spare = Spare("1" * 8, 0, lambda: (next(numbers),) * 2, 1, Log(str(fast / "log")))
    Sealer(spool).seal(header._replace(stream="1" * 8), 1, [], spare)
    (fast / "person.jsonl").unlink()
    found = [[coarsen.read(line) for line in spool.read(name).split(b"\n")[1:-2]] for name in spool.segments()]

    assert sum(len(lines) for lines in found) < 701  # it was compacted
    assert max(sum(line.slots for line in lines) for lines in found) <= MAX_ROWS


@pytest.mark.slow
def test_many_small_segments_become_few(fast: Path) -> None:
    """Also where there is room: listing them costs time at every attempt to ship."""
    node = live_of(1, 12, fast, 1 << 30, flushes=100)

    assert len(node.sealed) == 1200
    assert len(node.spool.segments()) < 1024
    store = Store()
    for body in node.segments():
        store.take(body)
    assert (store.had(), store.node_uj(), store.differences()) == (node.had, node.counted, {})


def test_a_record_of_another_version_is_kept(fast: Path) -> None:
    """What nobody here knows is carried along, and rows that differ in it are not merged."""
    node = live_of(1, 3, fast, 1 << 20)
    strange = [coarsen.written({"type": "weather", "revision": 1, "rain": rain}) for rain in (1, 2, 2)]
    rows = [coarsen.read(line) for body in node.segments() for line in body.split(b"\n")[1:-2]]
    marked = [
        coarsen.written({**json.loads(row.data), "mood": row.slot}) if row.kind == "job_slot" else row for row in rows
    ]

    assert [line for line in coarsen.live(strange) if line.kind == "weather"] == strange[:2]
    assert len(coarsen.merge(rows, 4, lambda _: True, 99)) == len(rows) - 2
    assert coarsen.merge(marked, 4, lambda _: True, 99) == marked


def test_segments_leave_as_they_were_sealed(fast: Path) -> None:
    """Also when the clock is set back meanwhile: what is last in a spool is what was said last."""
    node = live_of(1, 3, fast, 1 << 20)
    folder = Path(node.spool.folder)
    for name in node.spool.segments():
        os.utime(folder / name, ns=(1 << 62, (1 << 62) + int(name.split(".")[-2])))
    node.interval(SLOT)
    node.flush()

    assert [int(name.split(".")[-2]) for name in node.spool.segments()] == [1, 2, 3, 4]
