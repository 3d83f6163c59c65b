# SPDX-License-Identifier: MIT
"""Retention: details go, sums stay, and what comes too late is refused and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from accounting.samples import JOB, NOW, SLOT, configure, job, job_slot, ledger, node_slot, segment
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.cli import mgr
from carbon_acct.db import meta, retention
from carbon_acct.delivery import store
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment, store_segments
from carbon_acct.errors import RefusedError
from carbon_acct.queries import totals
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import JobRecord, list_jobs
from carbon_acct.queries.unmatched import unmatched_ledgers
from carbon_acct.site import Site
from carbon_acct.sync.jobs import record_jobs
from carbon_acct.window import Window

DAY = SLOT - SLOT % 86400 + 86400
ALL = retention.Horizons(DAY + 86400, DAY + 86400, 0)


def deliver(site: Site, body: bytes) -> list[str]:
    with site.database.write() as session:
        return [line.reason for line in store_segment(session, parse_segment(body, NOW), site.terms, NOW).refused]


def conservation(site: Site) -> totals.Conservation:
    with site.database.read() as session:
        return totals.conservation(session)


def shown(site: Site, **filters: Any) -> list[JobRecord]:
    with site.database.read() as session:
        return list_jobs(session, Filters(EVERYTHING, **filters))


@pytest.fixture
def old(site: Site) -> Site:
    """A job of two days and one that nobody knows, and a node."""
    with site.database.write() as session:
        record_jobs(session, [job(start=SLOT + 10, end=DAY + 950, elapsed_s=DAY + 940 - SLOT)], site.terms)
    slots = [SLOT, SLOT + 900, DAY, DAY + 900]
    rows = [
        ledger(closed=DAY + 950),
        *(job_slot(slot=slot) for slot in slots),
        *(node_slot(slot=slot) for slot in slots),
    ]
    deliver(site, segment([*rows, job_slot(job_id=9)]))
    return site


def test_sums_stay(old: Site) -> None:
    """Jobs, days, and the site's conservation are the same before and after details are gone."""
    before = shown(old)
    with old.database.read() as session:
        sums = totals.days(session, 0, NOW), totals.conservation(session)
        expected = retention.counts(session, ALL)
    gone: list[int] = []
    retention.prune(old.database, ALL, gone.append)
    with old.database.read() as session:
        assert (totals.days(session, 0, NOW), totals.conservation(session)) == sums
        left = retention.counts(session, ALL)
        unmatched = unmatched_ledgers(session)

    assert shown(old) == before
    assert (expected.node_job_slots, expected.node_slots, expected.job_slots) == (4, 4, 4)
    assert set(vars(left).values()) <= {0, 1}  # the segment itself came today
    assert [(row.job_id, row.energy_uj) for row in unmatched] == [(9, 1100)]
    assert sum(gone) >= sum(vars(expected).values()) - expected.segments


def test_late_rows_are_refused(old: Site) -> None:
    """Rows of a slot that was pruned are refused by their numbers, change nothing, and take no good one with them.

    So are those that were read before it was pruned and are stored only then.
    """
    late = segment([job_slot(revision=9), ledger(revision=9, closed=DAY + 950), node_slot(revision=9)], sequence=7)
    on_its_way = parse_segment(late, NOW)
    retention.prune(old.database, ALL, lambda _: None)
    before = shown(old), conservation(old)
    with old.database.write() as session:
        receipt = store_segment(session, on_its_way, old.terms, NOW)

    assert receipt.accepted == 1
    assert [line.line for line in receipt.refused] == [2, 4]
    assert {line.reason for line in receipt.refused} == {"slot is older than the rows that are kept"}
    assert (shown(old), conservation(old)) == before
    assert deliver(old, late) == [line.reason for line in receipt.refused]


def test_a_late_segment_twice(old: Site) -> None:
    """In one transaction, or again when all of it is too old: the answer is the one that was given."""
    body = segment([job_slot(revision=9), job_slot(revision=9, slot=DAY)], sequence=7)
    with old.database.write() as session:
        meta.put(session, meta.DELIVERED_FROM, str(DAY))
        first, second = store_segments(session, [parse_segment(body, NOW)] * 2, old.terms, NOW)
        meta.put(session, meta.DELIVERED_FROM, str(DAY + 900))
        again = store_segment(session, parse_segment(body, NOW), old.terms, NOW)

    assert isinstance(first, store.Receipt)
    assert [line.line for line in first.refused] == [2]
    assert first == second == again


def test_too_many_late_rows(old: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that is refused for them takes no other with it that is stored in the same transaction."""
    retention.prune(old.database, ALL, lambda _: None)
    monkeypatch.setattr("carbon_acct.delivery.segment.MAX_REFUSED", 1)
    late = segment([job_slot(revision=9), node_slot(revision=9)], sequence=7)
    good = segment([ledger(revision=9, closed=DAY + 950)], sequence=8)
    with old.database.write() as session:
        parsed = [parse_segment(body, NOW) for body in (late, good, late)]
        answers = store_segments(session, parsed, old.terms, NOW)

    assert [type(answer) for answer in answers] == [RefusedError, store.Receipt, RefusedError]


def test_windows_of_folded_days_add_up(old: Site) -> None:
    """A border that cuts a folded day divides it by time, without loss."""
    (whole,) = shown(old)
    retention.prune(old.database, ALL, lambda _: None)
    for border in (SLOT + 100, DAY, DAY + 500):
        parts = [
            record.energy_uj or 0
            for window in (Window(None, border), Window(border, None))
            for record in shown(old, window=window, truncate=True)
        ]
        assert sum(parts) == whole.energy_uj


def test_jobs_go_last(old: Site) -> None:
    """Jobs older than they are kept are gone, what their account had stays."""
    with old.database.read() as session:
        sums = totals.days(session, 0, NOW)
    retention.prune(old.database, retention.Horizons(DAY + 86400, DAY + 86400, DAY + 86400), lambda _: None)
    with old.database.read() as session:
        assert totals.days(session, 0, NOW) == sums

    assert shown(old) == []


def test_running_jobs_keep_all_rows(site: Site) -> None:
    """Rows of a job that is not over stay, however old: its coverage is counted from them when it ends."""
    with site.database.write() as session:
        record_jobs(session, [job(end=None, state="RUNNING")], site.terms)
    deliver(site, segment([ledger(closed=None), job_slot()]))
    retention.prune(site.database, retention.Horizons(DAY, 0, 0), lambda _: None)

    with site.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM node_job_slot")) == 1


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs carbon-mgr prune; status, output, errors."""

    def call(*args: str, **values: str) -> tuple[int, str, str]:
        found = mgr.main(["--config", str(configure(tmp_path, **values)), "prune", *args])
        said = capsys.readouterr()
        return found, said.out, said.err

    return call


def test_dry_run(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A dry run counts and takes nothing; then the same is taken, and the second time nothing is left."""
    from accounting.samples import new_site

    site = new_site(tmp_path)
    with site.database.write() as session:
        record_jobs(session, [JOB], site.terms)
    deliver(site, segment([ledger(), job_slot(), node_slot()]))
    site.database.close()
    assert time.time() > NOW + 400 * 86400
    dry, pruned, again = run("--dry-run")[1], run()[1], run()[1]

    assert "node job slots: 1\n" in dry
    assert "job slots: 1\njobs: 0\n" in dry
    assert pruned == dry
    assert "node job slots: 0\n" in again


def test_order_of_kinds(run: Callable[..., tuple[int, str, str]]) -> None:
    """Slots that go before what they were made of are a wrong setting: one line, nothing done."""
    found, _out, err = run(aggregator_keep_slots="10 d")

    assert found == 1
    assert "keep_slots" in err
