# SPDX-License-Identifier: MIT
"""Recalculation: every sum follows its factor, to the last digit, and doing it again changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from accounting.db.fixtures import Backend
from accounting.delivery.test_store import content, deliver, only, tell
from accounting.samples import JOB, NOW, SLOT, job, job_slot, ledger, new_site, segment, share
from carbon_acct.db.models import SlotFactor
from carbon_acct.db.rows import table_of
from carbon_acct.factors.dated_value import dated as dated_figure
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.site import Site
from carbon_acct.sums import rebuild, recalculate

SLOTS = [SLOT + 900 * i for i in range(3)]


@dataclass(frozen=True)
class BySlot(SiteTerms):
    """SiteTerms that differ by slot, as a site's with providers do."""

    by_slot: dict[int, str] = field(default_factory=dict)

    def values(self, session: Session, zone: str, slots: Iterable[int]) -> dict[int, dict[str, Any]]:
        """By slot."""
        found = super().values(session, zone, slots)
        return {
            slot: value | {"g_per_kwh": self.by_slot.get(slot, value["g_per_kwh"]), "g_per_kwh_float": 1.0}
            for slot, value in found.items()
        }


def dated(site: Site, by_slot: dict[int, str]) -> BySlot:
    return BySlot(**vars(site.terms), by_slot=by_slot)


def recalculate_all(site: Site, terms: SiteTerms) -> int:
    """Until nothing is left to do; how many slots of jobs changed."""
    with site.database.write() as session:
        recalculate.refresh(session, terms, 0, NOW)
    done = 0
    while True:
        with site.database.write() as session:
            rows = recalculate.sweep(session, terms)
        done += rows
        if not rows:
            return done


def fill(site: Site) -> None:
    tell(site, JOB, job(job_id_raw=8, job_id="8", user="bob", partition="gpu"))
    rows = [ledger(job_id=j) for j in (7, 8)]
    rows += [job_slot({"cpu": share(10**9 + slot + j)}, job_id=j, slot=slot) for slot in SLOTS for j in (7, 8)]
    deliver(site, segment(rows))


FACTORS = st.dictionaries(st.sampled_from(SLOTS), st.sampled_from(["0", "12.5", "100/3", "999"]))


@pytest.mark.slow
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FACTORS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_as_if_from_scratch(backend: Backend, history: list[dict[int, str]], chance: random.Random) -> None:
    """After any history of factors, broken off anywhere, all sums equal those made from scratch at the last factors."""
    with backend.site() as site:
        fill(site)
        for by_slot in history:
            with site.database.write() as session:
                recalculate.refresh(session, dated(site, by_slot), 0, NOW)
            if chance.random() < 0.5:  # else it was killed before it came to the jobs
                recalculate_all(site, dated(site, by_slot))
        last = dated(site, history[-1])
        recalculate_all(site, last)
        assert recalculate_all(site, last) == 0
        found = content(site)
        with site.database.write() as session:
            rebuild.rebuild_all(session, last)
        scratch = content(site)
    assert found == scratch


def test_revisions_that_nothing_names(site: Site) -> None:
    """However many old revisions there are that no job names: those that one names are found."""
    fill(site)
    with site.database.write() as session:
        row = session.scalars(select(SlotFactor).limit(1)).one()
        values = {c.name: getattr(row, c.name) for c in table_of(SlotFactor).columns if c.name != "id"}
        others = [900 * i for i in range(recalculate.OLDER_REVISIONS + 10)]
        rows = [values | {"slot": slot, "revision": revision} for slot in others for revision in (1, 2)]
        session.execute(insert(table_of(SlotFactor)), rows)
        recalculate.refresh(session, dated(site, {SLOTS[0]: "1"}), SLOTS[0], NOW)
        assert recalculate.waiting(session) == 2
        assert recalculate.sweep(session, dated(site, {SLOTS[0]: "1"})) == 2
        assert recalculate.waiting(session) == 0


def test_only_what_changed(site: Site) -> None:
    """SiteTerms that stay as they are make no new revision and touch no job."""
    fill(site)
    with site.database.write() as session:
        assert recalculate.refresh(session, site.terms, 0, NOW) == []
    assert recalculate_all(site, dated(site, {SLOTS[1]: "10"})) == 2


def test_another_zone(site: Site) -> None:
    """Jobs of a partition that is fed by another zone now take that zone's factor, from the instant that was asked for."""
    fill(site)
    before = only(site, users=["alice"])
    terms = replace(site.terms, zones={"demo/gpu": "FR"})
    with site.database.write() as session:
        done, last = recalculate.rezone(session, terms, SLOTS[1], 0)
        assert recalculate.rezone(session, terms, SLOTS[1], last) == (0, 0)
    assert done == 2

    assert only(site, users=["alice"]) == before
    with site.database.read() as session:
        zones = session.execute(
            text(
                "SELECT s.slot, p.zone FROM job_slot s JOIN slot_factor p ON p.id = s.factor_id JOIN job j ON j.id = s.job_id"
                " WHERE j.job_id_raw = 8 ORDER BY s.slot"
            )
        ).all()
    assert zones == [(SLOTS[0], "DE"), (SLOTS[1], "FR"), (SLOTS[2], "FR")]


def test_old_revisions_go(site: Site) -> None:
    """A revision that nothing names goes after a day; one that a job still names stays."""
    fill(site)
    with site.database.write() as session:
        recalculate.refresh(session, dated(site, {SLOTS[0]: "1"}), 0, NOW)
        assert recalculate.forget(session, 2**40) == 0
    recalculate_all(site, dated(site, {SLOTS[0]: "1"}))
    with site.database.write() as session:
        assert recalculate.forget(session, 0) == 0
        assert recalculate.forget(session, 2**40) == 1


def test_pue(tmp_path: Path) -> None:
    """A site that states another PUE has its jobs recalculated with it when it asks for that, and not before."""
    site = new_site(tmp_path)
    fill(site)
    before = only(site, users=["alice"])
    terms = replace(site.terms, pue=dated_figure("x", "2", site.terms.days.zone))
    with site.database.write() as session:
        recalculate.sweep(session, terms)
    assert only(site, users=["alice"]) == before
    recalculate_all(site, terms)
    after = only(site, users=["alice"])
    site.database.close()

    assert (before.energy_uj, before.pue) == (after.energy_uj, 1.3)
    assert (after.pue, after.facility_uj) == (2.0, 2 * (after.energy_uj or 0))
