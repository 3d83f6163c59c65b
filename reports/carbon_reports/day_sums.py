# SPDX-License-Identifier: MIT
"""Asks the database for sums of the jobs by day and by whom, from which `data` makes frames: no pandas here, which takes a
second to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from carbon_acct.db.exact_sum import exact_parts, exact_whole
from carbon_acct.db.large_sums import known
from carbon_acct.db.models import Association, Cluster, DaySum
from carbon_acct.db.rows import ask
from carbon_acct.known import sum_known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from .period import Period

KEYS = {
    "cluster": Cluster.name,
    "user": Association.user,
    "account": Association.account,
    "partition": Association.partition,
    "qos": Association.qos,
}
"""The columns that `by` may name."""

FREQUENCIES = ("", "D", "MS", "YS")
"""pandas' words for days, months and years; an empty text: the whole window."""

ENERGIES = ("energy", "estimated", "cpu", "dram", "gpu", "other", "facility")
MASSES = ("carbon", "market", "embodied", "upstream", "td")

Sums = dict[tuple[Any, ...], list[int | None]]
"""The number of jobs and each amount, by the beginning of the day, month or year where one was asked for, and the keys."""


def read(session: Session, period: Period, by: Sequence[str], freq: str) -> Sums:
    """Return the sums of a period of the site. `by`: of KEYS. `freq`: of FREQUENCIES."""
    found: Sums = {}
    for day, *rest in _rows(session, period, list(by), bool(freq)):
        key, amounts = tuple(rest[: len(by)]), rest[len(by) :]
        at = (*((_begin(period, day, freq),) if freq else ()), *key)
        before = found.get(at)
        found[at] = amounts if before is None else [sum_known(pair) for pair in zip(before, amounts, strict=True)]
    return found


def _rows(session: Session, period: Period, by: list[str], daily: bool) -> list[list[Any]]:
    """Return rows of day, keys, number of jobs and amounts. The day is 0 where none is asked for."""
    keys = [*([DaySum.day] if daily else []), *(KEYS[name] for name in by)]
    names = [f"{name}_{'uj' if name in ENERGIES else 'ug'}" for name in (*ENERGIES, *MASSES)]
    columns = [known(getattr(DaySum, f"{name}_jobs"), getattr(DaySum, name)) for name in names]
    sums = [part for column in columns for part in exact_parts(column)]
    query = select(*keys, func.sum(DaySum.jobs), *sums).join(Association, Association.id == DaySum.association_id)
    query = query.join(Cluster, Cluster.id == Association.cluster_id)
    query = query.where(DaySum.day >= period.start, DaySum.day < period.end).group_by(*keys)
    found = []
    for row in ask(session, query, {}):
        day, rest = (int(row[0]), row[1:]) if daily else (0, row)
        count, parts = rest[len(by)], rest[len(by) + 1 :]
        amounts = [exact_whole(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        if count is not None:
            found.append([day, *rest[: len(by)], int(count), *amounts])
    return found


def _begin(period: Period, day: int, freq: str) -> int:
    local = period.local(day)
    if freq == "MS":
        local = local.replace(day=1)
    elif freq == "YS":
        local = local.replace(month=1, day=1)
    return int(local.timestamp())
