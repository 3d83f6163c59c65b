# SPDX-License-Identifier: MIT
"""Chooses among the jobs of an answer by what the aggregator is not asked for: groups, sizes and time limits."""

from __future__ import annotations

import re

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from . import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Job = dict[str, Any]
    Test = Callable[[Job], bool]

LIMIT = r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?"
UNLIMITED = ("infinite", "unlimited", "-1")


def chosen(jobs: Sequence[Job], tests: Sequence[Test], every_run: bool) -> list[Job]:
    """Return the runs that pass every test, in their order: of each JobID the newest of them, or every run.

    A resize makes another record of the same run, which stays.
    """
    passed = [job for job in jobs if all(test(job) for test in tests)]
    if every_run:
        return passed
    newest = {
        (job["cluster"], job["job_id_raw"]): job["submit"] for job in sorted(passed, key=lambda job: job["submit"])
    }
    return [
        job
        for job in passed
        if job.get("state") == "RESIZING" or newest[job["cluster"], job["job_id_raw"]] == job["submit"]
    ]


def of_groups(words: Iterable[str]) -> list[Test]:
    """Return the test of -g. Raises CarbonError for a group that this host does not know, as sacct does."""
    numbers = {_gid(word) for word in words}
    return [lambda job: job.get("gid") in numbers] if numbers else []


def of_size(option: str, key: str, text: str) -> list[Test]:
    """Return the test of -i or -I: `2` or `2-4`. Raises UsageError."""
    if not text:
        return []
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip(), re.ASCII)
    if not match:
        raise UsageError(f"{option} {text}: not a number or a range; it looks like 2 or 2-4")
    least, most = int(match[1]), int(match[2] or match[1])

    def fits(job: Job) -> bool:
        size = job.get(key)
        # Of a job that waits the size is what it asked for; sacct looks at what jobs were given.
        return size is not None and bool(job.get("nodelist")) and least <= size <= most

    return [fits]


def of_limit(least: str, most: str) -> list[Test]:
    """Return the test of -k and -K: exactly this limit, or with both from one to the other. Raises UsageError."""
    first, last = _minutes("-k", least), _minutes("-K", most)
    if first is None:
        return []
    bounds = (first, first if last is None else last)

    def fits(job: Job) -> bool:
        seconds = job.get("timelimit_s")
        return seconds is not None and bounds[0] <= seconds // 60 <= bounds[1]

    return [fits]


def with_local_uids(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs with the uid that this host knows the user by (--use-local-uid)."""
    import pwd

    found: dict[str, int | None] = {}

    def local(job: Job) -> int | None:
        name = cells.string(job, "user")
        if name not in found:
            try:
                found[name] = pwd.getpwnam(name).pw_uid
            except KeyError:
                found[name] = None
        known: int | None = found[name]
        return job.get("uid") if known is None else known

    return [{**job, "uid": local(job)} for job in jobs]


def _gid(word: str) -> int:
    import grp

    try:
        known = grp.getgrgid(int(word)) if word.isascii() and word.isdigit() else grp.getgrnam(word)
    except (KeyError, OverflowError, ValueError) as err:
        raise CarbonError(f"-g {word}: this host knows no such group") from err
    return known.gr_gid


def _minutes(option: str, text: str) -> int | None:
    """Return a time limit in minutes: `90`, `90:00`, `1:30:00`, `1-0`, `1-12:00`, as sbatch reads -t."""
    if not text:
        return None
    word = text.strip()
    match = re.fullmatch(LIMIT, word, re.ASCII)
    if word.lower() in UNLIMITED:
        raise UsageError(f"{option} {text}: jobs without a limit of their own have none to be chosen by")
    if not match:
        raise UsageError(f"{option} {text}: not a time limit; it looks like 90, 1:30:00 or 1-12")
    days, first, second, third = match.groups()
    if days is not None:
        seconds = ((int(days) * 24 + int(first)) * 60 + int(second or 0)) * 60 + int(third or 0)
    elif third is not None:
        seconds = (int(first) * 60 + int(second)) * 60 + int(third)
    else:
        seconds = int(first) * 60 + int(second or 0)
    if seconds <= 0:
        raise UsageError(f"{option} {text}: a time limit is more than nothing")
    return -(-seconds // 60)
