# SPDX-License-Identifier: MIT
"""A month of each provider with faults sown into it: what was good is priced by it, and no bad period prices a slot.

`pytest -s` prints the table.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import select

from accounting.samples import configure
from carbon_acct.db.models import FactorSource
from carbon_acct.grid.intensity import periods
from carbon_acct.grid.series import means
from carbon_acct.site import open_site
from carbon_acct.sync.grid import Follower
from carbon_collector import settings

from .conftest import Make
from .month import DAY, ELSEWHERE_ON, GRIDS, NAMES, SHIFTED_ON, T0, Grid
from .services import Service

DAYS = 30
SLOT = 900


def good(grid: Grid, slot: int) -> bool:
    """Whether the service knows all of a slot rightly."""
    return not any(grid.fault(at) for at in range(slot - slot % grid.step, slot + SLOT, min(grid.step, SLOT)))


@pytest.mark.slow  # nine months, of up to 8,640 periods
@pytest.mark.parametrize("text", GRIDS)
def test_a_month_of_faults(make: Make, service: Service, tmp_path: Path, text: str) -> None:
    """Asked once a day, a provider prices every slot a day later that it knows rightly, with the true value; where its
    values are double, missing, zero, of another zone or scope, shifted, nonsense or without a fuel, it prices none.
    """
    zone, grid = GRIDS[text][0], GRIDS[text][1]()
    service.answer = grid.answer
    site = open_site(settings.load(str(configure(tmp_path, site_zone="DE"))))
    follower = Follower(site.database, site.terms, {zone: [make(text, zone)]}, 900)
    refused = []
    for day in range(2, DAYS + 2):
        for later_s in (0, 13 * 3600, 15 * 3600) if T0 + day * DAY == ELSEWHERE_ON else (0,):
            grid.now = T0 + day * DAY + later_s
            follower.step(grid.now)
            (state,) = follower.states.values()
            refused += [day] if state.error or state.refused else []
    slots = range(T0, T0 + DAYS * DAY, SLOT)
    with site.database.read() as session:
        sources = session.scalars(select(FactorSource.id).where(FactorSource.provider == text.partition(":")[0])).all()
        priced = means(slots, periods(session, sources, slots[0], slots[-1] + SLOT))
    site.database.close()
    right = {slot for slot in slots if good(grid, slot)}

    def true(slot: int) -> Fraction:
        step = min(grid.step, SLOT)
        return sum((grid.truth(at) for at in range(slot, slot + SLOT, step)), Fraction(0)) * step / SLOT

    wrong = [slot for slot, mean in priced.items() if slot not in right or Fraction(mean.g_per_kwh) != true(slot)]
    faults = ", ".join(name for day, name in NAMES.items() if day in grid.has)
    print(
        f"\n{text:<22}{len(right) / len(slots):8.1%} good {len(priced) / len(slots):8.1%} priced {len(wrong):4} wrong"
        f"  ({faults}, shifted{', all of another zone' if grid.named else ''})",
        end="",
    )
    assert wrong == []
    assert set(priced) == right
    assert (SHIFTED_ON - T0) // DAY in refused
    assert not grid.named or (ELSEWHERE_ON - T0) // DAY in refused
