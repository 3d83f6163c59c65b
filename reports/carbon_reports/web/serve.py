# SPDX-License-Identifier: MIT
"""The process of `carbon-web`: HTTP on a Unix socket, whose peer the kernel names (SO_PEERCRED)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from carbon_acct import logs
from carbon_acct.errors import ListenError
from carbon_acct.factors.slot_factor import load_terms
from carbon_acct.slurm.programs import Programs
from carbon_collector.errors import SettingsError

from .. import pages
from ..about import logo
from ..facts import must_be_days_of
from .app import HEADERS, TEMPLATES, create_app
from .knowledge import Knowledge
from .links import Links
from .place import Look, Place
from .read_only import open_read_only
from .sign_in import PEER

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from carbon_collector.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 128
HEAD_BYTES = 64 * 1024
STRANGER_S = 2.0
"""The time in seconds for which a connection of somebody else than the proxy stays open."""
UCRED = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""
FIRST_FD = 3
"""The first socket that systemd hands over (sd_listen_fds(3))."""


def serve(config: Settings, debug: bool = False) -> None:
    """Open everything, serve until SIGTERM or SIGINT, close everything. Raises CarbonError."""
    logs.start("carbon-web", config.text("aggregator", "log_format"), debug)
    proxy_uid = _proxy_uid(config.text("web", "proxy_user"))
    terms, _ = load_terms(config)
    look = look_of(config)
    database = open_read_only(config)
    try:
        with database.read() as session:
            must_be_days_of(session, config.text("site", "timezone"))
        knowledge = Knowledge(Programs())
        cluster = config.text("site", "cluster")
        place = Place(
            database,
            knowledge,
            terms.days,
            config.text("site", "name") or cluster or "this site",
            cluster,
            proxy_uid,
            config.text("web", "user_header"),
            links_of(config),
            look,
        )
        with contextlib.closing(listener_of(config.text("web", "socket"))) as listener:
            knowledge.start()
            try:
                uvicorn.Server(options(create_app(place), proxy_uid)).run(sockets=[listener])
            finally:
                knowledge.stop()
    finally:
        database.close()


def links_of(config: Settings) -> Links | None:
    """Return what links sign in, or None where the site has none."""
    url = config.text("web", "url")
    return Links(url, config.text("slurm", "munge_socket")) if url else None


def look_of(config: Settings) -> Look:
    """Return how the site wants its pages to look. Raises SettingsError and PageError."""
    templates = config.text("reports", "templates")
    pages.check(TEMPLATES, templates)
    return Look(templates, config.text("reports", "contact"), logo(config))


def _proxy_uid(name: str) -> int:
    if not name:
        raise SettingsError("carbon-web is off: [web] proxy_user names the user of the proxy that may say who asks")
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise SettingsError(f"[web] proxy_user = {name}: there is no such user on this host") from None


class Connection(H11Protocol):
    """A connection whose `client` is the word PEER and the user id of the process at its other end.

    One that is not the proxy's is closed after STRANGER_S, whatever it sends: it may not keep a file open.
    """

    proxy_uid = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected."""
        super().connection_made(transport)
        peer: Any = transport.get_extra_info("socket")
        _, uid, _ = UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        self.client = (PEER, uid)
        if uid != self.proxy_uid:
            self.loop.call_later(STRANGER_S, transport.abort)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not for browsers
        """Answer what is no HTTP, with the headers of every answer."""
        body = b"This is not an HTTP request.\n"
        headers = [
            *HEADERS.items(),
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer was on its way already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def options(app: ASGIApp, proxy_uid: int) -> uvicorn.Config:
    """Return uvicorn's configuration."""
    return uvicorn.Config(
        app,
        http=type("ProxyConnection", (Connection,), {"proxy_uid": proxy_uid}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the peer says who may speak; no header changes it
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=5,
        backlog=BACKLOG,
        timeout_graceful_shutdown=15,
    )


def listener_of(path: str) -> socket.socket:
    """Return the socket that systemd hands over, else one at `path`. Raises ListenError.

    Everybody may connect: whoever is not the proxy gets 403.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=FIRST_FD)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        found.bind(path)
        Path(path).chmod(0o666)
        found.listen(BACKLOG)
    except OSError as err:
        found.close()
        raise ListenError(f"cannot listen at {path}: {err.strerror or err}; [web] socket sets it") from err
    return found


def _remove_stale(path: str) -> None:
    """Remove a socket at which nobody listens any more."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
