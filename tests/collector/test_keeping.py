# SPDX-License-Identifier: MIT
"""What lies on disk: rows, ledgers and snapshots come back as they were; state and spool are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.delivery.segment import MAX_SEGMENT_BYTES, parse_segment
from carbon_collector import state
from carbon_collector.attribution import records
from carbon_collector.attribution.books import Books
from carbon_collector.attribution.ledger import Ledger
from carbon_collector.attribution.minutes import Minutes
from carbon_collector.attribution.rows import JobRow, JobShare, NodeRow, NodeShare
from carbon_collector.attribution.snapshot import Snapshot
from carbon_collector.durable import write_durably
from carbon_collector.errors import StateError
from carbon_collector.lock import Lock
from carbon_collector.log import Log
from carbon_collector.meters.base import COUNTER, MODELLED, Reading
from carbon_collector.spool.sealer import Sealer
from carbon_collector.spool.segment import Header, segment
from carbon_collector.spool.ship import Shipper
from carbon_collector.spool.spool import Spool
from carbon_collector.usage import Usage

from .world import DOMAINS, TOPOLOGY, make_job

COUNT = st.integers(0, 2**53)
USAGES = st.builds(Usage, COUNT, st.dictionaries(st.integers(0, 7), COUNT, max_size=3), COUNT)
HEADER = Header("tiny", "n1", "11111111-1111-1111-1111-111111111111", "0123abcd")


def seal(spool: Spool, sequence: int, records: list[dict[str, Any]]) -> str:
    """Add a segment to a spool; returns its name."""
    name, data = segment(HEADER, sequence, 1000, [json.dumps(record).encode() for record in records])
    spool.add(name, data)
    return name


@given(
    st.builds(Reading, st.one_of(st.none(), COUNT), st.just("not read")), USAGES, st.one_of(st.none(), USAGES), COUNT
)
def test_a_snapshot_comes_back(reading: Reading, usage: Usage, parent: Usage | None, at: int) -> None:
    """Through JSON, as the state keeps it; the jobs' usage lies in their ledgers."""
    reading = reading if reading.energy_uj is None else reading._replace(reason="")
    snapshot = Snapshot(at, at + 1, "boot", {"package-0": reading}, {0: 1, 1: 2}, None, parent, {"1": usage}, {})

    assert Snapshot.load(json.loads(json.dumps(snapshot.save()))) == snapshot._replace(jobs={})


@given(st.one_of(st.none(), USAGES), st.text(), st.booleans(), COUNT)
def test_a_ledger_comes_back(usage: Usage | None, text: str, closed: bool, at: int) -> None:
    """Whatever is in it."""
    job = make_job(7, gpus=("GPU-a",))._replace(user=text, account=None, end_time=at, gpu_percent=25)
    ledger = Ledger(job, "prolog", at, at + 5)
    ledger.last = usage
    row = JobRow(7, ledger.job.run, at, 900)
    row.component("cpu").add(at, at, "counter")
    ledger.keep(row)
    if closed:
        ledger.close(at + 9, at + 14)
    back = Ledger.load(json.loads(json.dumps(ledger.save())))

    assert all(getattr(back, name) == getattr(ledger, name) for name in Ledger.__slots__ if name != "past")
    assert back.past is not None
    assert back.past.save() == ledger.past.save()
    assert back.record(3, 8) == ledger.record(3, 8)


@pytest.mark.parametrize("fields", [12, 13])
def test_a_ledger_of_an_older_collector_comes_back(fields: int) -> None:
    """Its job has fewer fields; what it did not keep is not known."""
    saved = json.loads(json.dumps(Ledger(make_job(7), "prolog", 5, 6).save()))
    del saved[0][fields:]
    job = Ledger.load(saved).job

    assert (job.job_id, job.gpus, job.cluster) == (7, (), make_job(7).cluster)
    assert (job.end_time, job.gpu_percent) == (None, None)


@given(COUNT, st.one_of(st.none(), COUNT), st.text(max_size=300), st.booleans())
def test_a_row_comes_back(energy: int, cpu: int | None, reason: str, known: bool) -> None:
    """A job's and a node's row survive the state; their records keep unknown null."""
    job, node = JobRow(7, "restart:0", 5, 900), NodeRow(900)
    job.cpu_us, node.elapsed_us = cpu, energy
    if known:
        job.component("cpu").add(energy // 2, energy - energy // 2, COUNTER)
        node.component("cpu").add(energy, energy // 3, energy // 4, COUNTER)
    rows = [(job, JobRow), (node, NodeRow)]
    for row, kind in rows:
        row.component("cpu").blame(reason)
        back = kind.load(json.loads(json.dumps(row.save())))

        assert back.record(1) == row.record(1)
        assert (back.record(1)["components"]["cpu"]["energy_uj"] is None) == (not known)
        assert len(back.record(1)["components"]["cpu"].get("reason", "")) <= 200


def test_a_rows_method_is_the_weakest() -> None:
    """One modelled interval makes the row modelled, whichever comes first."""
    for methods in ((COUNTER, MODELLED), (MODELLED, COUNTER)):
        job, node = JobShare(), NodeShare()
        for method in methods:
            job.add(1, 0, method)
            node.add(1, 1, 0, method)
        assert job.method == node.method == MODELLED


def test_the_state_is_whole_or_not_there(tmp_path: Path) -> None:
    """Cut anywhere, or with any bit turned, it is no state; nothing else raises."""
    assert state.load(str(tmp_path)) is None
    state.save(str(tmp_path), {"stream": "x", "rows": [1, 2, 3]})
    good = (tmp_path / "state.json").read_bytes()

    assert state.load(str(tmp_path)) == {"version": state.VERSION, "stream": "x", "rows": [1, 2, 3]}
    for i in range(len(good)):
        for bad in (good[:i], good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :]):
            (tmp_path / "state.json").write_bytes(bad)
            with pytest.raises(StateError):
                state.load(str(tmp_path))


def test_a_segment_is_what_an_aggregator_takes(tmp_path: Path) -> None:
    """Name, header, checksum and trailer as docs/record-format.md has them; the real parser is content."""
    spool = Spool(str(tmp_path / "spool"), 1 << 20)
    row = JobRow(7, "restart:0", 5, 900)
    row.component("cpu").add(2, 3, COUNTER)
    name = seal(spool, 3, [Ledger(make_job(7), "prolog", 0, 0).record(3, 8), row.record(3)])
    parsed = parse_segment(spool.read(name), 1000)

    assert name == "n1.11111111-1111-1111-1111-111111111111.0123abcd.00000003.jsonl" == parsed.header.name
    assert len(parsed.records) == 2
    assert parsed.refused == ()
    assert (tmp_path / "spool" / name).stat().st_mode & 0o777 == 0o600
    spool.forget(name)
    spool.forget(name)
    assert spool.is_empty()


def test_a_spool_has_a_limit_and_an_order(tmp_path: Path) -> None:
    """Oldest first; beyond the limit it takes nothing and drops nothing; what a killed writer left is swept away."""
    (tmp_path / "a.jsonl.new").write_text("half")
    spool = Spool(str(tmp_path), 400)
    first = seal(spool, 2, [{"type": "x"}])
    os.utime(tmp_path / first, (5, 5))
    (tmp_path / "b.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(OSError, match="holds more than"):
        seal(spool, 3, [])
    assert spool.segments() == [first, "b.jsonl"]
    spool.set_aside(first)
    assert (tmp_path / "refused" / first).exists()
    assert not (tmp_path / "a.jsonl.new").exists()


@pytest.mark.parametrize(
    "notes", [b"", b"{}", b"\x00torn", b"[]", b"[" * 100_000, b'{"streams":{},"made":"","of":[""]}']
)
def test_notes_that_cannot_be_read_stop_no_collector(notes: bytes, tmp_path: Path) -> None:
    """Torn, empty or another's: they are begun anew, and the segments are there."""
    spool = Spool(str(tmp_path), 1 << 20)
    name = seal(spool, 1, [])
    (tmp_path / "streams.json").write_bytes(notes)

    assert Sealer(spool).spool.segments() == [name]


def test_what_is_no_segment_holds_nothing_up(tmp_path: Path, munge_socket: str) -> None:
    """A pipe, a link, a folder and a file of a terabyte in the spool: said, left there, and what is behind them is tried."""
    spool = Spool(str(tmp_path / "spool"), 1 << 20)
    os.mkfifo(tmp_path / "spool/a.jsonl")
    (tmp_path / "spool/b.jsonl").symlink_to("/etc/hostname")
    (tmp_path / "spool/c.jsonl").mkdir()
    (tmp_path / "spool/d.jsonl").touch()
    os.truncate(tmp_path / "spool/d.jsonl", 1 << 40)

    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"):
        with pytest.raises(OSError):  # noqa: PT011 - some are the kernel's, some ours
            spool.read(name)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert Shipper(spool, ["http://127.0.0.1:9"], munge_socket, Log(str(tmp_path / "log"))).ship_all()


def test_the_shipper_outlives_any_fault(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What nobody foresaw is a failed attempt, said once and tried again: a thread that ends is silent."""
    spool = Spool(str(tmp_path / "spool"), 1 << 20)
    seal(spool, 1, [])
    nobody: list[str] = None  # type: ignore[assignment] # what settings never make
    shipper = Shipper(spool, nobody, "", Log(str(tmp_path / "log")))

    assert [shipper.ship_all(), shipper.ship_all()] == [False, False]
    assert shipper.is_behind()
    assert capfd.readouterr().err.count("cannot ship") == 1


def test_what_was_refused_is_bounded(tmp_path: Path) -> None:
    """An aggregator that refuses everything fills no disk: the oldest go first, counted; the newest stays, however large."""
    spool = Spool(str(tmp_path), 8 * 1000)
    names = [seal(spool, n, [{"type": "x", "n": "y" * 100}]) for n in range(1, 7)]
    for age, name in enumerate(names):
        os.utime(tmp_path / name, (age, age))
    dropped = [spool.set_aside(name) for name in names]
    each = (tmp_path / "refused" / names[-1]).stat().st_size

    assert 300 < each < 450
    assert dropped == [0, 0, 1, 1, 1, 1]
    assert sorted(path.name for path in (tmp_path / "refused").iterdir()) == ["dropped", *names[-2:]]
    assert (tmp_path / "refused/dropped").read_text() == "4\n"
    large = seal(spool, 9, [{"type": "x", "n": "y" * 3000}])
    (tmp_path / "refused/dropped").write_text("rubbish")
    assert spool.set_aside(large) == 2
    assert (tmp_path / "refused" / large).exists()
    assert (tmp_path / "refused/dropped").read_text() == "2\n"


def test_what_is_written_durably_follows_no_link(tmp_path: Path) -> None:
    """A link planted at the temporary name: refused; the target is untouched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "file.new").symlink_to(victim)

    with pytest.raises(OSError):  # noqa: PT011 - ELOOP has no class of its own
        write_durably(str(tmp_path / "file"), b"x")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("by_minute", [False, True])
def test_hundreds_of_jobs_fit_into_segments(tmp_path: Path, by_minute: bool) -> None:
    """A long outage of the spool: no segment is larger than an aggregator takes, and nothing is left out."""
    books = Books("0123abcd", TOPOLOGY, DOMAINS, {}, Minutes() if by_minute else None)
    for job_id in range(1, 301):
        books.open(Ledger(make_job(job_id), "prolog", 0, 0))
        for slot in range(900, 900 * 21, 900):
            row = books.job_rows[job_id, "restart:0", slot] = JobRow(job_id, "restart:0", 0, slot)
            for component in ("cpu", "dram", "gpu"):
                row.component(component).add(10**14, 9 * 10**14, COUNTER)
                row.component(component).blame("x" * 200)
    if books.minutes is not None:
        minutes = {name: [10**15 // 15] * 14 + [10**15 - 10**15 // 15 * 14] for name in ("cpu", "dram", "gpu")}
        books.minutes.load([[*key, minutes] for key in books.job_rows], books.job_rows)
    spool = Spool(str(tmp_path), 1 << 30)
    batches = records.batches(books, 1 << 40)
    names = [seal(spool, n, b.records(n, 8)) for n, b in enumerate(batches, 1)]
    for batch in batches:
        batch.sealed()

    assert max((tmp_path / name).stat().st_size for name in names) <= MAX_SEGMENT_BYTES
    assert sum(len(b.ledgers) for b in batches) == 300
    assert sum(len(b.rows) for b in batches) == 6000
    assert records.batches(books) == []


def test_the_lock_has_one_holder(tmp_path: Path) -> None:
    """The second one gives up; the address says who holds it, and whether it is still there."""
    one, two = Lock(str(tmp_path), str(tmp_path)), Lock(str(tmp_path), str(tmp_path))

    assert one.take(0.0)
    assert (tmp_path / "collector.pid").read_text() == f"{os.getpid()}\n"
    assert not two.take(0.1)
    one.hide()
    assert not one.is_published()
    one.publish()
    assert one.is_published()


def test_a_log_line_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Control characters and broken UTF-8 are made harmless; what is said once is said once, until it is over."""
    log = Log(str(tmp_path / "log"))
    log.line("a\nb\x1b[2J\udcff")
    for _ in range(3):
        log.once("key", "down")
    log.over("key", "up")
    log.over("key", "up")
    said = capfd.readouterr().err.splitlines()

    assert said == ["carbon-collector: a?b?[2J?", "carbon-collector: down", "carbon-collector: up"]
