# SPDX-License-Identifier: MIT
"""Holds what the parts of the API share: the aggregator's state, and the forms of answers and errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from carbon_acct.access.viewer import Viewer, viewer_of
from carbon_acct.api.answers import ErrorAnswer
from carbon_acct.api.identity import Authenticated, Caller, Gate
from carbon_acct.api.metrics import Metrics
from carbon_acct.api.watch import Watch
from carbon_acct.delivery.group_commit import GroupCommit
from carbon_acct.errors import RefusedError
from carbon_acct.site import Site
from carbon_acct.sync.grid import Follower
from carbon_acct.sync.slurm import Poller
from carbon_acct.window import MAX_TIME, Window

Time = Annotated[int | None, Query(ge=0, le=MAX_TIME, description="epoch seconds", examples=[1790000000])]


@dataclass(frozen=True)
class Aggregator:
    """The state behind the API: the site, what is known of Slurm and the grid, the limits, the counters and the queue
    of deliveries.
    """

    site: Site
    poller: Poller
    gate: Gate
    metrics: Metrics
    group_commit: GroupCommit
    watch: Watch
    follower: Follower | None = None

    def viewer(self, caller: Caller) -> Viewer:
        """Return what a caller may see."""
        return viewer_of(caller.identity.uid, self.poller.state)

    def require_all(self, caller: Caller) -> None:
        """Raise RefusedError 403 unless the caller may see all jobs. A site's totals would hint at the jobs of
        others.
        """
        if not self.viewer(caller).sees_totals:
            reason = "PrivateData keeps other users' jobs or usage from you, and these are totals of all"
            raise RefusedError(403, reason)


async def check_parameters(request: Request, _known: Authenticated) -> None:
    """Raise RefusedError 400 for a parameter that the operation does not have, or that comes twice: left out, it would
    be an answer to another question. Text with a NUL is refused too, because PostgreSQL has no place for it.
    """
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise RefusedError(
                400, f"{name[:64]!r}: no such parameter; there are: {', '.join(sorted(known)) or 'none'}"
            )
        if name in seen:
            raise RefusedError(400, f"{name}: given twice")
        if "\0" in value:
            raise RefusedError(400, f"{name}: holds a NUL character")
        seen.add(name)


def answer(what: Any) -> Response:
    """Return an answer as JSON. It is serialized here, in the thread of the query, and not in the event loop."""
    kind: Any = type(what)
    return Response(_adapter(kind).dump_json(what), media_type="application/json")


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def error(status: int, reason: str, retry_after_s: int = 0) -> JSONResponse:
    """Return an error with one line of `detail`."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    return JSONResponse({"detail": " ".join(reason.split())}, status, headers)


def window(start: int | None, end: int | None) -> Window:
    """Return the window [start, end). Raises RefusedError 400."""
    if start is not None and end is not None and end < start:
        raise RefusedError(400, "end is before start")
    return Window(start, end)


SAYS = {
    400: "A parameter is wrong, or the body broke off.",
    401: "The credential is missing, forged, expired, used before, or another request's.",
    403: "The caller may not do this. Final for a segment.",
    404: "Nobody has that user or QOS.",
    408: "The body did not come in time.",
    413: "The body, or the answer, is too large. Final for a segment.",
    422: "No segment, or not a whole one. Final.",
    429: "The caller asks too often, or too much at once; Retry-After says when to try again.",
    503: "The database, Slurm or munged does not answer, or the query took too long; try again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of an operation as OpenAPI describes them."""
    return {status: {"model": ErrorAnswer, "description": SAYS[status]} for status in statuses}
