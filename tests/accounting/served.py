# SPDX-License-Identifier: MIT
"""An aggregator's API on loopback, over real HTTP, with a real munged beside it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn

from carbon_acct.api import protocol
from carbon_acct.api.app import create_app
from carbon_acct.api.limits import Limits
from carbon_acct.api.site_figures import SiteFigures
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller
from carbon_collector import munge
from carbon_collector.http import Answer, request


@dataclass
class Served:
    """An aggregator's API on loopback."""

    port: int
    poller: Poller
    site: Site
    munge_socket: str
    figures: SiteFigures
    """What /metrics says of the site; nobody reads it by itself."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, target: str, body: bytes = b"", uid: int = 0) -> Answer:
        """A request with a fresh credential of `uid`."""
        return self.send(method, target, body, self.credential(munge.request_digest(method, target, body), uid))

    def send(self, method: str, target: str, body: bytes, credential: str) -> Answer:
        """A request with any credential."""
        return request(method, self.url, target, body, {"Authorization": f"MUNGE {credential}"})

    def credential(self, payload: str, uid: int = 0) -> str:
        """A credential made by `uid`."""
        command = ["munge", "--string", payload, "--socket", self.munge_socket]
        return subprocess.run(command, check=True, capture_output=True, text=True, user=uid).stdout.strip()


def serve(
    site: Site, poller: Poller, munge_socket: str, limits: Limits | None = None, proxies: Sequence[str] = ()
) -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    limits = protocol.prepare(listener, limits or Limits())
    app = create_app(site, poller, munge_socket, limits)
    app.state.watch.start()
    server = uvicorn.Server(protocol.options(app, limits, app.state.metrics.refuse, proxies))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Served(listener.getsockname()[1], poller, site, munge_socket, app.state.site_figures)
    finally:
        server.should_exit = True
        thread.join(20)
        app.state.watch.stop()
        listener.close()


def wait_for(ready: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.02)
