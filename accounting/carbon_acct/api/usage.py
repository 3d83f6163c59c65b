# SPDX-License-Identifier: MIT
"""The operation that answers sums of jobs, with waste, advice, and the site's idle and system beside them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from carbon_acct.api.identity import Authenticated
from carbon_acct.api.parts import Aggregator, errors
from carbon_acct.api.queries import MAX_TEXT, Names, read, require_known, uids_of, words_of
from carbon_acct.days import Days
from carbon_acct.errors import RefusedError
from carbon_acct.queries.advice import Advice
from carbon_acct.queries.advice import advice as advice_of
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.period import COMPARISONS, Period, compared, epoch_of, month_period, period
from carbon_acct.queries.site_use import SiteUse, site_use
from carbon_acct.queries.usage import Figures, Usage, UsageRow, usage

MAX_ROWS = 5000
"""Rows of an answer without `top`."""
MOST_SITE_DAYS = 366
"""The days of which idle and system are answered at once: their missing factors are stored on the way."""


@dataclass(frozen=True)
class WindowAnswer:
    """A window of whole days of the site, in epoch seconds and as dates."""

    start: int
    end: int
    timezone: str
    month: str | None
    first_day: str
    last_day: str
    over: bool
    """Whether its last day has ended."""


@dataclass(frozen=True)
class FiguresAnswer:
    """Sums of jobs. Energies and emissions are decimal strings: they exceed what a JSON number holds exactly."""

    jobs: int
    energy_uj: str | None
    cpu_uj: str | None
    dram_uj: str | None
    gpu_uj: str | None
    other_uj: str | None
    estimated_uj: str | None
    facility_uj: str | None
    carbon_ug: str | None
    carbon_market_ug: str | None
    embodied_ug: str | None
    upstream_ug: str | None
    td_ug: str | None
    pue: float | None
    intensity_g_per_kwh: float | None
    cpu_s: float | None
    core_s: float | None
    gpu_s: float | None
    simulated: bool


@dataclass(frozen=True)
class WasteAnswer:
    """The energy of a rule of waste, and its emissions."""

    jobs: int | None
    energy_uj: str | None
    carbon_ug: str | None


@dataclass(frozen=True)
class SumAnswer:
    """The sums of the window, of the window before, and the waste in it."""

    figures: FiguresAnswer
    previous: FiguresAnswer | None
    waste: dict[str, WasteAnswer] | None


@dataclass(frozen=True)
class UsageRowAnswer(SumAnswer):
    """The sums of a key."""

    key: dict[str, str | None]


@dataclass(frozen=True)
class OthersAnswer(SumAnswer):
    """The sums of the rows that `top` left out, and their number."""

    rows: int


@dataclass(frozen=True)
class AdviceAnswer:
    """A saving, by a rule, from the caller's own jobs."""

    rule: str
    energy_uj: str
    carbon_ug: str | None
    jobs: list[str]
    text: str


@dataclass(frozen=True)
class PlaceAnswer:
    """Where energy of the site went: its energy and emissions."""

    energy_uj: str | None
    facility_uj: str | None
    carbon_ug: str | None
    carbon_market_ug: str | None
    upstream_ug: str | None
    td_ug: str | None
    embodied_ug: str | None


@dataclass(frozen=True)
class SiteAnswer:
    """The site's energy: of jobs, and beside them idle and system."""

    jobs: PlaceAnswer
    idle: PlaceAnswer
    system: PlaceAnswer
    pue: float | None
    measured_percent: float | None
    estimated_percent: float | None
    components: dict[str, dict[str, str]]
    node_s: float
    simulated: bool


@dataclass(frozen=True)
class UsageAnswer:
    """Sums of jobs over days of the site."""

    window: WindowAnswer
    previous_window: WindowAnswer | None
    by: list[str]
    rows: list[UsageRowAnswer]
    others: OthersAnswer | None
    total: SumAnswer
    advice: list[AdviceAnswer]
    site: SiteAnswer | None
    notes: list[str]


def routes(aggregator: Aggregator) -> APIRouter:
    """Return the operation."""
    router = APIRouter(tags=["queries"])

    @router.get("/v1/usage", response_model=UsageAnswer, responses=errors(400, 401, 403, 404, 408, 413, 429, 503))
    async def usage_of_jobs(
        caller: Authenticated,
        month: Annotated[str, Query(description="2026-10, this or last", max_length=16)] = "",
        start: Annotated[str, Query(description="2026-10-01, or epoch seconds", max_length=16)] = "",
        end: Annotated[str, Query(description="the day after the last, or epoch seconds", max_length=16)] = "",
        by: Annotated[str, Query(description="user, account, ..., day, week or month", max_length=128)] = "",
        top: Annotated[int | None, Query(ge=1, le=MAX_ROWS)] = None,
        compare: Annotated[str, Query(description="previous or year", max_length=16)] = "",
        waste: bool = False,
        advice: Annotated[bool, Query(description="on the caller's own jobs")] = False,
        site: Annotated[bool, Query(description="idle and system, for those who see totals")] = False,
        users: Annotated[str, Query(description="names or uids, comma separated", max_length=MAX_TEXT)] = "",
        all_users: Annotated[bool, Query(description="not the caller's jobs only")] = False,
        accounts: Names = "",
        partitions: Names = "",
        qos: Names = "",
        states: Names = "",
        clusters: Names = "",
        names: Names = "",
        jobs: Names = "",
        nodes: Names = "",
    ) -> Response:
        """Return sums of the jobs that the caller may see, and no hint of others."""
        for name, given in (("names", names), ("jobs", jobs), ("nodes", nodes)):
            if given:
                raise RefusedError(400, f"{name}: sums are of whole days of users, not of single jobs; ask /v1/jobs")
        if site:
            aggregator.require_all(caller)
        viewer = aggregator.viewer(caller)
        filters = Filters(
            viewer=viewer,
            users=words_of(users),
            uids=uids_of(users, all_users, caller),
            accounts=words_of(accounts),
            partitions=words_of(partitions),
            qos=words_of(qos),
            states=words_of(states),
            clusters=words_of(clusters),
        )
        terms, now = aggregator.site.terms, int(time.time())
        days = terms.days
        try:
            asked = _period(month, start, end, now, days)
            before, note = _compared(asked, compare, now, days)
        except ValueError as err:
            raise RefusedError(400, str(err)) from err
        if site and asked.days > MOST_SITE_DAYS:
            raise RefusedError(400, f"site: more than {MOST_SITE_DAYS} days; ask for fewer")

        places: list[SiteUse] = []

        def read_site() -> None:
            places.append(aggregator.site.database.run(lambda session: site_use(session, terms, asked, now)))

        def work(session: Session) -> UsageAnswer:
            require_known(aggregator, session, filters)
            try:
                found = usage(session, filters, asked, days, words_of(by), before, top, waste)
            except ValueError as err:
                raise RefusedError(400, str(err)) from err
            if len(found.rows) > MAX_ROWS:
                raise RefusedError(400, f"more than {MAX_ROWS} rows; ask with top, or for less")
            percent = terms.idle_use.advice_percent
            own = advice_of(session, viewer.user, asked, days, percent, filters) if advice else []
            return UsageAnswer(
                window=_window(asked, now, days),
                previous_window=None if before is None else _window(before, now, days),
                by=list(found.by),
                rows=[UsageRowAnswer(**_sum(row, waste), key=_key(found, row)) for row in found.rows],
                others=OthersAnswer(**_sum(found.others, waste), rows=found.other_rows) if found.others else None,
                total=SumAnswer(**_sum(found.total, waste)),
                advice=[_advice(one) for one in own],
                site=_site(places[0]) if places else None,
                notes=[note] if note else [],
            )

        return await read(aggregator, caller, work, read_site if site else None)

    return router


def _period(month: str, start: str, end: str, now: int, days: Days) -> Period:
    if month and (start or end):
        raise ValueError("month does not go with start and end")
    return month_period(month, now, days) if month else period(start, end, now, days)


def _compared(asked: Period, how: str, now: int, days: Days) -> tuple[Period | None, str]:
    if not how or how == "none":
        return None, ""
    if how not in COMPARISONS:
        raise ValueError(f"compare: {how!r} is none of {', '.join(COMPARISONS)}")
    return compared(asked, how, now, days)


def _window(found: Period, now: int, days: Days) -> WindowAnswer:
    end = epoch_of(found.until, days)
    return WindowAnswer(
        start=epoch_of(found.first, days),
        end=end,
        timezone=days.zone.key,
        month=found.month,
        first_day=f"{found.first}",
        last_day=f"{found.last}",
        over=end <= now,
    )


def _key(found: Usage, row: UsageRow) -> dict[str, str | None]:
    return dict(zip(found.by, row.key, strict=True))


def _sum(row: UsageRow, waste: bool) -> dict[str, Any]:
    return {
        "figures": _figures(row.figures),
        "previous": None if row.previous is None else _figures(row.previous),
        "waste": {
            rule: WasteAnswer(one.jobs, _text(one.energy_uj), _text(one.carbon_ug))
            for rule, one in row.figures.waste().items()
        }
        if waste
        else None,
    }


_SAME = ("energy_uj", "cpu_uj", "dram_uj", "gpu_uj", "other_uj", "estimated_uj", "facility_uj", "carbon_ug")
_SCOPES = ("embodied_ug", "upstream_ug", "td_ug")


def _figures(found: Figures) -> FiguresAnswer:
    return FiguresAnswer(
        jobs=found.jobs,
        **{name: _text(found[name]) for name in (*_SAME, *_SCOPES)},
        carbon_market_ug=_text(found["market_ug"]),
        pue=found.pue,
        intensity_g_per_kwh=found.intensity_g_per_kwh,
        cpu_s=_seconds(found["cpu_us"]),
        core_s=_seconds(found["core_us"]),
        gpu_s=_seconds(found["gpu_us"]),
        simulated=found.simulated,
    )


def _advice(one: Advice) -> AdviceAnswer:
    return AdviceAnswer(one.rule, str(one.energy_uj), _text(one.carbon_ug), one.jobs, one.text)


def _site(found: SiteUse) -> SiteAnswer:
    places = {
        name: PlaceAnswer(
            **{key.replace("market_ug", "carbon_market_ug"): _text(value) for key, value in vars(figures).items()}
        )
        for name, figures in found.energy._asdict().items()
    }
    return SiteAnswer(
        **places,
        pue=found.pue,
        measured_percent=found.measured_percent,
        estimated_percent=found.estimated_percent,
        components={
            name: {
                "metered_uj": str(one.metered_uj),
                "jobs_uj": str(one.jobs_uj),
                "idle_uj": str(one.idle_uj),
                "system_uj": str(one.system_uj),
            }
            for name, one in found.conservation.components.items()
        },
        node_s=found.node_us / 1_000_000,
        simulated=found.conservation.simulated,
    )


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _seconds(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1_000_000
