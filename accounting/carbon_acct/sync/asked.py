# SPDX-License-Identifier: MIT
"""Decides which JobIDs Slurm is asked about because a user asks for them, so that many users do not ask it often.

A poll returns what Slurm calls eligible. A job that is held, or waits for a time to begin, is none until then; sacct
shows it to those who ask for it by number, and so does the accounting. Which jobs have ended for good is in the
database, and nothing is asked about them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.lists import Lists
from carbon_acct.db.models import Job

AGAIN_S = 5.0
"""The seconds after which Slurm may be asked about a JobID again, whoever asks."""
MOST = 100
"""JobIDs in a question to Slurm."""
REMEMBERED = 10_000
RUNS_AGAIN = frozenset({"REQUEUED", "NODE_FAIL", "PREEMPTED"})
"""The states of an ended run after which the job may wait again."""


class Questions:
    """The JobIDs that Slurm is to be asked about, oldest first, and when it was asked of late. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._at: OrderedDict[int, float] = OrderedDict()

    def add(self, ids: Iterable[int]) -> None:
        """Have Slurm asked about these JobIDs, at most MOST, unless it answered about them a moment ago."""
        now = time.monotonic()
        with self._lock:
            for one in list(dict.fromkeys(ids))[:MOST]:
                if now - self._at.get(one, -AGAIN_S) >= AGAIN_S:
                    self._waiting.setdefault(one)
            while len(self._waiting) > REMEMBERED:
                self._waiting.popitem(last=False)

    def waits(self, ids: Iterable[int]) -> bool:
        """Return whether Slurm has still to be asked about one of these JobIDs."""
        with self._lock:
            return any(one in self._waiting for one in ids)

    def next(self, first: Iterable[int]) -> list[int]:
        """Return the JobIDs to ask about next: those of `first` that wait, and others. They wait until `done`."""
        with self._lock:
            return list(dict.fromkeys([one for one in first if one in self._waiting] + list(self._waiting)))[:MOST]

    def done(self, ids: Iterable[int]) -> None:
        """Note that Slurm was asked about these JobIDs now, whether it answered or not."""
        now = time.monotonic()
        with self._lock:
            for one in ids:
                self._waiting.pop(one, None)
                self._at[one] = now
                self._at.move_to_end(one)
            while len(self._at) > REMEMBERED:
                self._at.popitem(last=False)


class Unsettled(NamedTuple):
    """JobIDs of which Slurm may know more than the accounting.

    `missing`: it has no run of them, or the newest has ended and may run again. `running`: the newest has not ended, and
    a poll tells of it as well.
    """

    missing: list[int]
    running: list[int]


def unsettled_of(session: Session, ids: Collection[int]) -> Unsettled:
    """Return those of the JobIDs of which Slurm may know more than the accounting."""
    lists = Lists(session.get_bind().dialect.name)
    query = select(Job.job_id_raw, Job.leader_id, Job.end, Job.state).order_by(Job.submit)
    known: set[int] = set()
    again: set[int] = set()
    running: set[int] = set()
    for column in (Job.job_id_raw, Job.leader_id):
        newest = {row.job_id_raw: row for row in session.execute(query.where(lists.among(column, ids)))}
        for row in newest.values():
            both = {row.job_id_raw, row.leader_id}
            known |= both
            if row.state in RUNS_AGAIN:
                again |= both
            elif row.end is None:
                running |= both
    missing = [one for one in ids if one not in known or one in again]
    return Unsettled(missing, [one for one in ids if one in running and one not in again])
