# SPDX-License-Identifier: MIT
"""The process of `carbon-aggregator`: it receives segments, polls Slurm, fetches intensities and answers, in the
foreground.

It starts even if Slurm or the database's server is down. On SIGTERM it stops cleanly: what was acknowledged is stored.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from carbon_acct import logs
from carbon_acct.access import munge
from carbon_acct.api import protocol
from carbon_acct.api.address import listen_address
from carbon_acct.api.app import create_app
from carbon_acct.api.limits import Limits
from carbon_acct.errors import AwayError, ListenError, MungedError
from carbon_acct.site import Site, site_of
from carbon_acct.slurm.programs import Programs
from carbon_acct.sync.grid import Follower
from carbon_acct.sync.slurm import Poller
from carbon_collector.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 1024
SWITCH_S = 0.0005
"""Turn of a thread that computes, while others wait for it (sys.setswitchinterval; Python's own is ten times as long)."""
M_ARENA_MAX = -8
"""mallopt(3)."""
TRIM_EVERY_S = 10.0
"""Time between two returns of free memory to the system, in seconds."""
GROWN_BYTES = 128 * 1024 * 1024
"""The growth of the process from which on cycles are looked for before memory is returned."""
COLLECT_AT = (200_000, 20, 50)
"""The numbers of objects after which the garbage collector looks for cycles (gc.set_threshold)."""


def serve(config: Settings, debug: bool = False) -> None:
    """Open everything, serve until SIGTERM or SIGINT, close everything. Raises CarbonError."""
    logs.start("carbon-aggregator", config.text("aggregator", "log_format"), debug)
    site = site_of(config)
    try:
        _open(site)
        _look_for_munge()
        collect_rarely()
        share_fairly()
        listener = _listen(config.text("aggregator", "listen"))
        poller = Poller(site, Programs(), config.text("slurm", "source"), config.number("slurm", "poll"))
        follower = Follower(site.database, site.terms, site.providers, config.number("grid", "poll"))
        proxies = config.words("aggregator", "proxies")
        _serve(site, poller, follower, listener, config.text("slurm", "munge_socket"), proxies)
    finally:
        site.database.close()


def collect_rarely() -> None:
    """Make the garbage collector run rarely: looking for cycles among rows took a third of the time that rows take.

    Rows are freed by their reference counts. What exists now lives as long as the process, and is not looked through
    again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)


def share_fairly() -> None:
    """Let threads take turns often, and share two heaps: a query of somebody's must not have others wait for tens of turns,
    and a heap for each thread keeps what each of them once needed.
    """
    sys.setswitchinterval(SWITCH_S)
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back(stop: threading.Event) -> None:
    """Return free memory to the system until `stop`: after many large answers the heaps keep what they needed at most.

    Where the process has grown much, cycles are looked for first: an error holds the frames that it passed, with the body
    or the rows that they had, and `collect_rarely` leaves such cycles for very long.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return
    least = _resident_bytes()
    while not stop.wait(TRIM_EVERY_S):
        if _resident_bytes() > least + GROWN_BYTES:
            gc.collect()
        trim(0)
        least = min(least, _resident_bytes())


def _resident_bytes() -> int:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open(site: Site) -> None:
    try:
        site.database.open()
    except AwayError as err:
        log.warning("%s; starting without it, the nodes keep their rows until it answers", err)


def _look_for_munge() -> None:
    try:
        munge.load()
    except MungedError as err:
        log.warning("%s; starting without it, and answering nobody", err)


def _serve(
    site: Site, poller: Poller, follower: Follower, listener: socket.socket, munge_socket: str, proxies: list[str]
) -> None:
    limits = protocol.prepare(listener, Limits())
    app = create_app(site, poller, munge_socket, limits, follower)
    poller.start()
    follower.start()
    app.state.watch.start()
    app.state.site_figures.start()
    stop = threading.Event()
    threading.Thread(target=give_back, args=(stop,), name="memory", daemon=True).start()
    try:
        _Server(protocol.options(app, limits, app.state.metrics.refuse, proxies)).run(sockets=[listener])
    finally:
        stop.set()
        app.state.site_figures.stop()
        app.state.watch.stop()
        follower.stop()
        poller.stop()


class _Server(uvicorn.Server):
    """The server. It prints its address when it is ready, and ends in order on SIGTERM, which uvicorn would raise
    again.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            print(f"carbon-aggregator: listening on {_url(listener)}", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(address: str) -> socket.socket:
    """Return a socket that listens at `host:port` or `[host]:port`. Raises ListenError."""
    host, port = listen_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as err:
        listener.close()
        raise ListenError(f"cannot listen on {address}: {err.strerror or err}; [aggregator] listen sets it") from err
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
