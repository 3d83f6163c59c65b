# SPDX-License-Identifier: MIT
"""Puts jobs into sacct's order: by the time of submission, and the tasks of an array together, in order.

Of the jobs of one second those that are no tasks of an array come first, by JobID. The last task of an array keeps the
array's number, so an order by JobIDRaw would put it first.
"""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

WAITING_TASKS = 1 << 32
"""The place of `12_[3-9]`, the tasks that have not started: after all others."""


def in_order(jobs: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the jobs in sacct's order."""
    return sorted(jobs, key=_place)


def _place(job: Mapping[str, Any]) -> tuple[int, int, int, int]:
    submit, raw = job.get("submit") or 0, job.get("job_id_raw") or 0
    array, underscore, task = str(job.get("job_id") or "").partition("_")
    if not underscore or not array.isdecimal():
        return submit, 0, 0, raw
    return submit, int(array), int(task) if task.isdecimal() else WAITING_TASKS, raw
