# SPDX-License-Identifier: MIT
"""Translates sacct's options for users, states, jobs and the time window into the parameters of `GET /v1/jobs`."""

from __future__ import annotations

import re

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from . import timespec
from .job_states import STATES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Job = dict[str, Any]

JOB_ID = r"(\d+)(?:([_+])(?:(\d+)|\[([\d,-]+)\]))?"
LIMIT = r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?"
UNLIMITED = ("infinite", "unlimited", "-1")
MOST_TASKS = 100_000  # an array's size is bounded by MaxArraySize, 4,000,001 at most and 1,001 by default


class Window(NamedTuple):
    """A window of time [start, end) in epoch seconds. It selects the jobs that overlap it."""

    start: int
    end: int


def window(start: str, end: str, jobs: bool, states: bool, now: int) -> Window:
    """Return the window that -S and -E give, with sacct's defaults (sacct(1), DEFAULT TIME WINDOW). Raises UsageError."""
    first = timespec.parse_time(start, now) if start else None
    last = timespec.parse_time(end, now) if end else None
    if first is None:
        first = 0 if jobs else now if states else timespec.local_midnight(now)
    if last is None:
        last = first if states and first else now
    if first > last:
        shown = [timespec.show_time(when, "", now) for when in (first, last)]
        raise UsageError(f"the start of the window ({shown[0]}) is after its end ({shown[1]})")
    # The end is exclusive: an instant is a second long, and now is part of the window that ends now.
    return Window(first, last + 1 if last in (first, now) else last)


def states(text: str) -> str:
    """Return the long names of states: `ca,Completed` becomes `CANCELLED,COMPLETED`. Raises UsageError."""
    return ",".join(_state(word) for word in words(text))


def job_ids(text: str) -> str:
    """Return JobIDs one by one: `12,13_[1-3],14+1` becomes `12,13_1,13_2,13_3,14+1`. Raises UsageError."""
    return ",".join(job_id for word in _outside_brackets(text) for job_id in _job_id(word))


def groups(text: str) -> str:
    """Return the numbers of groups (-g). Raises CarbonError for a group that this host does not know, as sacct does."""
    return ",".join(str(_gid(word)) for word in words(text))


def size(option: str, text: str) -> str:
    """Return the range of -i or -I, `2` or `2-4`. Raises UsageError."""
    if text and not re.fullmatch(r"\d{1,9}(-\d{1,9})?", text.strip(), re.ASCII):
        raise UsageError(f"{option} {text}: not a number or a range; it looks like 2 or 2-4")
    return text.strip()


def time_limit(least: str, most: str) -> str:
    """Return the range of time limits in minutes: -k alone is exactly that limit, and -K alone nothing. Raises UsageError."""
    first, last = _minutes("-k", least), _minutes("-K", most)
    return "" if first is None else f"{first}-{first if last is None else last}"


def with_local_uids(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs with the uid that this host knows the user by (--use-local-uid)."""
    import pwd

    found: dict[str, int | None] = {}

    def local(job: Job) -> int | None:
        name = str(job.get("user") or "")
        if name not in found:
            try:
                found[name] = pwd.getpwnam(name).pw_uid
            except KeyError:
                found[name] = None
        known: int | None = found[name]
        return job.get("uid") if known is None else known

    return [{**job, "uid": local(job)} for job in jobs]


def words(text: str) -> list[str]:
    """Return the words of a comma-separated list, without empty ones."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _state(word: str) -> str:
    known = {**{name.lower(): name for name in STATES.values()}, **{k.lower(): v for k, v in STATES.items()}}
    lower = word.lower()
    if lower in known:
        return known[lower]
    import difflib

    close = difflib.get_close_matches(lower, [name.lower() for name in STATES.values()], 1, 0.6)
    hint = f"did you mean {known[close[0]]}?" if close else f"one of {', '.join(STATES.values())}"
    raise UsageError(f"unknown state {word!r}; {hint}")


def _outside_brackets(text: str) -> list[str]:
    return [word.strip() for word in re.split(r",(?![^\[]*\])", text) if word.strip()]


def _job_id(word: str) -> list[str]:
    job, dot, _ = word.partition(".")
    match = re.fullmatch(JOB_ID, job, re.ASCII)
    if dot and match:
        raise UsageError(f"-j {word}: jobs are accounted, not their steps; ask for {job}")
    if not match:
        raise UsageError(f"-j {word}: not a job; it looks like 12, 12_3, 12_[1-4] or 12+1")
    leader, sign, _, tasks = match.groups()
    return [f"{leader}{sign}{task}" for task in _tasks(word, tasks)] if tasks else [job]


def _tasks(word: str, text: str) -> list[int]:
    tasks: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) - int(first) > MOST_TASKS:
            raise UsageError(f"-j {word}: {part!r} is no range of array tasks")
        tasks += range(int(first), int(last or first) + 1)
    return tasks


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
