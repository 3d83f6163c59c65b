# SPDX-License-Identifier: MIT
"""Says who asks: the user that the site's proxy names in a header, and nobody else's word counts.

Four things must hold: the peer of the connection is the proxy's user (SO_PEERCRED), the header comes exactly once, its
value is a name of this host's name service, and Slurm knows that name. What the user may see is `access.viewer`'s to say.
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
    """Who asks: the name, and the rights."""

    name: str
    viewer: Viewer


def caller_of(client: Sequence[object] | None, named: Sequence[str], proxy_uid: int, state: SlurmState) -> Caller:
    """Return who asks. `client` is the ASGI scope's, `named` the values of the proxy's header.

    Raises RefusedError: 403 where nobody is signed in, and 503 until Slurm has said whom it knows. The reason is for
    the log, not for the browser.
    """
    if client is None or tuple(client) != (PEER, proxy_uid):
        raise RefusedError(403, f"a connection that is not the proxy's: {client}", "peer")
    if len(named) != 1:
        raise RefusedError(403, f"{len(named)} headers that name the user", "header")
    if state.rights is None:
        raise RefusedError(503, "Slurm has not said yet whom it knows; try again", "slurm", 5)
    uid = _uid_of(named[0])
    viewer = None if uid is None else viewer_of(uid, state)
    if viewer is None or not _known(named[0], state.rights):
        raise RefusedError(403, f"no user of Slurm: {visible(named[0])[:40]}", "stranger")
    return Caller(named[0], viewer)


def _uid_of(name: str) -> int | None:
    """Return the id of a name that is the name of its id too. Root does not sign in by a browser."""
    try:
        uid = pwd.getpwnam(name).pw_uid
        return uid if uid != 0 and pwd.getpwuid(uid).pw_name == name else None
    except (KeyError, ValueError):
        return None


def _known(name: str, rights: Rights) -> bool:
    return name in rights.users or name in rights.operators or name in rights.coordinated
