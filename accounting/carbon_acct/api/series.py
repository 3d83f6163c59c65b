# SPDX-License-Identifier: MIT
"""The operation that answers the power of runs over time, to those who may see the job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from carbon_acct.api.identity import Authenticated
from carbon_acct.api.parts import Aggregator, errors
from carbon_acct.api.queries import MAX_TEXT, Names, read, words_of
from carbon_acct.errors import RefusedError
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.series import MOST_RUNS, Series, power_series


@dataclass(frozen=True)
class SeriesAnswer:
    """The series of the runs that were found."""

    series: list[Series]


def routes(aggregator: Aggregator) -> APIRouter:
    """Return the operation."""
    router = APIRouter(tags=["queries"])

    @router.get("/v1/power/series", response_model=SeriesAnswer, responses=errors(400, 401, 408, 413, 429, 503))
    async def series(
        caller: Authenticated,
        jobs: Annotated[str, Query(description="JobIDs: 12, 12_3, 12+1; comma separated", max_length=MAX_TEXT)],
        clusters: Names = "",
        duplicates: Annotated[bool, Query(description="every run of a JobID, not the newest only")] = False,
        minutes: Annotated[bool, Query(description="by minute where nodes told that, else by slot")] = False,
    ) -> Response:
        """Return the energy of runs slot by slot, or by minute. A job that the caller may not see is one that never was."""
        wanted = words_of(jobs)
        if not wanted or len(wanted) > MOST_RUNS:
            raise RefusedError(400, f"jobs: name between 1 and {MOST_RUNS} JobIDs")
        filters = Filters(
            viewer=aggregator.viewer(caller), jobs=wanted, clusters=words_of(clusters), duplicates=duplicates
        )

        def work(session: Session) -> SeriesAnswer:
            try:
                return SeriesAnswer(power_series(session, filters, int(time.time()), minutes))
            except ValueError as err:
                raise RefusedError(400, str(err)) from err

        return await read(aggregator, caller, work)

    return router
