# SPDX-License-Identifier: MIT
"""Sums of jobs equal what adding up the slots of the jobs gives, for whoever asks and however the history came about."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from accounting.samples import job, job_slot, ledger, new_site, segment, share
from carbon_acct.access.viewer import EVERYTHING, Viewer
from carbon_acct.days import Days, zone_info
from carbon_acct.db.models import DaySum, Job, JobSlot
from carbon_acct.db.retention import Horizons, prune
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.known import sum_known
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.period import Period, compared, month_period, period
from carbon_acct.queries.usage import WASTE_STATES, WORDS, Figures, usage
from carbon_acct.site import Site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sums.day_sum import ROLLED, state_of
from carbon_acct.sync.jobs import record_jobs

BERLIN = Days(zone_info("Europe/Berlin"))
FIRST = date(2012, 10, 26)
"""Two days before the night in which Berlin's clocks are set back."""
DAYS = 6
NOW = int(datetime(2012, 11, 20, tzinfo=BERLIN.zone).timestamp())
STATES = ("RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED by 1000", "OUT_OF_MEMORY")
WHO = (("alice", "physics"), ("bob", "physics"), ("bob", "bio"), ("carl", "bio"))


@dataclass(frozen=True)
class Event:
    """Something that a node or Slurm tells of a job."""

    job: int
    state: str
    who: int
    slot: int
    energy_uj: int
    cpu_us: int


events = st.builds(
    Event,
    job=st.integers(1, 4),
    state=st.sampled_from(STATES),
    who=st.integers(0, len(WHO) - 1),
    slot=st.integers(-2, 3),
    energy_uj=st.integers(0, 3_000_000_000),
    cpu_us=st.integers(0, 120_000_000),
)
viewers = st.sampled_from(
    (
        EVERYTHING,
        Viewer(1, sees_all=False, user="bob"),
        Viewer(2, sees_all=False, user="alice", accounts=frozenset({"bio"})),
        Viewer(3, sees_all=False),
    )
)
periods = st.builds(
    lambda start, length: Period(FIRST + timedelta(start), FIRST + timedelta(start + length)),
    st.integers(0, DAYS - 1),
    st.integers(1, DAYS),
)
words = st.lists(st.sampled_from(WORDS), unique=True, max_size=3).filter(
    lambda chosen: len({"day", "week", "month"} & set(chosen)) < 2
)


ACROSS = [
    Event(1, "RUNNING", 0, -1, 1_000_000, 5),
    Event(1, "RUNNING", 0, 1, 2_000_000, 5),
    Event(2, "RUNNING", 1, -1, 4_000_000, 5),
    Event(1, "COMPLETED", 2, 2, 7_000_000, 5),
    Event(2, "CANCELLED by 1000", 1, 2, 9_000_000, 5),
]
"""Two jobs across midnight, one of them into the day of 25 hours, that change state, one of them user and account too."""


def begin_of(number: int) -> int:
    """A job begins about a midnight: the slots of its events are before and after it."""
    day = FIRST + timedelta(number)
    return int(datetime(day.year, day.month, day.day, tzinfo=BERLIN.zone).timestamp())


def told(event: Event) -> SlurmJob:
    user, account = WHO[event.who]
    begin = begin_of(event.job)
    return job(
        job_id_raw=event.job,
        job_id=str(event.job),
        user=user,
        account=account,
        state=event.state,
        submit=begin - 7200,
        start=begin - 1800,
        end=None if event.state == "RUNNING" else begin + 3600,
        elapsed_s=5400,
    )


def happen(site: Site, history: list[Event]) -> None:
    """Slurm tells of a job, and a node of one of its slots, each time with a higher revision."""
    for number, event in enumerate(history, 1):
        begin = begin_of(event.job)
        run = {"job_id": event.job, "run": "restart:0", "opened": begin - 1800}
        gpus = ["GPU-1"] if event.job % 2 else []
        components = {"cpu": share(event.energy_uj), "dram": share(event.energy_uj // 7)}
        if gpus:
            components["gpu"] = share(event.energy_uj)
        rows = [
            ledger(revision=number, **run | {"closed": None, "gpus": gpus}),
            job_slot(components, revision=number, slot=begin + 900 * event.slot, cpu_us=event.cpu_us, **run),
        ]
        with site.database.write() as session:
            record_jobs(session, [told(event)], site.terms)
        with site.database.write() as session:
            store_segment(session, parse_segment(segment(rows, sequence=number), NOW), site.terms, NOW)


def brute(site: Site, viewer: Viewer, asked: Period, by: list[str]) -> dict[Any, dict[str, Any]]:
    """The sums by adding up slots of jobs, with the calendar of Python."""
    found: dict[Any, dict[str, Any]] = defaultdict(lambda: {"runs": set(), **{name: [] for name in ROLLED}})
    with site.database.read() as session:
        for slot, run in session.execute(select(JobSlot, Job).join(Job, Job.id == JobSlot.job_id)):
            day = datetime.fromtimestamp(slot.slot, BERLIN.zone).date()
            seen = viewer.sees_all or (viewer.user and run.user == viewer.user) or run.account in viewer.accounts
            if not (seen and asked.first <= day < asked.until):
                continue
            monday = max(day - timedelta(day.weekday()), asked.first)
            times = {"day": f"{day}", "week": f"{monday}", "month": f"{day:%Y-%m}", "cluster": "demo"}
            key = tuple(
                times.get(word) or (state_of(run.state) if word == "state" else getattr(run, word)) for word in by
            )
            found[key]["runs"].add(run.id)
            for name in ROLLED:
                found[key][name].append(getattr(slot, name))
    return found


def as_told(figures: Figures) -> tuple[int, list[int | None]]:
    return figures.jobs, [figures[name] for name in ROLLED]


@pytest.mark.slow
@hypothesis_settings(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(events, min_size=1, max_size=9), viewers, periods, words, st.integers(1, 3))
@example(ACROSS, EVERYTHING, Period(FIRST, FIRST + timedelta(4)), ["user"], 1)
@example(ACROSS, EVERYTHING, Period(FIRST, FIRST + timedelta(4)), ["month", "state"], 2)
def test_sums_equal_a_recomputation(
    history: list[Event], viewer: Viewer, asked: Period, by: list[str], top: int
) -> None:
    """Jobs across midnight, a day of 25 hours, revisions, states and accounts that change: each sum is exact for its viewer.

    It stays so when the slots are pruned; rows and others add up to the total; nothing that may not be seen is in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        site = new_site(Path(folder), site_timezone="Europe/Berlin")
        try:
            happen(site, history)
            expected = {
                key: (len(sums.pop("runs")), [sum_known(values) for values in sums.values()])
                for key, sums in brute(site, viewer, asked, by).items()
            }
            whole = brute(site, viewer, asked, [])
            total = (len(whole[()].pop("runs")), [sum_known(values) for values in whole[()].values()])
            prune(site.database, Horizons(delivered=NOW, slots=NOW, jobs=0), lambda _: None)
            with site.database.read() as session:
                found = usage(session, Filters(viewer), asked, BERLIN, by)
                best = usage(session, Filters(viewer), asked, BERLIN, by, top=top)
            assert {row.key: as_told(row.figures) for row in found.rows} == (expected if by else {})
            assert as_told(found.total.figures) == total
            energies = [row.figures.used_uj for row in best.rows]
            assert energies == sorted((row.figures.used_uj for row in found.rows), reverse=True)[:top]
            rest = best.others.figures.used_uj if best.others else 0
            assert not by or sum(energies) + rest == best.total.figures.used_uj
            assert best.other_rows == max(0, len(found.rows) - top)
            waste = found.total.figures.waste()
            assert sum(one.energy_uj or 0 for one in waste.values()) <= found.total.figures.used_uj
        finally:
            site.database.close()


def put(site: Site, **changes: Any) -> None:
    """A roll-up of one association in one day."""
    row: dict[str, Any] = {column.name: 0 for column in DaySum.__table__.columns}
    with site.database.write() as session:
        record_jobs(session, [job()], site.terms)
        association = session.scalar(select(Job.association_id))
        session.add(DaySum(**row | {"association_id": association, "jobs": 1, "state": "FAILED"} | changes))


def test_sums_beyond_64_bits(tmp_path: Path) -> None:
    """4 GWh in one sum, which no 64-bit number of microjoules holds, are exact."""
    site = new_site(tmp_path)
    uj = 2**62 + 12_345
    for day in range(4):
        put(site, day=86_400 * (15_000 + day), energy_uj=uj, energy_uj_jobs=1, first_jobs=1)
    with site.database.read() as session:
        first = date(1970, 1, 1) + timedelta(15_000)
        found = usage(
            session, Filters(EVERYTHING), Period(first, first + timedelta(4)), Days(zone_info("UTC")), ["user"]
        )
    site.database.close()
    (row,) = found.rows
    assert (row.key, row.figures.jobs, row.figures["energy_uj"]) == (("alice",), 4, 4 * uj)
    assert row.figures.waste()["failed"].energy_uj == 4 * uj
    assert row.figures["gpu_uj"] is None


def test_compared_keys_are_in_both(tmp_path: Path) -> None:
    """A key that has jobs in one of two windows only is a row of both, with no job in the other."""
    site = new_site(tmp_path)
    put(site, day=86_400 * 15_000, energy_uj=5, energy_uj_jobs=1)
    first = date(1970, 1, 1) + timedelta(15_001)
    asked = Period(first, first + timedelta(1))
    before, _ = compared(asked, "previous", NOW * 2, Days(zone_info("UTC")))
    with site.database.read() as session:
        found = usage(session, Filters(EVERYTHING), asked, Days(zone_info("UTC")), ["state"], previous=before)
    site.database.close()
    (row,) = found.rows
    assert row.previous is not None
    assert (row.key, row.figures.jobs, row.figures["energy_uj"]) == (("FAILED",), 0, None)
    assert (row.previous.jobs, row.previous["energy_uj"]) == (1, 5)


def test_no_state_is_in_two_rules() -> None:
    """The rules by state are disjoint, so that waste is counted once."""
    states = [state for many in WASTE_STATES.values() for state in many]
    assert len(states) == len(set(states))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN.zone).timestamp())


@pytest.mark.parametrize(
    ("word", "month"),
    [("2026-10", "2026-10"), ("this", "2027-01"), ("last", "2026-12")],
)
def test_months(word: str, month: str) -> None:
    """A month is the site's, also in the hour in which UTC is still in the month before."""
    assert month_period(word, at("2027-01-01T00:30:00"), BERLIN).month == month


@pytest.mark.parametrize(
    ("start", "end", "first", "until"),
    [
        ("2026-10-01", "2026-11-01", "2026-10-01", "2026-11-01"),
        (str(at("2026-10-25T00:00:00")), str(at("2026-10-26T00:00:00")), "2026-10-25", "2026-10-26"),
        ("", "", "2026-11-01", "2026-11-21"),
        ("2026-11-02", str(at("2026-11-20T15:00:01")), "2026-11-02", "2026-11-21"),
    ],
)
def test_windows(start: str, end: str, first: str, until: str) -> None:
    """Windows are days of the site; an end that is now or later ends with its day."""
    found = period(start, end, at("2026-11-20T15:00:00"), BERLIN)
    assert (f"{found.first}", f"{found.until}") == (first, until)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("2026-10-01", str(at("2026-10-05T10:00:00")), "no midnight of Europe/Berlin"),
        (str(at("2026-10-01T00:00:00") + 7200), "", "no midnight of Europe/Berlin"),
        ("2026-10-32", "", "neither a date"),
        ("tea", "", "neither a date"),
        ("2026-10-02", "2026-10-01", "not after start"),
        ("1970-01-01", "2026-10-01", "days; ask for fewer"),
        ("99999999999999999", "", "later than the year"),
    ],
)
def test_bad_windows(start: str, end: str, reason: str) -> None:
    """A window that is not of whole days is refused, and the reason names the days."""
    with pytest.raises(ValueError, match=reason):
        period(start, end, at("2026-11-20T15:00:00"), BERLIN)


@pytest.mark.parametrize(
    ("asked", "how", "now", "first", "until"),
    [
        (("2026-10-01", "2026-11-01"), "previous", "2027-01-01", "2026-09-01", "2026-10-01"),
        (("2026-03-01", "2026-04-01"), "previous", "2026-03-10", "2026-02-01", "2026-02-11"),
        (("2026-03-01", "2026-04-01"), "previous", "2026-03-30", "2026-02-01", "2026-03-01"),
        (("2026-01-01", "2027-01-01"), "previous", "2028-01-01", "2025-01-01", "2026-01-01"),
        (("2026-10-05", "2026-10-12"), "previous", "2027-01-01", "2026-09-28", "2026-10-05"),
        (("2024-02-29", "2024-03-01"), "year", "2027-01-01", "2023-02-28", "2023-03-01"),
        (("2024-02-28", "2024-02-29"), "year", "2027-01-01", "2023-02-28", "2023-03-01"),
        (("2024-02-01", "2024-03-01"), "year", "2027-01-01", "2023-02-01", "2023-03-01"),
        (("2025-02-01", "2025-03-01"), "year", "2027-01-01", "2024-02-01", "2024-03-01"),
        (("2026-10-01", "2026-11-01"), "year", "2027-01-01", "2025-10-01", "2025-11-01"),
    ],
)
def test_windows_before(asked: tuple[str, str], how: str, now: str, first: str, until: str) -> None:
    """Of a month the month before, of a year the year before, else as many days; of what has begun only as many days."""
    whole = Period(date.fromisoformat(asked[0]), date.fromisoformat(asked[1]))
    found, note = compared(whole, how, at(f"{now}T12:00:00"), BERLIN)
    assert (f"{found.first}", f"{found.until}") == (first, until)
    assert bool(note) == now.startswith("2026-03")
