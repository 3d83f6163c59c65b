# SPDX-License-Identifier: MIT
"""The poll of Slurm: incremental, bounded, and going on when Slurm does not."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from accounting.samples import NOW, SLOT, job_slot, ledger, segment
from accounting.slurm_programs import StandIn
from carbon_acct import query, receive, totals
from carbon_acct.errors import SlurmError
from carbon_acct.poll import OVERLAP_S, Poller
from carbon_acct.query import Filters
from carbon_acct.records import parse_segment
from carbon_acct.site import Site


def since(call: list[str]) -> int:
    return int(datetime.fromisoformat(call[call.index("-S") + 1]).replace(tzinfo=UTC).timestamp())


def test_incremental(site: Site, slurm: StandIn, poller: Poller) -> None:
    """The second poll asks for what changed since the first, less an overlap."""
    slurm.jobs([{}])
    assert poller.poll() == 1
    first = poller.state.polled_at or 0
    assert poller.poll() == 0
    calls = slurm.calls()
    assert len(calls) == 2
    assert since(calls[0]) < first - 6 * 86400
    assert abs(since(calls[1]) - (first - OVERLAP_S)) <= 1


def test_a_job_that_changes(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A run's record is replaced by what Slurm says later; a requeue is another run."""
    slurm.jobs([{"State": "RUNNING", "End": "Unknown"}])
    poller.poll()
    slurm.jobs([{"State": "REQUEUED"}, {"Submit": "1350000071", "State": "RUNNING", "End": "Unknown"}])
    assert poller.poll() == 2
    with site.database.read() as session:
        assert [r.state for r in query.jobs(session, Filters(duplicates=True))] == ["REQUEUED", "RUNNING"]
        assert [r.state for r in query.jobs(session, Filters())] == ["RUNNING"]


def test_slurm_down_and_up(site: Site, slurm: StandIn, poller: Poller, caplog: pytest.LogCaptureFixture) -> None:
    """A Slurm that is down is told once, what is known holds, and it is told when it answers again."""
    caplog.set_level(logging.WARNING)
    slurm.jobs([{}])
    poller.poll()
    slurm.jobs([], error="Connection refused")
    for _ in range(3):
        with pytest.raises(SlurmError):
            poller.poll()
    assert poller.state.nodes is not None
    assert "Connection refused" in poller.state.error
    slurm.jobs([{}])
    poller.poll()
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "slurm: sacct: sacct: error: Connection refused",
        "slurm: answers again",
    ]


def test_failed_poll_is_made_up(site: Site, slurm: StandIn, poller: Poller) -> None:
    """The window after a failed poll begins where the last good one ended."""
    poller.poll()
    first = poller.state.polled_at or 0
    slurm.jobs([], error="down")
    with pytest.raises(SlurmError):
        poller.poll()
    slurm.jobs([{}])
    poller.poll()
    assert abs(since(slurm.calls()[-1]) - (first - OVERLAP_S)) <= 1


def test_ledger_whose_job_slurm_tells_late(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A ledger without a job is asked about by its JobID, all of them in one query."""
    now = int(datetime.now(UTC).timestamp())
    rows = [ledger(job_id=n, opened=now - 86400) for n in (11, 12)]
    with site.database.write() as session:
        receive.store(session, parse_segment(segment(rows), now), site.prices, now)
    poller.poll()
    window, asked = slurm.calls()
    assert "-j" not in window
    assert asked[asked.index("-j") + 1] == "11,12"
    assert since(asked) <= now - 86400
    poller.poll()
    assert len(slurm.calls()) == 3
    poller.poll(thorough=True)
    assert "-j" in slurm.calls()[-1]


def test_job_that_ended_out_of_sight(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A job that was running and is in the answer no more is asked for by its JobID."""
    now = int(datetime.now(UTC).timestamp())
    slurm.jobs([{"Submit": str(now - 500), "State": "RUNNING", "End": "Unknown"}])
    poller.poll()
    slurm.jobs([])
    poller.poll(thorough=True)
    call = slurm.calls()[-1]
    assert call[call.index("-j") + 1] == "7"


def test_matched_when_the_record_comes(site: Site, slurm: StandIn, poller: Poller) -> None:
    """Energy that came before Slurm's record is the job's as soon as the record is there."""
    with site.database.write() as session:
        receive.store(session, parse_segment(segment([ledger(), job_slot()]), NOW), site.prices, NOW)
    with site.database.read() as session:
        assert totals.counts(session).unmatched == 1
    slurm.jobs([{}])
    poller.poll()
    with site.database.read() as session:
        assert query.jobs(session, Filters())[0].energy_uj == 1100
        assert session.execute(text("SELECT slot FROM job_slot")).scalars().all() == [SLOT]
