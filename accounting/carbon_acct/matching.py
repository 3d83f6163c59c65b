# SPDX-License-Identifier: MIT
"""Finds the run of a job that a node's ledger belongs to: pure, and a function of what is known now.

A JobID identifies nothing by itself: requeues keep it, and ids wrap and are used again. What a node
knows of the run depends on Slurm's release (SLUID, start time, restart count, or only that it saw the
job's cgroup), so the answer may change when Slurm's record grows; it is then asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

START_SLACK_S = 5
"""The prolog's SLURM_JOB_START_TIME and sacct's Start are one figure; a resize may move it a little."""

OPENED_SLACK_S = 60
"""A prolog runs a little after Start (a node that boots: more), and clocks of node and controller differ."""

REQUEUEING = ("REQUEUED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "RESIZING")


@dataclass(frozen=True)
class Run:
    """What identifies a run in Slurm's record."""

    key: int
    submit: int
    start: int | None
    end: int | None
    state: str
    restarts: int | None
    sluid: str | None


def match(run: str, opened: int, runs: Sequence[Run]) -> Run | None:
    """The run among all known `runs` of one JobID to which a ledger with this `run` key and `opened` belongs."""
    kind, _, value = run.partition(":")
    ordered = sorted(runs, key=lambda r: r.submit)
    if kind == "sluid":
        return _best([r for r in ordered if r.sluid == value], opened)
    if kind == "start":
        return _best([r for r in ordered if r.start is not None and abs(r.start - int(value)) <= START_SLACK_S], opened)
    if kind == "restart":
        return _by_restart(int(value), opened, ordered)
    return _best([r for r in ordered if _holds(r, opened)], opened)


def _by_restart(count: int, opened: int, ordered: list[Run]) -> Run | None:
    """Before Slurm 23.02 a prolog knows how often the job was restarted, not when it started.

    Time decides, because the count alone does not: a JobID used again starts from 0, and the first runs
    may have been purged. The count decides between runs that lie within the slack of each other.
    """
    held = [r for r in ordered if _holds(r, opened) and r.restarts in (None, count)]
    # Opened after this run ended, and of a later restart: its own record has not come yet.
    held = [r for r in held if not (r.end is not None and opened > r.end and _restart_of(r, ordered) < count)]
    exact = [r for r in held if _restart_of(r, ordered) == count]
    return _best(exact or held, opened)


def _restart_of(run: Run, ordered: list[Run]) -> int:
    """How often the job had been restarted: runs before it, back to one that did not end in a requeue."""
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
    """When a run was here. A clock that was set back under it has it end before it was submitted, and Slurm then tells
    its end for its start as well; by the old clock it began after its submission.
    """
    if run.end is None:
        return start, start
    return min(start, run.end), max(start, run.end, run.submit if run.end < run.submit else start)


def _best(candidates: list[Run], opened: int) -> Run | None:
    """One that was running at `opened` before one that was not, then the nearest start, then the later one."""
    return min(candidates, key=lambda r: (_away(r, opened), abs((r.start or 0) - opened), -r.submit), default=None)


def _away(run: Run, opened: int) -> int:
    """Seconds between `opened` and the run's own time, 0 inside it."""
    start = run.start if run.start is not None else opened
    first, last = _span(run, start)
    return max(first - opened, 0 if run.end is None else opened - last, 0)
