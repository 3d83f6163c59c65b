# SPDX-License-Identifier: MIT
"""Finds the run of a job that a node's ledger belongs to: pure, and a function of what is known now.

A JobID identifies nothing by itself: requeues keep it, and ids wrap and are used again. What a node
knows of the run depends on Slurm's release (SLUID, start time, restart count, or only that it saw the
job's cgroup), so the answer may change when Slurm's record grows; it is then asked for again.

A resize splits the record of a run and the nodes know nothing of it: a ledger that goes on spans several
records. So all ledgers of such a run belong to its newest record, and the earlier ones (RESIZING) have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

START_SLACK_S = 5
"""The prolog's SLURM_JOB_START_TIME and sacct's Start are one figure; a resize may move it a little."""

OPENED_SLACK_S = 60
"""A prolog runs a little after Start (a node that boots: more), and clocks of node and controller differ."""

REQUEUEING = ("REQUEUED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL")

RESIZED = "RESIZING"
"""State of a record that a resize ended; the next record of the run begins, and was "submitted", at its end."""

RESIZE_SLACK_S = 5

LATE_SOURCES = ("epilog", "cgroup")
"""Ledgers of jobs that no prolog announced: they were opened when the job was found, or only at its end."""


@dataclass(frozen=True)
class Run:
    """A run in Slurm's record: what identifies it. `key` is the key of its record, or of its newest record if it was
    resized.
    """

    key: int
    submit: int
    start: int | None
    end: int | None
    state: str
    restarts: int | None
    sluid: str | None
    parts: tuple[Run, ...] = ()
    """The records that resizes split it into, oldest first."""

    @property
    def records(self) -> tuple[Run, ...]:
        """Return all records of the run."""
        return self.parts or (self,)


def whole(records: Iterable[Run]) -> list[Run]:
    """Return the runs that records make up, oldest first. Records that a resize split are one run, named by its newest
    record.
    """
    runs: list[list[Run]] = []
    for record in sorted(records, key=lambda r: r.submit):
        if runs and _goes_on(runs[-1][-1], record):
            runs[-1].append(record)
        else:
            runs.append([record])
    return [_joined(parts) if len(parts) > 1 else parts[0] for parts in runs]


def _goes_on(before: Run, after: Run) -> bool:
    return before.state == RESIZED and before.end is not None and abs(after.submit - before.end) <= RESIZE_SLACK_S


def _joined(parts: list[Run]) -> Run:
    return replace(parts[-1], submit=parts[0].submit, start=parts[0].start, parts=tuple(parts))


def match(run: str, opened: int, runs: Sequence[Run]) -> Run | None:
    """Return the run, among all known `runs` of one JobID, to which a ledger with this `run` key and `opened` belongs."""
    kind, _, value = run.partition(":")
    ordered = whole(runs)
    if kind == "sluid":
        return _best([r for r in ordered if value in {record.sluid for record in r.records}], opened)
    if kind == "start":
        return _best([r for r in ordered if _started(r, int(value))], opened)
    if kind == "restart":
        return _by_restart(int(value), opened, ordered)
    return _best([r for r in ordered if _holds(r, opened)], opened)


def _started(run: Run, at: int) -> bool:
    return any(r.start is not None and abs(r.start - at) <= START_SLACK_S for r in run.records)


def _by_restart(count: int, opened: int, ordered: list[Run]) -> Run | None:
    """Return the run with this restart count. Before Slurm 23.02 a prolog knows the count and not the start time.

    The count alone does not decide: a JobID that is used again starts from 0, and the first runs may have been purged.
    So time decides, and the count decides between runs that lie within the slack of each other.
    """
    held = [r for r in ordered if _holds(r, opened) and r.restarts in (None, count)]
    # Opened after this run ended, and of a later restart: its own record has not come yet.
    held = [r for r in held if not (r.end is not None and opened > r.end and _restart_of(r, ordered) < count)]
    exact = [r for r in held if _restart_of(r, ordered) == count]
    return _best(exact or held, opened)


def _restart_of(run: Run, ordered: list[Run]) -> int:
    """Return how often the job had been restarted: the number of runs before it, back to one that did not end in a
    requeue.
    """
    if run.restarts is not None:
        return run.restarts
    count = 0
    for earlier in reversed(ordered[: ordered.index(run)]):
        if not earlier.state.startswith(REQUEUEING):
            break
        count += 1
    return count


def _holds(run: Run, opened: int) -> bool:
    if run.start is None:
        return False
    first, last = _span(run, run.start)
    return first - OPENED_SLACK_S <= opened and (run.end is None or opened <= last + OPENED_SLACK_S)


def _span(run: Run, start: int) -> tuple[int, int]:
    """Return the first and last second of a run.

    If the clock was set back during the run, it ended before it was submitted, and Slurm then reports its end for its
    start as well. By the old clock it began after its submission.
    """
    if run.end is None:
        return start, start
    return min(start, run.end), max(start, run.end, run.submit if run.end < run.submit else start)


def _best(candidates: list[Run], opened: int) -> Run | None:
    """Return the best candidate: one that was running at `opened`, then the nearest start, then the later one."""
    return min(candidates, key=lambda r: (_away(r, opened), abs((r.start or 0) - opened), -r.submit), default=None)


def _away(run: Run, opened: int) -> int:
    """Return the seconds between `opened` and the run's own time, 0 inside it."""
    start = run.start if run.start is not None else opened
    first, last = _span(run, start)
    return max(first - opened, 0 if run.end is None else opened - last, 0)
