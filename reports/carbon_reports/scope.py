# SPDX-License-Identifier: MIT
"""The runs of jobs that a period's report is about, and the part of them that lies in the period, as conditions for the
database.

A month is made of whole days of the site, and the database has days of jobs, so no amount has to be cut.
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
    """The epoch seconds [start, end) of a period, and the time until which runs that have not ended are counted."""

    start: int
    end: int
    now: int

    def seconds(self, start: int | None, end: int | None) -> int:
        """Return how long a run was in the period."""
        return inside(start, end, self.now, Window(self.start, self.end))

    def days(self) -> ColumnElement[bool]:
        """Return the condition for days of jobs that belong to the month."""
        return and_(JobDay.day >= self.start, JobDay.day < self.end)

    def overlapping(self) -> ColumnElement[bool]:
        """Return the condition for runs that ran in the period by Slurm's times. One that ended with the last period's
        last second did not.
        """
        instant = and_(Job.start == self.start, Job.end == self.start)
        return and_(Job.start < self.end, or_(Job.end.is_(None), Job.end > self.start, instant))

    def node_seconds(self) -> ColumnElement[int]:
        """Return the node-seconds of a run in the period by Slurm's times. A run whose nodes are not known had one."""
        return self.run_seconds() * func.coalesce(func.nullif(Job.nnodes, 0), 1)

    def run_seconds(self) -> ColumnElement[int]:
        """Return the seconds of a run in the period by Slurm's times."""
        first = case((Job.start < self.start, self.start), else_=Job.start)
        last = case((Job.end.is_(None), self.now), else_=Job.end)
        last = case((last > self.end, self.end), else_=last)
        return case((last > first, last - first), else_=0)
