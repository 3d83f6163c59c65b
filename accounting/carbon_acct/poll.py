# SPDX-License-Identifier: MIT
"""Asks Slurm, once a minute, for what changed: its jobs, its nodes, its users' rights.

Slurm may be down for hours: what is known holds, the failure is logged once, and the poll goes on. A poll
is one bounded query of slurmdbd, and now and then a second one for the few jobs that the window missed.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from carbon_acct.errors import DatabaseError, SlurmError
from carbon_acct.jobs import record_jobs, unsettled
from carbon_acct.receive import cluster_named
from carbon_acct.site import Site
from carbon_acct.slurm.choose import choose_client
from carbon_acct.slurm.client import SlurmClient, SlurmJob
from carbon_acct.slurm.nodes import NodeHost, load_cluster_config, load_nodes
from carbon_acct.slurm.programs import Programs
from carbon_acct.slurm.rights import Rights, load_rights
from carbon_collector.errors import CarbonError

log = logging.getLogger(__name__)

OVERLAP_S = 600
"""The window reaches so far back before the last poll: slurmctld tells slurmdbd with some delay."""

FIRST_WINDOW_S = 7 * 86400
LOOK_BACK_S = 30 * 86400
"""Jobs and ledgers older than this are no longer asked for."""

SETTLE_EVERY_S = 600
RIGHTS_EVERY_S = 600
NODES_AT_MOST_EVERY_S = 10
REFRESH_WAIT_S = 5


@dataclass(frozen=True)
class SlurmState:
    """What is known of Slurm. `nodes` and `rights` are None as long as they were never known."""

    cluster: str = ""
    nodes: dict[str, NodeHost] | None = None
    rights: Rights | None = None
    source: str = ""
    polled_at: int | None = None
    error: str = ""


class Poller:
    """Keeps `state` and the database's jobs up to date. `poll` may be called by any thread."""

    def __init__(self, site: Site, programs: Programs, source: str, interval_s: float) -> None:
        self.state = SlurmState(cluster=site.cluster)
        self._site = site
        self._programs = programs
        self._source = source
        self._interval_s = interval_s
        self._client: SlurmClient | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._rights_at = self._settled_at = self._nodes_at = 0.0
        self._thread = threading.Thread(target=self._run, name="slurm-poll", daemon=True)

    def start(self) -> None:
        """Poll in the background until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the polling, and a program of Slurm's that is running for it."""
        self._stop.set()
        self._programs.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def poll(self, thorough: bool = False) -> int:
        """Ask Slurm now; how many jobs were new or different. `thorough` skips no query. Raises CarbonError."""
        with self._lock:
            if thorough:
                self._rights_at = self._settled_at = 0.0
            try:
                changed = self._poll(int(time.time()))
            except DatabaseError:
                raise  # it tells of itself
            except CarbonError as err:
                self._note(str(err))
                raise
            self._note("")
            return changed

    def refresh_nodes(self) -> bool:
        """Read the node list again, unless that was done a moment ago: a node may be newer than the list.

        False: the list may be old, because Slurm does not answer, or a poll goes on for longer than a delivery can wait.
        """
        if not self._lock.acquire(timeout=REFRESH_WAIT_S):
            return False
        try:
            if not self._nodes_are_new():
                self._load_nodes()
        except SlurmError as err:
            self._note(str(err))
        finally:
            self._lock.release()
        return self._nodes_are_new()

    def _nodes_are_new(self) -> bool:
        return time.monotonic() - self._nodes_at < NODES_AT_MOST_EVERY_S

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except CarbonError:
                pass  # noted, and told once
            except Exception:
                log.exception("the poll of Slurm failed")
            self._stop.wait(self._interval_s)

    def _note(self, error: str) -> None:
        if error != self.state.error and not self._stop.is_set():
            if error:
                log.warning("slurm: %s; going on with what is known", error)
            else:
                log.warning("slurm: answers again")
        self.state = replace(self.state, error=error)

    def _poll(self, now: int) -> int:
        self._load_nodes()
        if time.monotonic() - self._rights_at > RIGHTS_EVERY_S or not self._rights_at:
            self.state = replace(self.state, rights=load_rights(self._programs))
            self._rights_at = time.monotonic()
        if self._client is None:
            self._client = choose_client(self._source, self._programs)
        changed = self._poll_jobs(self._client, now)
        self.state = replace(self.state, source=self._client.name, polled_at=now)
        return changed

    def _load_nodes(self) -> None:
        if not self.state.cluster:
            cluster = load_cluster_config(self._programs).get("ClusterName", "")
            if not cluster:
                raise SlurmError("scontrol show config names no ClusterName; set [site] cluster")
            self.state = replace(self.state, cluster=cluster)
        self.state = replace(self.state, nodes=load_nodes(self._programs))
        self._nodes_at = time.monotonic()

    def _poll_jobs(self, client: SlurmClient, now: int) -> int:
        database = self._site.database
        until = database.run(lambda session: cluster_named(session, self.state.cluster).polled_until)
        since = min(until, now) - OVERLAP_S if until else now - FIRST_WINDOW_S
        jobs = client.jobs(since, now + 1)
        jobs += self._settle(client, jobs, now)

        def record(session: Session) -> int:
            cluster_named(session, self.state.cluster).polled_until = now
            return record_jobs(session, jobs, self._site.prices)

        return database.run(record)

    def _settle(self, client: SlurmClient, jobs: list[SlurmJob], now: int) -> list[SlurmJob]:
        if self._settled_at and time.monotonic() - self._settled_at < SETTLE_EVERY_S:
            return []
        self._settled_at = time.monotonic()

        def find(session: Session) -> dict[int, int]:
            return unsettled(session, cluster_named(session, self.state.cluster).id, jobs, now - LOOK_BACK_S)

        missed = self._site.database.run(find)
        if not missed:
            return []
        return client.jobs(min(missed.values()) - OVERLAP_S, now + 1, list(missed))
