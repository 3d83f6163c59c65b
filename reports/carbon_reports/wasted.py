# SPDX-License-Identifier: MIT
"""Reads the energy that no result came of, by the rules of docs/methodology.md, Waste: the figures of GET /v1/usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.days import Days
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.period import Period as Window
from carbon_acct.queries.usage import WASTE_STATES, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from .period import Period


class Wasted(NamedTuple):
    """What a rule names: runs (None for a rule that goes by use), microjoules and micrograms. None: not known."""

    rule: str
    jobs: int | None
    used_uj: int | None
    carbon_ug: int | None

    @property
    def by_state(self) -> bool:
        """Return whether the rule goes by how runs ended, and names all of their energy."""
        return self.rule in WASTE_STATES


def wasted(session: Session, period: Period) -> list[Wasted]:
    """Return what each rule names of the period's jobs, without the rules that name nothing. No energy is in two."""
    window = Window(period.first, period.after)
    figures = usage(session, Filters(viewer=EVERYTHING), window, Days(period.zone)).total.figures
    found = [Wasted(rule, w.jobs, w.energy_uj, w.carbon_ug) for rule, w in figures.waste().items()]
    return [each for each in found if each.jobs or each.used_uj]


def energy_uj(found: Sequence[Wasted], by_state: bool) -> int:
    """Return the energy of the rules that go by state, or of those that go by use."""
    return sum_known(each.used_uj for each in found if each.by_state == by_state) or 0
