# SPDX-License-Identifier: MIT
"""Reads runs of jobs one by one, with their part of a period: the same as the HTTP API returns for that window.

It reads only the runs that a report names, or that the database cannot judge by itself. A list of all of them takes its
time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.models import Cluster, Job
from carbon_acct.db.rows import AT_ONCE, IDS, ask_ids, chunks
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import SHOWN, Filters
from carbon_acct.queries.jobs import records_of
from carbon_acct.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.orm import Session

    from .scope import Scope

_JOBS = select(*SHOWN, Job.association_id).join(Cluster, Cluster.id == Job.cluster_id).where(Job.id.in_(IDS))


class Run(NamedTuple):
    """A run of a job. `record` has the keys of the HTTP API, in its order."""

    id: int
    association: int
    record: dict[str, Any]

    @property
    def used_uj(self) -> int | None:
        """Return its energy, measured and estimated."""
        return sum_known((self.record["energy_uj"], self.record["estimated_uj"]))


def read(session: Session, ids: Iterable[int], scope: Scope) -> Iterator[Run]:
    """Yield the runs with these ids, in that order."""
    filters = Filters(viewer=EVERYTHING, window=Window(scope.start, scope.end), truncate=True)
    for part in chunks(list(ids), AT_ONCE):
        jobs = {job.id: job for job in ask_ids(session, _JOBS, part)}
        ordered = [jobs[key] for key in part]
        records = records_of(session, ordered, filters, scope.now)
        for job, record in zip(ordered, records, strict=True):
            yield Run(job.id, job.association_id, vars(record))
