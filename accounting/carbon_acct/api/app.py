# SPDX-License-Identifier: MIT
"""Puts the parts of the HTTP API together, gives all errors one form, and counts requests."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from carbon_acct.api import delivery, operations, outlook, queries, series, usage
from carbon_acct.api.identity import Gate
from carbon_acct.api.limits import Limits
from carbon_acct.api.metrics import Measured, Metrics
from carbon_acct.api.parts import Aggregator, check_parameters, error
from carbon_acct.api.site_figures import SiteFigures
from carbon_acct.api.watch import AWAY, Watch
from carbon_acct.db.engine import Database
from carbon_acct.delivery.group_commit import GroupCommit
from carbon_acct.errors import DatabaseError, RefusedError, SlurmError
from carbon_acct.site import Site
from carbon_acct.sync.grid import Follower
from carbon_acct.sync.slurm import Poller
from carbon_collector import __version__

log = logging.getLogger(__name__)

DESCRIPTION = """\
Nodes deliver what their meters counted; users ask what their jobs consumed. MUNGE says who speaks, and slurmdbd's
PrivateData, coordinators and admin levels say who sees what. Energies are microjoules, carbon is micrograms CO2e,
times are epoch seconds, UTC; `null` is not known. An error is `{"detail": "<one line>"}`."""


def create_app(
    site: Site, poller: Poller, munge_socket: str = "", limits: Limits | None = None, follower: Follower | None = None
) -> FastAPI:
    """Return the API over a site's database and what its poller knows of Slurm.

    `app.state.metrics` holds the counters, `app.state.watch` watches the database, `app.state.site_figures` reads the site's figures for /metrics: start and stop
    both with the server.
    """
    app = FastAPI(
        title="carbon-aggregator",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    gate, watch = Gate(munge_socket, limits or Limits()), Watch(site.database)
    figures = SiteFigures(site, poller)
    group_commit = GroupCommit(site.database, site.terms)
    aggregator = Aggregator(site, poller, gate, Metrics(poller, watch, figures), group_commit, watch, follower)
    app.state.gate, app.state.metrics, app.state.watch = gate, aggregator.metrics, watch
    app.state.site_figures = figures
    for part in (queries, usage, series, outlook):
        app.include_router(part.routes(aggregator), dependencies=[Depends(check_parameters)])
    for part in (delivery, operations):
        app.include_router(part.routes(aggregator))
    _add_errors(app, aggregator.metrics, site.database)
    app.add_middleware(Measured, metrics=aggregator.metrics)
    return app


def _add_errors(app: FastAPI, metrics: Metrics, database: Database) -> None:
    """Answer every error with one line of `detail`, and count it."""

    def refuse(err: RefusedError) -> JSONResponse:
        metrics.refuse(err.kind)
        return error(err.status, str(err), err.retry_after_s)

    @app.exception_handler(RefusedError)
    async def refused(_request: Request, err: RefusedError) -> JSONResponse:
        return refuse(err)

    @app.exception_handler(DatabaseError)
    async def no_database(_request: Request, err: DatabaseError) -> JSONResponse:
        # What a database says in its distress may hold what is in it.
        log.error("the database: %s", err)
        return refuse(RefusedError(503, database.problem or AWAY, "database"))

    @app.exception_handler(SlurmError)
    async def no_slurm(_request: Request, err: SlurmError) -> JSONResponse:
        return refuse(RefusedError(503, str(err), "slurm"))

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(_request: Request, err: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = err.errors()[0]
        return refuse(RefusedError(400, f"{first['loc'][-1]}: {first['msg'].lower()}"))

    @app.exception_handler(Exception)
    async def surprise(request: Request, err: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=err)
        return error(500, "the aggregator failed; its log says why")

    @app.exception_handler(HTTPException)
    async def no_such(_request: Request, err: HTTPException) -> JSONResponse:
        found = refuse(RefusedError(err.status_code, str(err.detail).lower()))
        found.headers.update(err.headers or {})
        return found
