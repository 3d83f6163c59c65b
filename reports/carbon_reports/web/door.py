# SPDX-License-Identifier: MIT
"""Lets in whoever is signed in, before anything else is looked at: by the proxy's header, or by a link and its cookie."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse

from carbon_acct.client.web_link import PATH, WORD
from carbon_acct.errors import RefusedError

from .. import pages
from .sign_in import caller_named, caller_with, must_be_proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from .place import Place
    from .sign_in import Caller

log = logging.getLogger(__name__)

REFUSED = "You are not signed in here: the site's web server did not name you as a user that Slurm knows."
BY_LINK = f"{REFUSED} For a link that signs you in, type on a login node: carbon-acct --web"
TURNED = "web/turned.html.j2"
"""The template of the page after signing in or out."""
SIGN_IN, SIGN_OUT = f"/{PATH}", "/sign-out"


class Door:
    """The application behind the door; the caller is in the scope as `carbon.caller`. `error` makes a page of an error."""

    def __init__(self, app: ASGIApp, place: Place, error: Callable[[int, str, int], Response]) -> None:
        self._app, self._place, self._error = app, place, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        try:
            # The name service and munged may be slow.
            answer = await to_thread.run_sync(partial(self._opened, scope))
        except RefusedError as err:
            log.info("refused: %s", err)
            says = str(err)
            if err.status == 403:
                says = BY_LINK if self._place.links else REFUSED
            answer = self._error(err.status, says, err.retry_after_s)
        await (answer or self._app)(scope, receive, send)

    def _opened(self, scope: Scope) -> Response | None:
        """Put the caller into the scope, or return the answer to who signs in or out. Raises RefusedError."""
        place, headers = self._place, Headers(scope=scope)
        must_be_proxy(scope.get("client"), place.proxy_uid)
        named, links, state = headers.getlist(place.user_header), place.links, place.knowledge.state
        if links is None or named:
            scope["carbon.caller"] = caller_named(named, state)
            return None
        if scope["path"] == SIGN_IN and scope["method"] == "GET":
            words = parse_qs(scope["query_string"].decode("ascii", "replace")).get(WORD, [])
            uid = links.uid_of_link(words[0] if len(words) == 1 else "")
            caller = caller_with(uid, state)
            log.info("%s signed in by a link", caller.name)
            return self._turned("Signed in", caller, links.cookie(uid))
        uid_or_none = links.uid_of_cookies("; ".join(headers.getlist("cookie")))
        if uid_or_none is None:
            raise RefusedError(403, "no header, and no cookie of somebody who is signed in", "header")
        caller = caller_with(uid_or_none, state)
        if scope["path"] == SIGN_OUT and scope["method"] == "GET":
            return self._turned("Signed out", None, links.sign_out(uid_or_none))
        scope["carbon.caller"] = caller
        return None

    def _turned(self, title: str, caller: Caller | None, cookie: str) -> Response:
        """Return the page after signing in or out. It leads on by itself after signing in: a redirection would come
        without the cookie where the link was clicked on a page of another site (SameSite).
        """
        look, user = self._place.look, caller.name if caller else ""
        facts = {"site": self._place.site, "look": look, "title": title, "user": user}
        return HTMLResponse(pages.render(TURNED, facts, look.templates), headers={"Set-Cookie": cookie})
