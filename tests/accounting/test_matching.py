# SPDX-License-Identifier: MIT
"""Which run of a job a ledger belongs to: by what a node knows of it, never by the JobID alone."""

from __future__ import annotations

from dataclasses import replace

from carbon_acct.matching import Run, match

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


def test_resized_job_keeps_its_sluid() -> None:
    """A resize splits the record and keeps the SLUID: the ledger goes where its opening lies."""
    runs = (replace(FIRST, sluid="s1", state="RESIZING"), replace(SECOND, sluid="s1", start=T + 100))
    assert key("sluid:s1", T + 11, *runs) == 1
    assert key("sluid:s1", T + 120, *runs) == 2


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
