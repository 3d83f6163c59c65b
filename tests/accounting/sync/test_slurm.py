# SPDX-License-Identifier: MIT
"""The poll of Slurm: incremental, bounded, and going on when Slurm does not."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from accounting.samples import NOW, SLOT, job, job_slot, ledger, segment
from accounting.slurm_programs import StandIn
from carbon_acct.access.munge import Identity
from carbon_acct.access.node import check_delivery
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.clusters import cluster_named
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.errors import RefusedError, SlurmError
from carbon_acct.queries import totals
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.site import Site
from carbon_acct.slurm import pace
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.dbd import DbdLimits
from carbon_acct.slurm.pace import LEAST_WINDOW_S, LONGEST_REST_S, SLOW_S, Pace
from carbon_acct.sync import asked
from carbon_acct.sync import slurm as sync_slurm
from carbon_acct.sync.jobs import MAX_ASKED, Turn, unsettled
from carbon_acct.sync.slurm import OVERLAP_S, Poller, window
from carbon_collector.units import DAY_S


def since(call: list[str]) -> int:
    return _time(call[call.index("-S") + 1])


def until(call: list[str]) -> int:
    return _time(call[call.index("-E") + 1])


def _time(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_incremental(site: Site, slurm: StandIn, poller: Poller) -> None:
    """The second poll asks for what changed since the first, less an overlap."""
    slurm.jobs([{}])
    assert poller.poll(thorough=True) == 1
    first = poller.state.polled_at or 0
    calls = slurm.calls()
    assert poller.poll() == 0
    (call,) = slurm.calls()[len(calls) :]
    assert since(calls[0]) < first - 6 * 86400
    assert abs(since(call) - (first - OVERLAP_S)) <= 1


def test_a_day_at_a_time(site: Site, slurm: StandIn, poller: Poller) -> None:
    """After a long time without Slurm no query is about more than a day, none leaves a gap, and the last ends now."""
    with site.database.write() as session:
        cluster_named(session, "demo").polled_until = int(time.time()) - 5 * DAY_S
    poller.poll()
    assert poller.state.behind_s > 3 * DAY_S
    assert poller.rest_s < 60
    poller.poll(thorough=True)
    assert (poller.state.behind_s, poller.rest_s) == (0, 60)
    windows = [(since(call), until(call)) for call in slurm.calls() if "-j" not in call]
    assert len(windows) == 6
    assert max(end - start for start, end in windows) <= DAY_S + OVERLAP_S
    assert all(later[0] < earlier[1] for earlier, later in itertools.pairwise(windows))
    assert abs(windows[-1][1] - time.time()) < 30


def test_longest_window_that_slurmdbd_allows(site: Site, slurm: StandIn, poller: Poller) -> None:
    """No window is longer than MaxQueryTimeRange, which slurmdbd refuses."""
    slurm.rights(more="MaxQueryTimeRange      = 02:00:00\n")
    poller.poll()
    poller.poll()
    assert poller.state.limits == DbdLimits(query_s=7200)
    assert {until(call) - since(call) <= 7200 for call in slurm.calls()} == {True}


def test_an_hour_that_slurmdbd_cannot_answer(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A query that fails is made for less the next time, and for more again when that is answered."""
    slurm.jobs([], error="Result too large")
    for _ in range(3):
        with pytest.raises(SlurmError):
            poller.poll()
    slurm.jobs([])
    poller.poll()
    poller.poll()
    spans = [until(call) - since(call) for call in slurm.calls()]
    assert spans[0] > spans[1] > spans[2] > spans[3]
    assert spans[4] > spans[3]


def test_a_slow_slurmdbd_is_left_alone(site: Site, slurm: StandIn, poller: Poller) -> None:
    """After a slow query slurmdbd has a rest that is many times as long."""
    slurm.jobs([], slow_s=0.5)
    poller.poll()
    assert 4 < poller.rest_s < 60


@given(
    now=st.integers(10**9, 2 * 10**9),
    behind_s=st.none() | st.integers(0, 60 * DAY_S),
    longest_s=st.integers(2, DAY_S),
    look_back=st.booleans(),
)
def test_window(now: int, behind_s: int | None, longest_s: int, look_back: bool) -> None:
    """A window is no longer than allowed, ends by now, overlaps what is known and goes beyond it; it may look back only at the end."""
    known = None if behind_s is None else now - behind_s
    since, until = window(known, now, longest_s, look_back)
    assert 0 < until - since <= longest_s
    assert until <= now
    if known is not None:
        assert since <= known
        assert until > known or until == now
    plain = window(known, now, longest_s, look_back=False)
    assert (since, until) == ((now - longest_s, now) if look_back and plain[1] == now else plain)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.booleans())))
def test_pace(queries: list[tuple[float, bool]]) -> None:
    """Whatever slurmdbd does, windows stay within a quarter of an hour and a day, and rests within another."""
    pace = Pace()
    for took_s, answered in queries:
        before, pace = pace, pace.after(took_s, answered)
        assert LEAST_WINDOW_S <= pace.window_s <= DAY_S
        assert 0 <= pace.rest_s <= LONGEST_REST_S
        assert pace.rest_s >= min(9 * took_s, LONGEST_REST_S)
        assert pace.window_s <= before.window_s or (answered and took_s < SLOW_S)


@pytest.mark.each_kind
def test_a_job_that_changes(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A run's record is replaced by what Slurm says later; a requeue is another run."""
    slurm.jobs([{"State": "RUNNING", "End": "Unknown"}])
    poller.poll()
    slurm.jobs([{"State": "REQUEUED"}, {"Submit": "1350000071", "State": "RUNNING", "End": "Unknown"}])
    assert poller.poll() == 2
    with site.database.read() as session:
        assert [r.state for r in list_jobs(session, Filters(EVERYTHING, duplicates=True))] == ["REQUEUED", "RUNNING"]
        assert [r.state for r in list_jobs(session, Filters(EVERYTHING))] == ["RUNNING"]


def test_what_slurm_repeats_is_not_written_again(site: Site, slurm: StandIn, poller: Poller) -> None:
    """Whatever polls and questions tell, in whatever order, the database has Slurm's last word. A run that is as it was at
    the poll before is left alone; a thorough poll writes all.
    """
    rng = random.Random(20)
    names = {}
    for _ in range(40):
        names = {str(n): rng.choice("abc") for n in (7, 8, 9) if rng.random() < 0.8 or str(n) in names}
        slurm.jobs([{"JobIDRaw": n, "JobID": n, "JobName": name, "State": "RUNNING"} for n, name in names.items()])
        poller.poll() if rng.random() < 0.7 else poller.ask_for(list(map(int, names)))
        poller.poll()
        with site.database.read() as session:
            assert {job.job_id: job.name for job in list_jobs(session, Filters(EVERYTHING))} == names
    with site.database.write() as session:
        session.execute(text("UPDATE job SET name = 'another'"))
    assert (poller.poll(), poller.poll(thorough=True)) == (0, len(names))


def test_what_could_not_be_stored_is_stored_by_the_next_poll(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A run counts as recorded only once its transaction is."""
    poller.poll(thorough=True)
    slurm.jobs([{}])
    with site.database.write() as session:
        session.execute(text("CREATE TRIGGER no BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'no'); END"))
    with pytest.raises(Exception, match="no"):
        poller.poll()
    with site.database.write() as session:
        session.execute(text("DROP TRIGGER no"))
    assert poller.poll() == 1


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
    poller.poll(thorough=True)
    first = poller.state.polled_at or 0
    slurm.jobs([], error="down")
    with pytest.raises(SlurmError):
        poller.poll()
    slurm.jobs([{}])
    poller.poll()
    assert abs(since(slurm.calls()[-1]) - (first - OVERLAP_S)) <= 1


@pytest.mark.each_kind
def test_ledger_whose_job_slurm_tells_late(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A ledger without a job is asked about by its JobID, all of them in one query."""
    now = int(datetime.now(UTC).timestamp())
    poller.poll(thorough=True)
    before = len(slurm.calls())
    rows = [ledger(job_id=n, opened=now - 86400) for n in (11, 12)]
    with site.database.write() as session:
        store_segment(session, parse_segment(segment(rows), now), site.terms, now)
    poller.poll()
    assert ["-j" in call for call in slurm.calls()[before:]] == [False]
    poller.poll(thorough=True)
    window, asked = slurm.calls()[before + 1 :]
    assert "-j" not in window
    assert asked[asked.index("-j") + 1] == "11,12"
    assert since(asked) <= now - 86400


def test_who_asks_for_a_job_gets_slurms_word(slurm: StandIn, poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who ask at the same time for jobs that wait all wait for the answer, and for slurmdbd's rest, not in vain.
    Questions that wait are asked together, and what was answered a moment ago is not asked again.
    """
    monkeypatch.setattr(pace, "REST", 0.5)
    monkeypatch.setattr(sync_slurm, "REFRESH_WAIT_S", 60)
    monkeypatch.setattr(asked, "AGAIN_S", 60)
    poller.poll()
    before = len(slurm.calls())
    wanted = [[7], [8], [7, 9], [8], *([n] for n in range(100, 104))]
    slurm.jobs([], slow_s=0.1)

    def questions() -> list[list[int]]:
        return [list(map(int, call[call.index("-j") + 1].split(","))) for call in slurm.calls()[before:]]

    def is_told(ids: list[int]) -> bool:
        poller.ask_for(ids)
        return set(ids) <= set(chain.from_iterable(questions()))

    with ThreadPoolExecutor(len(wanted)) as pool:
        assert all(pool.map(is_told, wanted))
    of_each = Counter(chain.from_iterable(questions()))
    assert set(of_each.values()) == {1}
    assert len(questions()) < len(of_each)
    poller.ask_for([7, 100])
    assert Counter(chain.from_iterable(questions())) == of_each


def test_a_long_rest_of_slurmdbd_is_kept(slurm: StandIn, poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would take longer than a user waits, slurmdbd is not asked, and what is known is shown at once."""
    poller.poll()
    monkeypatch.setattr(pace, "REST", 1e6)
    slurm.jobs([])
    poller.ask_for([7])
    before = len(slurm.calls())
    poller.ask_for([8])
    assert len(slurm.calls()) == before


def test_nobody_waits_for_word_of_a_job_that_runs(
    slurm: StandIn, poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll tells of it as well, so its row is shown as it is while slurmdbd rests."""
    slurm.jobs([{"State": "RUNNING", "End": "Unknown"}])
    poller.poll()
    monkeypatch.setattr(pace, "REST", 1e6)
    monkeypatch.setattr(sync_slurm, "REFRESH_WAIT_S", 1e6)
    poller.ask_for([8])
    before = len(slurm.calls())
    poller.ask_for([7])
    assert len(slurm.calls()) == before


@pytest.mark.each_kind
def test_everybody_is_asked_about_in_turn(site: Site) -> None:
    """However many ledgers wait for their jobs, each round asks about others, until all were asked about."""
    now = int(time.time())
    rows = [ledger(job_id=n, opened=now - 86400 + n) for n in range(1, 1201)]
    with site.database.write() as session:
        store_segment(session, parse_segment(segment(rows), now), site.terms, now)
        cluster = cluster_named(session, "demo").id
        seen: set[int] = set()
        turn = Turn()
        for _ in range(3):
            asked, turn = unsettled(session, cluster, [job(job_id_raw=1200)], 0, turn)
            assert 0 < len(asked) <= MAX_ASKED
            seen |= asked.keys()
    assert seen == set(range(1, 1200))


def test_a_purged_job_keeps_its_record(site: Site, slurm: StandIn, poller: Poller) -> None:
    """What slurmdbd has purged is not forgotten here, and a run of it that never ended is asked about in vain."""
    slurm.jobs([{}, {"JobIDRaw": "8", "JobID": "8", "State": "RUNNING", "End": "Unknown"}])
    poller.poll(thorough=True)
    slurm.jobs([])
    poller.poll(thorough=True)
    assert slurm.calls()[-1][slurm.calls()[-1].index("-j") + 1] == "8"
    with site.database.read() as session:
        assert [r.state for r in list_jobs(session, Filters(EVERYTHING))] == ["COMPLETED", "RUNNING"]


@pytest.mark.each_kind
def test_clusters_with_the_same_job_ids(site: Site, slurm: StandIn, poller: Poller) -> None:
    """One slurmdbd may keep several clusters: the same JobID in two of them are two jobs."""
    slurm.jobs([{}, {"Cluster": "other", "User": "bob"}])
    with site.database.write() as session:
        store_segment(session, parse_segment(segment([ledger(), job_slot()]), NOW), site.terms, NOW)
    poller.poll()
    with site.database.read() as session:
        found = list_jobs(session, Filters(EVERYTHING))
    assert [(r.cluster, r.user, r.energy_uj) for r in found] == [("demo", "alice", 1100), ("other", "bob", None)]


def test_job_that_ended_out_of_sight(site: Site, slurm: StandIn, poller: Poller) -> None:
    """A job that was running and is in the answer no more is asked for by its JobID."""
    now = int(datetime.now(UTC).timestamp())
    slurm.jobs([{"Submit": str(now - 500), "State": "RUNNING", "End": "Unknown"}])
    poller.poll()
    slurm.jobs([])
    poller.poll(thorough=True)
    call = slurm.calls()[-1]
    assert call[call.index("-j") + 1] == "7"


@pytest.mark.each_kind
def test_matched_when_the_record_comes(site: Site, slurm: StandIn, poller: Poller) -> None:
    """Energy that came before Slurm's record is the job's as soon as the record is there."""
    with site.database.write() as session:
        store_segment(session, parse_segment(segment([ledger(), job_slot()]), NOW), site.terms, NOW)
    with site.database.read() as session:
        assert totals.counts(session).unmatched == 1
    slurm.jobs([{}])
    poller.poll()
    with site.database.read() as session:
        assert list_jobs(session, Filters(EVERYTHING))[0].energy_uj == 1100
        assert session.execute(text("SELECT slot FROM job_slot")).scalars().all() == [SLOT]


def test_a_surprise_is_a_state(site: Site, slurm: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected is told once, is shown as Slurm's state, and polling goes on; then it is over."""

    class Broken:
        name, every_run = "pyslurm 22.5", False

        def jobs(self, *_: object) -> list[SlurmJob]:
            raise AttributeError("no attribute 'x'")

    poller = Poller(site, slurm.programs, "sacct", 60)
    poller._client = Broken()  # type: ignore[assignment]
    for _ in range(3):
        with pytest.raises(AttributeError):
            poller.poll()
    failed = poller.state.error
    poller._client = None
    poller.poll()

    assert failed == "the poll failed: AttributeError: no attribute 'x'"
    assert poller.state.error == ""
    assert len([r for r in caplog.records if r.exc_info]) == 1


def test_a_sister_clusters_jobs(site: Site, slurm: StandIn) -> None:
    """A federation's slurmdbd tells of all its clusters unless it is asked for this one's jobs; a sibling that another
    cluster took shows with -D alone (sacct(1), --local and -D; as_mysql_jobacct_process.c).
    """
    slurm.jobs(
        [
            {"JobIDRaw": "67108865", "JobID": "67108865", "State": "REVOKED", "AllocTRES": ""},
            {"JobIDRaw": "5", "JobID": "5"},
        ]
    )
    poller = Poller(site, slurm.programs, "sacct", 60)
    poller.poll()
    with site.database.read() as session:
        shown = [j.job_id for j in list_jobs(session, Filters(EVERYTHING))]
        every = [j.job_id for j in list_jobs(session, Filters(EVERYTHING, duplicates=True))]

    assert (shown, every) == (["5"], ["5", "67108865"])
    assert "--local" in slurm.calls()[-1]


def test_a_renamed_nodes_last_rows(site: Site, slurm: StandIn) -> None:
    """A node that Slurm renames or deletes may still hold rows under its old name: its own host delivers them, no other
    does, and a name that Slurm never had is refused.
    """

    def may(name: str, address: str) -> bool:
        try:
            check_delivery(Identity(0, "x", address, ""), address, "demo", name, poller.state)
        except RefusedError:
            return False
        return True

    poller = Poller(site, slurm.programs, "sacct", 60)
    for says in ("n1 192.0.2.1 192.0.2.1\n", "m1 192.0.2.1 192.0.2.1\n", "m1 192.0.2.1 192.0.2.1\n"):
        slurm.says("sinfo", says)
        poller._nodes_at = -1e9
        poller.poll()
    assert poller.state.nodes is not None
    assert list(poller.state.nodes) == ["m1"]
    assert [may(name, "192.0.2.1") for name in ("n1", "m1", "n2")] == [True, True, False]
    assert not may("n1", "192.0.2.9")
    slurm.says("sinfo", "n1 192.0.2.9 192.0.2.9\n")  # the name is another host's now
    poller._nodes_at = -1e9
    poller.poll()
    assert not may("n1", "192.0.2.1")
    assert list(poller.state.departed) == ["m1"]
