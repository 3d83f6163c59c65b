# SPDX-License-Identifier: MIT
"""Says what jobs consumed so far, and what running jobs will consume at most: at their own power until their time
limit. Pure.
"""

from __future__ import annotations

from fractions import Fraction

from carbon_collector.lean.typing import TYPE_CHECKING

from . import show
from .measured import UG_PER_G, UJ_PER_KWH
from .plan import Figures
from .show import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .measured import Sums
    from .plan import Pue
    from .where import Place

    Job = Mapping[str, Any]


def figures(sums: Sums, running: Sequence[tuple[Job, int | None]], place: Place, pue: Pue, elsewhere: bool) -> Figures:
    """Return the energy and carbon of jobs so far, and at most until their time limits.

    Grams are those that were accounted, or those at `place` if the user named one (`elsewhere`). `running`: each job
    with the seconds to its time limit, None if that is not known.
    """
    used = (sums.energy_uj or 0) + (sums.estimated_uj or 0)
    known = sums.energy_uj is not None or sums.estimated_uj is not None
    found = Figures("jobs", Fraction(used, UJ_PER_KWH) if known else None)
    rest = Fraction(0)
    for job, left_s in running:
        energy, elapsed = job.get("energy_uj"), job.get("elapsed_s")
        if left_s and energy and elapsed:
            rest += Fraction(energy * left_s, elapsed * UJ_PER_KWH)
    found.most_kwh = found.kwh + rest if found.kwh is not None and rest else None
    found.more.update(
        jobs=sums.jobs,
        jobs_without_energy=sums.unknown,
        measured_kwh=None if sums.energy_uj is None else sums.energy_uj / UJ_PER_KWH,
        estimated_kwh=None if sums.estimated_uj is None else sums.estimated_uj / UJ_PER_KWH,
        accounted_facility_kwh=None if sums.facility_uj is None else sums.facility_uj / UJ_PER_KWH,
        accounted_carbon_g=None if sums.carbon_ug is None else sums.carbon_ug / UG_PER_G,
        accounted_sources=list(sums.sources),
        elsewhere=elsewhere,
        live=any(job.get("live") for job, _ in running),
    )
    if elsewhere:
        return found.at(pue, place)
    if sums.carbon_ug is not None:
        found.grams = Fraction(sums.carbon_ug, UG_PER_G)
        if found.most_kwh is not None and found.kwh:
            found.most_grams = found.grams * found.most_kwh / found.kwh
    return found


def lines(jobs: Sequence[Job], found: Figures) -> list[str]:
    """Return these figures as lines for people."""
    rows = [Row("Job", f"{job['job_id']} {job.get('name') or ''}: {_state(job)}") for job in jobs[:10]]
    if len(jobs) > len(rows):
        rows.append(Row("", f"and {len(jobs) - len(rows)} more"))
    if found.kwh is None:
        return [*show.lines([*rows, Row("Energy", "not known: no node told of it")])]
    rows.append(Row("Energy", _measured(found), f"{show.rough(found.kwh)} kWh"))
    if found.grams is not None:
        sources = (
            "at the place that was named" if found.more["elsewhere"] else "; ".join(found.more["accounted_sources"])
        )
        rows.append(Row("Carbon", sources, show.rough_grams(found.grams)))
    if found.most_kwh is not None:
        grams = "" if found.most_grams is None else f", {show.rough_grams(found.most_grams)}"
        rows.append(
            Row("At most", f"up to the time limit, at the job's own power{grams}", f"{show.rough(found.most_kwh)} kWh")
        )
    if found.more["jobs_without_energy"]:
        rows.append(Row("Note", f"of {found.more['jobs_without_energy']} of them no energy is known"))
    return [*show.lines(rows)]


def _measured(found: Figures) -> str:
    estimated = found.more["estimated_kwh"]
    how = "measured, up to now on this node" if found.more["live"] else "measured"
    return f"{how}, {estimated:.3g} kWh of it estimated" if estimated else how


def _state(job: Job) -> str:
    elapsed = job.get("elapsed_s")
    return f"{job.get('state')}" + (f", {show.duration(elapsed)}" if elapsed else "") + f", {job.get('quality')}"
