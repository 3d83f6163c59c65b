# SPDX-License-Identifier: MIT
"""Writes the command that gives the same figures as a view. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date


def months(year: int) -> str:
    """Return the command for the months of a year."""
    return _line("-S", f"{year:04d}-01-01", "-E", f"{year + 1:04d}-01-01", "--by", "month")


def days(month: str) -> str:
    """Return the command for the days of a month."""
    return _line("--month", month, "--by", "day")


def jobs_of_day(day: date, after: date, timezone: str, state: str) -> str:
    """Return the command for the jobs of a day of the site. -S and -E are in the zone of whoever types it."""
    words = ["-T", "-S", f"{day}", "-E", f"{after}", *(["-s", state] if state else [])]
    return f"TZ={shlex.quote(timezone)} {_line(*words)}"


def job(job_id: str) -> str:
    """Return the command for one job."""
    return _line("-j", job_id)


def accounts(month: str, names: Sequence[str]) -> str:
    """Return the command for accounts in a month; without names for all of them."""
    chosen = ["-A", ",".join(names)] if names else []
    return _line("-a", *chosen, "--month", month, "--by", "account")


def users(month: str, account: str) -> str:
    """Return the command for the users of an account in a month."""
    return _line("-a", "-A", account, "--month", month, "--by", "user")


def _line(*words: str) -> str:
    return shlex.join(["carbon-acct", *words])
