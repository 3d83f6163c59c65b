# SPDX-License-Identifier: MIT
"""Which run of a job a ledger belongs to: by what a node knows of it, never by the JobID alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.slurm.matching import Run, match, whole

T = 1_000_000
FIRST = Run(1, T, T + 10, T + 100, "REQUEUED", None, None)
SECOND = Run(2, T + 101, T + 230, T + 300, "COMPLETED", None, None)


def key(run: str, opened: int, *runs: Run) -> int | None:
    found = match(run, opened, runs)
    return found.key if found else None


def test_sluid() -> None:
    """A SLUID is exact, whatever the times say."""
    runs = (replace(FIRST, sluid="s1"), replace(SECOND, sluid="s2"))
    assert key("sluid:s2", T, *runs) == 2
    assert key("sluid:s3", T + 20, *runs) is None


BEFORE = Run(1, T, T + 10, T + 100, "RESIZING", None, None)
AFTER = Run(2, T + 100, T + 100, T + 200, "COMPLETED", None, None)


@pytest.mark.parametrize("run", ["restart:0", f"start:{T + 10}", f"start:{T + 100}", f"seen:{T + 11}"])
@pytest.mark.parametrize("opened", [T + 11, T + 101])
def test_a_resized_run_is_its_newest_record(run: str, opened: int) -> None:
    """A resize splits Slurm's record; ledgers of before and after it belong to the newest, whatever nodes know."""
    assert key(run, opened, AFTER, BEFORE) == 2
    assert key(run, T + 11, BEFORE) == (None if run == f"start:{T + 100}" else 1)


def test_resized_run_by_sluid() -> None:
    """The nodes keep the first record's SLUID; the record that a resize begins has its own (Slurm 24.11 to 25.11)."""
    before, after = replace(BEFORE, sluid="s1"), replace(AFTER, sluid="s2")
    assert key("sluid:s1", T + 11, before, after) == 2
    assert key("sluid:s2", T + 101, before, after) == 2


def test_a_resize_is_no_restart() -> None:
    """A run that was resized twice and then requeued is followed by restart 1, not 3."""
    again = replace(BEFORE, key=2, submit=T + 100, start=T + 100, end=T + 200)
    last = replace(AFTER, key=3, submit=T + 200, start=T + 200, end=T + 300, state="REQUEUED")
    second = Run(4, T + 301, T + 302, None, "RUNNING", None, None)
    assert key("restart:0", T + 150, BEFORE, again, last, second) == 3
    assert key("restart:1", T + 302, BEFORE, again, last, second) == 4


def test_a_resize_of_long_ago() -> None:
    """A record that does not begin where the resized one ended is another run."""
    later = replace(AFTER, submit=T + 10**6, start=T + 10**6, end=None)
    assert [run.key for run in whole([later, BEFORE])] == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_runs_within_seconds_of_each_other(lives: list[tuple[int, int]]) -> None:
    """However fast a job is requeued, each run's ledger finds its own record: two in one second as well."""
    runs: list[Run] = []
    at = T
    for number, (waits, lasts) in enumerate(lives):
        start = at + waits
        last = number == len(lives) - 1
        runs.append(Run(number, at, start, start + lasts, "COMPLETED" if last else "REQUEUED", None, None))
        at = max(
            start + lasts, at + 1
        )  # slurmctld gives a requeued job another submit time, if need be the next second
    for run in runs:
        assert run.start is not None
        assert key(f"restart:{run.key}", run.start, *runs) == run.key


def test_start() -> None:
    """A start time fits the run that started within seconds of it."""
    assert key(f"start:{T + 12}", T + 12, FIRST, SECOND) == 1
    assert key(f"start:{T + 230}", T + 231, FIRST, SECOND) == 2
    assert key(f"start:{T + 50}", T + 50, FIRST, SECOND) is None


def test_restart_count_before_start_times() -> None:
    """Slurm 22.05: the n-th run by submit order that the opening lies in."""
    assert key("restart:0", T + 11, FIRST, SECOND) == 1
    assert key("restart:1", T + 231, SECOND, FIRST) == 2


def test_restart_record_not_there_yet() -> None:
    """The second run's ledger does not fall to the first while Slurm has not told of the second."""
    assert key("restart:1", T + 120, FIRST) is None


def test_quick_requeue() -> None:
    """Two runs within a minute of each other are told apart by their count."""
    quick = Run(2, T + 101, T + 102, T + 130, "COMPLETED", None, None)
    assert key("restart:0", T + 99, FIRST, quick) == 1
    assert key("restart:1", T + 101, FIRST, quick) == 2


def test_job_id_used_again() -> None:
    """A JobID that wrapped starts at restart 0 again; time says which of the two it is."""
    done = replace(FIRST, state="COMPLETED")
    reused = Run(9, T + 10**7, T + 10**7 + 5, None, "RUNNING", None, None)
    assert key("restart:0", T + 11, done, reused) == 1
    assert key("restart:0", T + 10**7 + 6, done, reused) == 9


def test_purged_first_run() -> None:
    """A later run is found although slurmdbd no longer knows the first."""
    assert key("restart:1", T + 231, SECOND) == 2


def test_known_restarts() -> None:
    """Where sacct gives Restarts (24.11), the count must agree."""
    runs = (replace(FIRST, restarts=0), replace(SECOND, restarts=1))
    assert key("restart:1", T + 231, *runs) == 2
    assert key("restart:0", T + 231, *runs) is None


def test_seen() -> None:
    """A job that was only seen belongs to the run that was running then."""
    assert key(f"seen:{T + 50}", T + 50, FIRST, SECOND) == 1
    assert key(f"seen:{T + 165}", T + 165, FIRST, SECOND) is None


def test_never_started() -> None:
    """A pending run cannot have a ledger."""
    pending = Run(3, T + 400, None, None, "PENDING", None, None)
    assert key("restart:0", T + 401, pending) is None


def test_a_run_under_which_the_clock_was_set_back() -> None:
    """It ended before it was submitted, and began when it ended, for Slurm; by both clocks the node's ledgers are its own."""
    run = Run(1, 9_990, 6_420, 6_420, "COMPLETED", None, None)
    assert match("restart:0", 6_400, [run]) is run
    assert match("restart:0", 10_000, [run]) is run
    assert match("restart:0", 20_000, [run]) is None
