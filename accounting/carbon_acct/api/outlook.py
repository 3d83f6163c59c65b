# SPDX-License-Identifier: MIT
"""Defines the operations for estimates: the grid's intensity, and the power of a partition's jobs. Any user may ask."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from carbon_acct.api.identity import Authenticated
from carbon_acct.api.parts import Aggregator, Time, errors
from carbon_acct.api.queries import MAX_TEXT, read
from carbon_acct.errors import RefusedError, ZoneError
from carbon_acct.grid.factors import factor
from carbon_acct.queries.intensities import Intensities, intensities
from carbon_acct.queries.power import Power, power
from carbon_collector.units import DAY_S

BEFORE_S, AFTER_S = DAY_S, 3 * DAY_S
"""The window that is answered if the request names none: the last day, and the forecast."""
MOST_S = 35 * DAY_S


def routes(aggregator: Aggregator) -> APIRouter:
    """Return these operations."""
    router = APIRouter(tags=["outlook"])

    @router.get("/v1/intensity", response_model=Intensities, responses=errors(400, 401, 408, 413, 429, 503))
    async def intensity(
        caller: Authenticated,
        zone: Annotated[str, Query(description="a zone of the grid; the site's own if not said", max_length=64)] = "",
        start: Time = None,
        end: Time = None,
    ) -> Response:
        """Return the grid's intensity, slot by slot, and the newest forecast."""
        now = int(time.time())
        first, last = now - BEFORE_S if start is None else start, now + AFTER_S if end is None else end
        if last < first:
            raise RefusedError(400, "end is before start")
        if last - first > MOST_S:
            raise RefusedError(400, f"more than {MOST_S // DAY_S} days; ask for fewer")
        terms = aggregator.site.terms
        try:
            wanted = factor(zone, "zone").zone if zone else terms.home
        except ZoneError as err:
            raise RefusedError(400, str(err)) from err
        return await read(aggregator, caller, lambda session: intensities(session, terms, wanted, first, last, now))

    @router.get("/v1/power", response_model=Power, responses=errors(400, 401, 408, 413, 429, 503))
    async def partition_power(
        caller: Authenticated,
        partition: Annotated[str, Query(description="a partition", min_length=1, max_length=255)],
        gres: Annotated[str, Query(description="a type of GPU, e.g. a100", max_length=MAX_TEXT)] = "",
    ) -> Response:
        """Return the power of an allocated CPU and GPU in a partition.

        It is that of the caller's own jobs, else that of all jobs, unless that figure would reveal somebody's job.
        """
        viewer = aggregator.viewer(caller)
        now = int(time.time())
        return await read(aggregator, caller, lambda session: power(session, viewer, partition, gres, now))

    return router
