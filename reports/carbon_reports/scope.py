# SPDX-License-Identifier: MIT
"""Which runs of jobs a month's report is about, and what of them lies in the month, as the database is asked for it.

A month is whole days of the site, and the database has days of jobs: no amount has to be cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, func, or_

from carbon_acct.db.models import Job, JobDay
from carbon_acct.window import Window, inside

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


@dataclass(frozen=True)
class Scope:
    """Epoch seconds [start, end) of a month, and the instant that runs which have not ended lasted to."""

    start: int
    end: int
    now: int

    def seconds(self, start: int | None, end: int | None) -> int:
        """How long a run was in the month."""
        return inside(start, end, self.now, Window(self.start, self.end))

    def days(self) -> ColumnElement[bool]:
        """Days of jobs that are the month's."""
        return and_(JobDay.day >= self.start, JobDay.day < self.end)

    def overlapping(self) -> ColumnElement[bool]:
        """Runs that were there in the month by Slurm's times: one that ended with the last month's last second was not."""
        instant = and_(Job.start == self.start, Job.end == self.start)
        return and_(Job.start < self.end, or_(Job.end.is_(None), Job.end > self.start, instant))

    def node_seconds(self) -> ColumnElement[int]:
        """Of a run in the month, by Slurm's times. One whose nodes are not known had one."""
        first = case((Job.start < self.start, self.start), else_=Job.start)
        last = case((Job.end.is_(None), self.now), else_=Job.end)
        last = case((last > self.end, self.end), else_=last)
        return case((last > first, last - first), else_=0) * func.coalesce(func.nullif(Job.nnodes, 0), 1)
