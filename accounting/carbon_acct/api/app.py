# SPDX-License-Identifier: MIT
"""The HTTP API itself: one function an endpoint, thin over the library that the reports use as well."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import text
from starlette.exceptions import HTTPException

from carbon_acct import access, meta, query, receive, totals
from carbon_acct.api.answers import (
    DroppedAnswer,
    GridAnswer,
    Health,
    JobsAnswer,
    SlurmAnswer,
    StatusAnswer,
    SyncAnswer,
    UnmatchedAnswer,
    balances,
)
from carbon_acct.api.identity import Authenticated
from carbon_acct.errors import DatabaseError, RefusedError, SlurmError
from carbon_acct.grid.follow import Follower
from carbon_acct.poll import Poller
from carbon_acct.query import Filters
from carbon_acct.receive import Receipt
from carbon_acct.records import parse_segment
from carbon_acct.site import Site
from carbon_acct.window import Window
from carbon_collector import __version__

log = logging.getLogger(__name__)

Time = Annotated[int | None, Query(ge=0, le=2**40, description="epoch seconds")]
Names = Annotated[str, Query(description="comma separated", max_length=65536)]
Flag = Annotated[bool, Query()]


def create_app(site: Site, poller: Poller, munge_socket: str = "", follower: Follower | None = None) -> FastAPI:
    """The API over a site's database, and what its poller knows of Slurm and its follower of the grid."""
    app = FastAPI(title="carbon-aggregator", version=__version__, docs_url=None, redoc_url=None)
    app.state.munge_socket = munge_socket
    _add_errors(app)
    _add_delivery(app, site, poller)
    _add_queries(app, site, poller, follower)
    _add_operations(app, site, poller)
    return app


def _add_delivery(app: FastAPI, site: Site, poller: Poller) -> None:
    @app.post("/v1/segments")
    def deliver(caller: Authenticated) -> Receipt:
        """Take a segment from a node (docs/record-format.md, Delivery)."""
        if caller.identity.uid != 0:
            raise RefusedError(
                403, f"only root delivers segments, this is uid {caller.identity.uid}"
            )  # any user's: not logged
        try:
            return _take(site, poller, caller)
        except RefusedError as err:
            log.warning("a segment from %s is refused: %s", caller.identity.host, err)
            raise


def _take(site: Site, poller: Poller, caller: Authenticated) -> Receipt:
    now = int(time.time())
    with site.database.read() as session:
        since = meta.delivered_from(session)
    segment = parse_segment(caller.body, now, since)
    header = segment.header
    if header.node not in (poller.state.nodes or {}):
        poller.refresh_nodes()
    access.check_delivery(caller.identity, caller.peer, header.cluster, header.node, poller.state)
    receipt = site.database.run(lambda session: receive.store(session, segment, site.prices, now))
    if receipt.refused:
        first = receipt.refused[0]
        log.warning("%s: %d refused, line %d: %s", header.name, len(receipt.refused), first.line, first.reason)
    return receipt


def _add_queries(app: FastAPI, site: Site, poller: Poller, follower: Follower | None) -> None:
    @app.get("/v1/jobs")
    def jobs(
        caller: Authenticated,
        users: Names = "",
        all_users: Flag = False,
        accounts: Names = "",
        partitions: Names = "",
        qos: Names = "",
        states: Names = "",
        jobs: Names = "",
        nodes: Annotated[str, Query(description="a Slurm node list", max_length=65536)] = "",
        clusters: Names = "",
        start: Time = None,
        end: Time = None,
        truncate: Flag = False,
        duplicates: Flag = False,
    ) -> JobsAnswer:
        """Jobs with their energy and carbon; those that the caller may see."""
        viewer = access.viewer(caller.identity.uid, poller.state)
        names, uids = _users(users)
        if not users and not all_users and viewer.uid != 0:
            uids = [viewer.uid]
        filters = Filters(
            viewer=viewer,
            users=names,
            uids=uids,
            accounts=_words(accounts),
            partitions=_words(partitions),
            qos=_words(qos),
            states=_words(states),
            jobs=_words(jobs),
            nodes=nodes,
            clusters=_words(clusters),
            window=_window(start, end),
            truncate=truncate,
            duplicates=duplicates,
        )
        try:
            with site.database.read() as session:
                return JobsAnswer(query.jobs(session, filters), _warnings(poller))
        except ValueError as err:
            raise RefusedError(400, str(err)) from err

    @app.get("/v1/status")
    def status(caller: Authenticated, start: Time = None, end: Time = None) -> StatusAnswer:
        """The state of the accounting, with the conservation of energy over the window."""
        _require_all(caller, poller)
        window = _window(start, end)
        with site.database.read() as session:
            counts = totals.counts(session)
            found = totals.conservation(session, window.start, window.end)
            lost = totals.losses(session)
        state = poller.state
        return StatusAnswer(
            version=__version__,
            database=site.database.shown,
            zone=site.zone,
            jobs=counts.jobs,
            nodes=counts.nodes,
            segments=counts.segments,
            unmatched=counts.unmatched,
            dropped=DroppedAnswer(lost.nodes, lost.records, str(lost.energy_uj)),
            slurm=SlurmAnswer(state.cluster, state.source, state.polled_at, state.error),
            grid=[
                GridAnswer(state.zone, state.provider, state.text, state.fetched_at, state.error)
                for state in (follower.states.values() if follower else ())
            ],
            simulated=found.simulated,
            conservation=balances(found),
        )

    @app.get("/v1/unmatched")
    def unmatched(caller: Authenticated) -> UnmatchedAnswer:
        """Ledgers for which Slurm has no run of the job."""
        _require_all(caller, poller)
        with site.database.read() as session:
            return UnmatchedAnswer(totals.unmatched(session))


def _add_operations(app: FastAPI, site: Site, poller: Poller) -> None:
    @app.post("/v1/sync")
    def sync(caller: Authenticated) -> SyncAnswer:
        """Ask Slurm now; answers when that is done. For root, SlurmUser and operators."""
        if not access.viewer(caller.identity.uid, poller.state).operator:
            raise RefusedError(403, "only root, SlurmUser and Slurm's operators may do this")
        return SyncAnswer(poller.poll(thorough=True))

    @app.get("/healthz")
    def healthz() -> Health:
        """Whether the database answers; needs no credential."""
        with site.database.read() as session:
            session.execute(text("SELECT 1"))
        return Health()


def _require_all(caller: Authenticated, poller: Poller) -> None:
    """Totals of a site are everybody's jobs: who may not see those gets no hint of them."""
    if not access.viewer(caller.identity.uid, poller.state).sees_totals:
        raise RefusedError(403, "PrivateData keeps other users' jobs or usage from you, and these are totals of all")


def _warnings(poller: Poller) -> list[str]:
    return [f"slurm: {poller.state.error}"] if poller.state.error else []


def _window(start: int | None, end: int | None) -> Window:
    if start is not None and end is not None and end < start:
        raise RefusedError(400, "end is before start")
    return Window(start, end)


def _words(names: str) -> list[str]:
    return [word.strip() for word in names.split(",") if word.strip()]


def _users(users: str) -> tuple[list[str], list[int]]:
    """Names, and ids among them."""
    words = _words(users)
    ids = [int(w) for w in words if w.isascii() and w.isdigit() and len(w) < 11]
    return words, ids


def _add_errors(app: FastAPI) -> None:
    """Every error is one line of `detail`."""

    @app.exception_handler(RefusedError)
    def refused(_request: Request, err: RefusedError) -> JSONResponse:
        return _detail(err.status, str(err))

    @app.exception_handler(DatabaseError)
    def no_database(_request: Request, err: DatabaseError) -> JSONResponse:
        return _detail(503, str(err))

    @app.exception_handler(SlurmError)
    def no_slurm(_request: Request, err: SlurmError) -> JSONResponse:
        return _detail(503, str(err))

    @app.exception_handler(RequestValidationError)
    def bad_parameter(_request: Request, err: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = err.errors()[0]
        return _detail(400, f"{first['loc'][-1]}: {first['msg'].lower()}")

    @app.exception_handler(HTTPException)
    def no_such(_request: Request, err: HTTPException) -> JSONResponse:
        return _detail(err.status_code, str(err.detail).lower())


def _detail(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"detail": " ".join(reason.split())}, status)
