# SPDX-License-Identifier: MIT
"""Signs users in by a link of `carbon-acct --web`, and remembers them by a cookie until it is old or the program ends.

Off unless [web] url is set. The user that the proxy names in its header goes before.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from carbon_acct.access import munge
from carbon_acct.client import web_link
from carbon_acct.errors import MungedError, RefusedError
from carbon_collector.errors import MungeError

if TYPE_CHECKING:
    from collections.abc import Callable

COOKIE = "carbon_web"
SESSION_S = 8 * 3600
MOST_SESSIONS, MOST_OF_ONE = 10_000, 10
MOST_WORD = 4096
"""The most characters of a link's credential."""
GONE = "This link was used, or is older than a minute. For another: carbon-acct --web"


class Session(NamedTuple):
    """Somebody who is signed in: the user id, and when that ends by the monotonic clock."""

    uid: int
    until: float


class Links:
    """The links and sessions of the pages at `url`, as browsers see it. Threads may share it."""

    def __init__(self, url: str, munge_socket: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._munge_socket, self._clock = url, munge_socket, clock
        self._sessions: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def uid_of_link(self, word: str) -> int:
        """Return who made a link, which is then used up. Raises RefusedError: 410, 403 where it is no link of this site,
        503 where munged cannot be asked.
        """
        if not word or len(word) > MOST_WORD:
            raise RefusedError(403, "no link of carbon-acct --web", "link")
        try:
            made = munge.decode(web_link.credential(word), self._munge_socket)
        except MungedError as err:
            raise RefusedError(503, "munged cannot be asked; try again", "munge", 5) from err
        except MungeError as err:
            raise RefusedError(410, GONE, "link") from err
        if made.payload != web_link.payload(self._url):
            raise RefusedError(403, "a credential that is no link of this site", "link")
        return made.uid

    def cookie(self, uid: int) -> str:
        """Sign a user in, and return the Set-Cookie that says so."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._forget()
            mine = [key for key, session in self._sessions.items() if session.uid == uid]
            for key in mine[: max(0, len(mine) - MOST_OF_ONE + 1)]:
                del self._sessions[key]
            if len(self._sessions) >= MOST_SESSIONS:
                raise RefusedError(503, "too many are signed in; try again later", "sessions", 600)
            self._sessions[_key(token)] = Session(uid, self._clock() + SESSION_S)
        return self._set(token, SESSION_S)

    def uid_of_cookies(self, cookies: str) -> int | None:
        """Return who is signed in by the Cookie header, or None."""
        for part in cookies.split(";"):
            name, _, token = part.strip().partition("=")
            if name == COOKIE:
                with self._lock:
                    found = self._sessions.get(_key(token))
                if found is not None and found.until > self._clock():
                    return found.uid
        return None

    def sign_out(self, uid: int) -> str:
        """End all sessions of a user, and return the Set-Cookie that takes the cookie away."""
        with self._lock:
            self._sessions = {key: session for key, session in self._sessions.items() if session.uid != uid}
        return self._set("", 0)

    def _forget(self) -> None:
        now = self._clock()
        self._sessions = {key: session for key, session in self._sessions.items() if session.until > now}

    def _set(self, token: str, seconds: int) -> str:
        at = urlsplit(self._url)
        secure = "; Secure" if at.scheme == "https" else ""
        path = f"{at.path.rstrip('/')}/"
        return f"{COOKIE}={token}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _key(token: str) -> bytes:
    """Return what a token is kept as: the memory of this program holds none that could be used."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
