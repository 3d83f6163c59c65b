# SPDX-License-Identifier: MIT
"""Says who asks: the user that the site's proxy names in a header, or one who is signed in by a link (`links`).

Four things must hold: the peer of the connection is the proxy's user (SO_PEERCRED), the header comes exactly once, its
value is a name of this host's name service, and Slurm knows that name. Without a header a cookie counts, where the site
has links. What the user may see is `access.viewer`'s to say.
"""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.access.viewer import Viewer, viewer_of
from carbon_acct.client.safe_text import visible
from carbon_acct.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carbon_acct.slurm.rights import Rights
    from carbon_acct.slurm.state import SlurmState

PEER = "peer"
"""The word in an ASGI scope's `client` before the user id of the peer (serve.Connection)."""


class Caller(NamedTuple):
    """Who asks: the name, the rights, and whether a link signed them in."""

    name: str
    viewer: Viewer
    by_link: bool = False


def must_be_proxy(client: Sequence[object] | None, proxy_uid: int) -> None:
    """Raise RefusedError 403 where the peer, the ASGI scope's `client`, is not the proxy."""
    if client is None or tuple(client) != (PEER, proxy_uid):
        raise RefusedError(403, f"a connection that is not the proxy's: {client}", "peer")


def caller_named(named: Sequence[str], state: SlurmState) -> Caller:
    """Return who asks by the values of the proxy's header.

    Raises RefusedError: 403 where nobody is signed in, and 503 until Slurm has said whom it knows. The reason is for
    the log, not for the browser.
    """
    if len(named) != 1:
        raise RefusedError(403, f"{len(named)} headers that name the user", "header")
    return _caller(named[0], _uid_of(named[0]), state)


def caller_with(uid: int, state: SlurmState) -> Caller:
    """Return who asks by a user id that MUNGE vouched for. Raises the same errors."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return _caller(name, _uid_of(name), state)._replace(by_link=True)


def _caller(name: str, uid: int | None, state: SlurmState) -> Caller:
    if state.rights is None:
        raise RefusedError(503, "Slurm has not said yet whom it knows; try again", "slurm", 5)
    viewer = None if uid is None else viewer_of(uid, state)
    if viewer is None or not _known(name, state.rights):
        raise RefusedError(403, f"no user of Slurm: {visible(name)[:40]}", "stranger")
    return Caller(name, viewer)


def _uid_of(name: str) -> int | None:
    """Return the id of a name that is the name of its id too. Root does not sign in by a browser."""
    try:
        uid = pwd.getpwnam(name).pw_uid
        return uid if uid != 0 and pwd.getpwuid(uid).pw_name == name else None
    except (KeyError, ValueError):
        return None


def _known(name: str, rights: Rights) -> bool:
    return name in rights.users or name in rights.operators or name in rights.coordinated
