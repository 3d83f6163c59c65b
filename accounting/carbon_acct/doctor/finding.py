# SPDX-License-Identifier: MIT
"""What the checks of the doctor take and give: the site that is checked, and a finding about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from carbon_acct.slurm.programs import Programs
from carbon_collector.settings import Settings

OK, LOOK, FIX = "ok", "look", "fix"


class Finding(NamedTuple):
    """One result of a check: `ok`, `look` (an administrator should know) or `fix`, with the advice."""

    level: str
    subject: str
    text: str


class Patient(NamedTuple):
    """The site that is checked. `answers` maps the URL of each aggregator to its status over the last day."""

    config: Settings
    path: str
    programs: Programs
    answers: dict[str, Mapping[str, Any]]
    now: float
