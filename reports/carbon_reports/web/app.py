# SPDX-License-Identifier: MIT
"""Answers requests for pages: who asks is settled before anything else, and every answer carries the same headers."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from carbon_acct.api.deadline import read_within
from carbon_acct.api.limits import Lane
from carbon_acct.errors import DatabaseError, RefusedError

from .. import pages
from . import jobs, sums
from .asked import Asked
from .door import TURNED, Door

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .parts import View
    from .place import Place
    from .sign_in import Caller

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""The headers of every answer. No page has a script, a form, an inline style or anything of another origin."""

VIEW, ERROR = "web/view.html.j2", "web/error.html.j2"
TEMPLATES = (VIEW, ERROR, TURNED)

QUERY_S = 10.0
"""The seconds after which a query is stopped."""
VIEWS = {"/": sums.months, "/month": sums.days, "/day": jobs.of_day, "/job": jobs.one, "/accounts": sums.accounts,
         "/account": sums.users}  # fmt: skip
SAYS = {
    404: "There is no such page.",
    405: "These pages can only be read.",
    503: "This cannot be answered now; try again.",
}


def create_app(place: Place) -> ASGIApp:
    """Return the application."""
    lane = Lane(threads=6, each=2, waiting=20, light=2)
    routes = [Route(path, partial(_show, place, lane, view), methods=["GET"]) for path, view in VIEWS.items()]
    own, logo = place.look.templates, place.look.logo
    style = "\n".join(pages.sheet(name, own) for name in ("style.css", "web/web.css"))
    sent: dict[str, tuple[str | bytes, str]] = {
        "/style.css": (style, "text/css"),
        "/icon.svg": (pages.sheet("web/icon.svg", own), "image/svg+xml"),
    }
    if logo:
        sent["/logo"] = (logo.content, logo.kind)
    routes += [Route(path, partial(_file, *content), methods=["GET"]) for path, content in sent.items()]
    app = Starlette(routes=routes, exception_handlers={kind: partial(_failed, place) for kind in _FAILURES})
    return _Headed(Door(app, place, partial(error, place)))


_FAILURES = (RefusedError, DatabaseError, HTTPException, Exception)


async def _failed(place: Place, request: Request, err: Exception) -> Response:
    """Return the page of an error that a view, or the router, raised."""
    if isinstance(err, RefusedError):
        return error(place, err.status, str(err), err.retry_after_s)
    if isinstance(err, HTTPException):
        found = error(place, err.status_code, SAYS.get(err.status_code, "This cannot be answered."))
        found.headers.update(err.headers or {})
        return found
    if isinstance(err, DatabaseError):
        log.error("the database: %s", err)  # what a database says in its distress may hold what is in it
        return error(place, 503, SAYS[503], 5)
    log.error("%s failed", request.url.path, exc_info=err)
    return error(place, 500, "The program failed; its log says why.")


def error(place: Place, status: int, says: str, retry_after_s: int = 0) -> Response:
    """Return the page of an error."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    facts = {"site": place.site, "look": place.look, "status": status, "says": says, "user": ""}
    try:
        text = pages.render(ERROR, facts, place.look.templates)
    except pages.PageError as err:
        log.warning("%s; the shipped page of errors takes its place", err)
        text = pages.render(ERROR, facts)
    return HTMLResponse(_encoded(text), status, headers)


async def _file(content: str | bytes, kind: str, _request: Request) -> Response:
    return Response(content, media_type=kind)


async def _show(place: Place, lane: Lane, view: Callable[[Session, Asked], View], request: Request) -> Response:
    caller: Caller = request.scope["carbon.caller"]
    asked = Asked(caller.viewer, request.query_params, int(time.time()), place.days, place.cluster)

    def work() -> bytes:
        with read_within(place.database, QUERY_S) as session:
            found = view(session, asked)
        facts = {"site": place.site, "look": place.look, "user": caller.name, "by_link": caller.by_link, "view": found}
        return _encoded(pages.render(VIEW, facts, place.look.templates))

    return HTMLResponse(await lane.run(caller.viewer.uid, work))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


class _Headed:
    """Puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, headed)
