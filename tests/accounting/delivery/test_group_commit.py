# SPDX-License-Identifier: MIT
"""Segments that arrive at the same time: stored together, answered one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from accounting.db.fixtures import Backend
from accounting.delivery.test_store import content, deliver, tell
from accounting.samples import NOW, SLOT, job, job_slot, ledger, new_site, node_slot, segment
from carbon_acct.delivery import group_commit
from carbon_acct.delivery.group_commit import GroupCommit
from carbon_acct.delivery.segment import ParsedSegment, parse_segment
from carbon_acct.delivery.store import Receipt
from carbon_acct.errors import DatabaseError, RefusedError
from carbon_acct.queries import totals
from carbon_acct.site import Site

NODES = 12


def bodies() -> list[bytes]:
    """Two slots of a job on each of some nodes."""
    made = []
    for node in range(NODES):
        for number in (1, 2):
            rows = [ledger(job_id=7 + node % 3, revision=number), job_slot(job_id=7 + node % 3, revision=number)]
            rows += [job_slot(job_id=7 + node % 3, slot=SLOT + 900 * number), node_slot(revision=number)]
            made.append(segment(rows, node=f"n{node}", sequence=number))
    return made


def parsed(bodies: Sequence[bytes]) -> list[ParsedSegment]:
    """As the API hands them on."""
    return [parse_segment(body, NOW) for body in bodies]


def at_once(site: Site, segments: Sequence[ParsedSegment]) -> tuple[list[Receipt | Exception], int]:
    """Deliver each from a thread of its own while the database is held; their answers, and how many transactions wrote."""
    together, answers = GroupCommit(site.database, site.terms), dict[int, Receipt | Exception]()
    writes: list[object] = []
    count = writes.append
    event.listen(site.database.engine, "commit", count)

    def one(at: int) -> None:
        try:
            answers[at] = together.store(segments[at], NOW)
        except (RefusedError, DatabaseError) as err:
            answers[at] = err

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(segments))]
    all_wait = threading.Event()
    together._thread.submit(all_wait.wait)
    for thread in threads:
        thread.start()
    while len(together._waiting) < len(segments):
        threading.Event().wait(0.001)
    all_wait.set()
    for thread in threads:
        thread.join()
    event.remove(site.database.engine, "commit", count)
    return [answers[at] for at in range(len(segments))], len(writes)


def segments_of(site: Site) -> int:
    """How many are stored."""
    with site.database.read() as session:
        return totals.counts(session).segments


def test_together_is_as_one_after_the_other(backend: Backend) -> None:
    """Whatever is stored in one transaction leaves the same database, and the same answers, as one segment at a time."""
    jobs = [job(job_id_raw=i, job_id=str(i), nodelist="n[0-11]", nnodes=4) for i in (7, 8, 9)]
    with backend.site() as site:
        tell(site, *jobs)
        alone, expected = [deliver(site, body) for body in bodies()], content(site)
    with backend.site() as site:
        tell(site, *jobs)
        answers, writes = at_once(site, parsed(bodies()))

        assert answers == alone
        assert content(site) == expected
        assert writes == 1


def test_a_segment_delivered_twice_at_once(site: Site) -> None:
    """Both are answered alike, and it is stored once."""
    body = segment([ledger(), job_slot(), b"{}"])

    answers, _ = at_once(site, parsed([body, body]))

    assert answers[0] == answers[1]
    assert segments_of(site) == 1


def test_a_refused_segment_takes_no_other_with_it(site: Site) -> None:
    """One that uses a name again for another content is refused; those beside it are stored."""
    good = segment([ledger(), job_slot()])
    bad = segment([ledger(user="bob")])
    other = segment([ledger(job_id=8), job_slot(job_id=8)], node="n2")
    deliver(site, good)

    answers, _ = at_once(site, parsed([bad, other]))

    assert isinstance(answers[0], RefusedError)
    assert isinstance(answers[1], Receipt)
    assert segments_of(site) == 2


def test_a_segment_that_the_database_refuses_takes_no_other_with_it(tmp_path: Path) -> None:
    """A transaction of many that fails is done again one by one; only the segment that made it fail is answered so."""
    site = new_site(tmp_path)
    with site.database.write() as session:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER no_node_9 BEFORE INSERT ON node WHEN NEW.name = 'n9' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    segments = parsed([segment([node_slot()], node=f"n{number}") for number in (1, 9, 2)])

    answers, _ = at_once(site, segments)

    assert [type(answer) for answer in answers] == [Receipt, DatabaseError, Receipt]
    with pytest.raises(DatabaseError):
        GroupCommit(site.database, site.terms).store(segments[1], NOW)
    site.database.close()


def test_a_large_segment_in_parts(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that is stored in many transactions leaves the same database, and the same answer, as one in a single one."""
    rows = [row for n in range(7, 12) for row in (ledger(job_id=n), b"{}", job_slot(job_id=n, slots=4), b"tea")]
    body = segment([*rows, node_slot()])
    jobs = [job(job_id_raw=n, job_id=str(n)) for n in range(7, 12)]
    with backend.site() as site:
        tell(site, *jobs)
        alone, expected = deliver(site, body), content(site)
    monkeypatch.setattr(group_commit, "MAX_RECORDS", 3)
    with backend.site() as site:
        tell(site, *jobs)
        (answer, again), writes = at_once(site, parsed([body, body]))
        assert (answer, again) == (alone, alone)
        assert content(site) == expected
        assert writes > 5


def test_who_delivers_much_waits_for_who_delivers_little(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two parts of a large segment of one node the small one of another is stored."""
    monkeypatch.setattr(group_commit, "MAX_RECORDS", 2)
    large = segment([job_slot(job_id=n) for n in range(1, 41)], node="n1")
    small = segment([job_slot(job_id=99)], node="n2")
    order: list[str] = []
    real = group_commit.store_segments

    def told(session: Session, segments: Sequence[ParsedSegment], *more: Any) -> Any:
        order.extend(one.header.node for one in segments)
        return real(session, segments, *more)

    monkeypatch.setattr(group_commit, "store_segments", told)
    at_once(site, parsed([large, small]))

    assert order.index("n2") <= 2
    assert order.count("n1") == 20
