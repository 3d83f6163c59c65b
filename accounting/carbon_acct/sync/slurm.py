# SPDX-License-Identifier: MIT
"""Polls Slurm once a minute for changes of its jobs, its nodes and its users' rights.

Slurm may be down for hours. What is known stays in use, the failure is logged once, and polling goes on. A poll is one
bounded query of slurmdbd, and now and then a second one for the few jobs that the window missed. After an outage of
days the missed time is queried a day at a time, with rests between (slurm/pace.py).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from carbon_acct.db.clusters import cluster_named
from carbon_acct.errors import DatabaseError, SlurmError
from carbon_acct.site import Site
from carbon_acct.slurm.choose import choose_client
from carbon_acct.slurm.client import SlurmClient, SlurmJob
from carbon_acct.slurm.dbd import load_limits
from carbon_acct.slurm.nodes import load_cluster_config, load_nodes
from carbon_acct.slurm.pace import Pace
from carbon_acct.slurm.programs import Programs
from carbon_acct.slurm.rights import load_rights
from carbon_acct.slurm.state import SlurmState
from carbon_acct.sums import settle
from carbon_acct.sync.asked import Questions, unsettled_of
from carbon_acct.sync.jobs import Turn, record_jobs, unsettled
from carbon_collector.errors import CarbonError
from carbon_collector.units import DAY_S

log = logging.getLogger(__name__)

OVERLAP_S = 600
"""The seconds that a window reaches back before the last poll, because slurmctld reports to slurmdbd with some delay.
"""

FIRST_WINDOW_S = 7 * DAY_S
LEDGERS_S = 30 * DAY_S
"""The age in seconds of ledgers that Slurm is no longer asked about."""

ASK_BY_ID_EVERY_S = 600
LOOK_BACK_EVERY_S = 6 * 3600
"""The interval at which a poll's window is as long as it may be, because a slurmctld that was cut off from slurmdbd reports
its jobs late."""

ESTIMATES_S = 3 * DAY_S
"""Estimates of runs that ended within this time are updated every LOOK_BACK_EVERY_S, because the measurements they are
based on can also arrive late."""

LEAST_REST_S = 1.0
RIGHTS_EVERY_S = 600
NODES_AT_MOST_EVERY_S = 10
MOST_DEPARTED = 50_000  # names of nodes that Slurm no longer has
REFRESH_WAIT_S = 5
FRESH_S = 5
"""The age in seconds up to which what is known of running jobs is good enough for an answer."""

FRESHEN_WAIT_S = 2.0
"""The time in seconds that an answer waits for a poll at most. All answers wait for the same poll."""


def _left_s(until: float) -> float:
    """Return the seconds until a time on the monotonic clock, or 0 after it."""
    return max(0.0, until - time.monotonic())


def _by_run(jobs: Iterable[SlurmJob]) -> dict[tuple[str, int, int], SlurmJob]:
    """Return jobs by cluster, JobIDRaw and submit time, which together are one run."""
    return {(job.cluster, job.job_id_raw, job.submit): job for job in jobs}


def window(known: int | None, now: int, longest_s: int, look_back: bool) -> tuple[int, int]:
    """Return the time to ask about, (since, until), in epoch seconds.

    It begins a little before what is `known`, and is no longer than `longest_s`. Where it reaches `now`, `look_back`
    makes it begin as early as `longest_s` allows.
    """
    start = now - FIRST_WINDOW_S if known is None else min(known, now)
    since = start - min(OVERLAP_S, longest_s // 2)
    until = min(now, since + longest_s)
    return (now - longest_s, until) if look_back and until == now else (since, until)


class Poller:
    """The thread that keeps `state` and the database's jobs up to date. `poll` may be called by any thread."""

    def __init__(self, site: Site, programs: Programs, source: str, interval_s: float) -> None:
        self.state = SlurmState(cluster=site.cluster)
        self._site = site
        self._programs = programs
        self._source = source
        self._interval_s = interval_s
        self._client: SlurmClient | None = None
        self._lock = threading.Lock()
        self._nodes_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._polled = threading.Condition()
        self._polls = 0
        self._pace = Pace()
        self._turn = Turn()
        self._questions = Questions()
        self._recorded: dict[tuple[str, int, int], SlurmJob] = {}
        """The runs of the last answer, as they are in the database."""
        self._asking = threading.Lock()
        self._rights_at = self._asked_by_id_at = self._nodes_at = self._may_ask_at = 0.0
        self._looked_back_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="slurm-poll", daemon=True)

    def start(self) -> None:
        """Poll in the background until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the polling, and a program of Slurm's that runs for it."""
        self._stop.set()
        self._wake.set()
        self._programs.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def poll(self, thorough: bool = False) -> int:
        """Ask Slurm now about one window of time, and return how many jobs were new or different. Raises CarbonError.

        With `thorough` every query is made, and windows follow until nothing is left to ask.
        """
        with self._lock:
            if thorough:
                self._rights_at = self._asked_by_id_at = self._nodes_at = 0.0
                self._recorded = {}
            try:
                changed = self._poll(int(time.time()))
                while thorough and self.state.behind_s and not self._stop.is_set():
                    changed += self._poll(int(time.time()))
            except DatabaseError:
                raise  # it tells of itself
            except CarbonError as err:
                self._note(str(err))
                raise
            except Exception as err:
                # Nobody expected it, and it is a state as any other: told once, shown, and tried again.
                if self._note(f"the poll failed: {type(err).__name__}: {' '.join(str(err).split())[:200]}"):
                    log.exception("the poll of Slurm failed")
                raise
            self._note("")
            return changed

    def ask_for(self, ids: Collection[int]) -> None:
        """Ask Slurm about JobIDs that somebody asks for and that are not settled.

        Those that several ask for at the same time are one bounded question. Between two questions slurmdbd rests, as
        it does between two polls; whoever asks for a job that the accounting does not have waits for that, for
        REFRESH_WAIT_S at most. Otherwise what is known is shown.
        """
        client = self._client
        if client is None or self.state.error:
            return
        self._questions.add(ids)
        if not self._questions.waits(ids):
            return
        missing = self._site.database.run(lambda session: unsettled_of(session, ids)).missing
        until = time.monotonic() + (REFRESH_WAIT_S if missing else 0)
        if not self._asking.acquire(timeout=_left_s(until)):
            return
        try:
            rest_s = max(0.0, self._may_ask_at - time.monotonic())
            if self._questions.waits(ids) and rest_s <= _left_s(until) and not self._stop.wait(rest_s):
                self._ask_next(client, ids, until)
        finally:
            self._asking.release()

    def _ask_next(self, client: SlurmClient, first: Collection[int], until: float) -> None:
        """Ask about JobIDs that wait, unless a poll takes longer than `until` on the monotonic clock."""
        ids = self._questions.next(first)
        unsettled = self._site.database.run(lambda session: unsettled_of(session, ids))
        open_ids = sorted({*unsettled.missing, *unsettled.running})
        if not open_ids:
            self._questions.done(ids)
            return
        if not self._lock.acquire(timeout=_left_s(until)):
            return
        try:
            now = int(time.time())
            jobs = self._ask(client, now - FIRST_WINDOW_S, now + 1, open_ids)
            self._site.database.run(lambda session: record_jobs(session, jobs, self._site.terms))
            self._recorded |= _by_run(jobs)
        except CarbonError as err:
            log.info("slurm: a question about jobs that somebody asks for: %s", err)
        finally:
            self._questions.done(ids)
            self._may_ask_at = time.monotonic() + self._pace.rest_s
            self._lock.release()

    def freshen(self) -> None:
        """Have Slurm asked now, for an answer about jobs that run, and wait a moment for it.

        However many answers want that, Slurm is asked once in FRESH_S. Where it is slow or does not answer, or the
        background thread has not been started, nothing is waited for.
        """
        state = self.state
        is_fresh = state.polled_at is not None and time.time() - state.polled_at < max(FRESH_S, self._pace.rest_s)
        if is_fresh or state.error or state.behind_s or self.rest_s > self._interval_s or not self._thread.is_alive():
            return
        with self._polled:
            seen = self._polls
            self._wake.set()
            self._polled.wait_for(lambda: self._polls > seen or self._stop.is_set(), FRESHEN_WAIT_S)

    def refresh_nodes(self) -> bool:
        """Read the list of nodes again, unless that was done a moment ago, because a node may be newer than the list.

        Return False if the list may be old because Slurm does not answer.
        """
        if not self._nodes_lock.acquire(timeout=REFRESH_WAIT_S):
            return False
        try:
            if not self._nodes_are_new():
                self._load_nodes()
        except SlurmError as err:
            self._note(str(err))
        finally:
            self._nodes_lock.release()
        return self._nodes_are_new()

    def _nodes_are_new(self) -> bool:
        return time.monotonic() - self._nodes_at < NODES_AT_MOST_EVERY_S

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(Exception):  # noted, and told once
                self.poll()
            with self._polled:
                self._polls += 1
                self._wake.clear()
                self._polled.notify_all()
            self._wake.wait(self.rest_s)

    @property
    def rest_s(self) -> float:
        """Return the time until the next poll: the interval, less while catching up, more while slurmdbd is slow."""
        least = LEAST_REST_S if self.state.behind_s and not self.state.error else self._interval_s
        return max(least, self._pace.rest_s)

    def _note(self, error: str) -> bool:
        """Note the state, and return whether it is another one than before."""
        is_new = error != self.state.error
        if is_new and not self._stop.is_set():
            if error:
                log.warning("slurm: %s; going on with what is known", error)
            else:
                log.warning("slurm: answers again")
        self._know(error=error)
        return is_new

    def _know(self, **facts: Any) -> None:
        with self._state_lock:
            self.state = replace(self.state, **facts)

    def _poll(self, now: int) -> int:
        with self._nodes_lock:
            if not self._nodes_are_new():
                self._load_nodes()
        if time.monotonic() - self._rights_at > RIGHTS_EVERY_S or not self._rights_at:
            self._know(rights=load_rights(self._programs), limits=load_limits(self._programs))
            self._rights_at = time.monotonic()
        if self._client is None:
            self._client = choose_client(self._source, self._programs)
        changed = self._poll_jobs(self._client, now)
        self._know(source=self._client.name, polled_at=now)
        return changed

    def _load_nodes(self) -> None:
        if not self.state.cluster:
            cluster = load_cluster_config(self._programs).get("ClusterName", "")
            if not cluster:
                raise SlurmError("scontrol show config names no ClusterName; set [site] cluster")
            self._know(cluster=cluster)
        nodes = load_nodes(self._programs)
        before = {**self.state.departed, **(self.state.nodes or {})}
        departed = [(name, host) for name, host in before.items() if name not in nodes]
        self._know(nodes=nodes, departed=dict(departed[-MOST_DEPARTED:]))
        self._nodes_at = time.monotonic()

    def _poll_jobs(self, client: SlurmClient, now: int) -> int:
        database, terms = self._site.database, self._site.terms
        known = database.run(lambda session: cluster_named(session, self.state.cluster).polled_until)
        is_due = time.monotonic() - self._looked_back_at > LOOK_BACK_EVERY_S
        longest_s = self._pace.within(self.state.limits.query_s).window_s
        since, until = window(known, now, longest_s, look_back=is_due)
        jobs = self._ask(client, since, until)
        if until == now:
            jobs += self._ask_by_id(client, jobs, now)
        # A window holds the jobs of the ten minutes before as well. Of most of them Slurm says what it said before.
        said = {} if is_due else self._recorded
        news = [job for run, job in _by_run(jobs).items() if said.get(run) != job]

        def record(session: Session) -> int:
            cluster_named(session, self.state.cluster).polled_until = until
            return record_jobs(session, news, terms)

        changed = database.run(record)
        self._recorded = _by_run(jobs)
        if is_due and until == now:
            self._looked_back_at = time.monotonic()
            database.run(partial(settle.update_estimates, terms=terms, since=now - ESTIMATES_S))
        self._know(behind_s=now - until)
        return changed

    def _ask(self, client: SlurmClient, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        started = time.monotonic()
        answered = False
        try:
            jobs = client.jobs(since, until, job_ids)
            answered = True
        finally:
            self._pace = self._pace.after(time.monotonic() - started, answered)
        return jobs

    def _ask_by_id(self, client: SlurmClient, jobs: list[SlurmJob], now: int) -> list[SlurmJob]:
        """Return the jobs that the window missed, which are asked for by JobID every ASK_BY_ID_EVERY_S."""
        if self._asked_by_id_at and time.monotonic() - self._asked_by_id_at < ASK_BY_ID_EVERY_S:
            return []
        self._asked_by_id_at = time.monotonic()

        def find(session: Session) -> tuple[dict[int, int], Turn]:
            cluster = cluster_named(session, self.state.cluster)
            return unsettled(session, cluster.id, jobs, now - LEDGERS_S, self._turn)

        missed, self._turn = self._site.database.run(find)
        if not missed:
            return []
        return self._ask(client, min(missed.values()) - OVERLAP_S, now + 1, sorted(missed))
