# SPDX-License-Identifier: MIT
"""The limits of slurmdbd: the longest window of a query, and the time after which it purges jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carbon_acct.slurm.nodes import parse_config
from carbon_acct.slurm.programs import Programs
from carbon_collector.units import DAY_S

UNITS_S = {"hour": 3600, "day": DAY_S, "month": 31 * DAY_S}


@dataclass(frozen=True)
class DbdLimits:
    """Limits in seconds. None means no limit, or none that could be read."""

    query_s: int | None = None
    keep_jobs_s: int | None = None


def load_limits(programs: Programs) -> DbdLimits:
    """Return slurmdbd's limits, by one short query. Raises SlurmError."""
    return parse_limits(programs.run("sacctmgr", "show", "configuration"))


def parse_limits(text: str) -> DbdLimits:
    """Return the limits in the output of `sacctmgr show configuration`."""
    config = parse_config(text)
    return DbdLimits(_time(config.get("MaxQueryTimeRange", "")), _age(config.get("PurgeJobAfter", "")))


def _time(text: str) -> int | None:
    """Return the seconds of `7-00:00:00` or `12:00:00`; None for UNLIMITED."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _age(text: str) -> int | None:
    """Return the seconds of `12 months`, `30 days*` or `48 hours`; None for NONE."""
    found = re.match(r"(\d+) *(hour|day|month)", text.lower())
    return int(found[1]) * UNITS_S[found[2]] if found else None
