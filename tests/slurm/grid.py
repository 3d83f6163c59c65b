# SPDX-License-Identifier: MIT
"""A grid for the cluster: a service inside it that speaks the protocol of the UK's Carbon Intensity API, and who believes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

from .cluster import Cluster

PORT = 8081
HALF_HOUR_S = 1800
FORM = "%Y-%m-%dT%H:%MZ"
PART = "grid"
SETTINGS = """
[grid]
zones = {cluster}/batch:GB
providers = GB=uk
addresses = uk=http://127.0.0.1:{port}
poll = 5 s
"""


def intensity(epoch: int) -> int:
    """g/kWh of the half-hour that an instant lies in: another one than those around it, and above any average of the zone."""
    return 401 + epoch // HALF_HOUR_S % 7 * 30


def answer(path: str) -> bytes:
    """`/intensity/{from}/{to}`: the half-hours of that time, each with its actual."""
    first, last = (int(datetime.strptime(word, FORM).replace(tzinfo=UTC).timestamp()) for word in path.split("/")[-2:])
    starts = range(first - first % HALF_HOUR_S, last, HALF_HOUR_S)
    return json.dumps({"data": [_half_hour(start) for start in starts]}).encode()


def _half_hour(start: int) -> dict[str, object]:
    begin, end = (datetime.fromtimestamp(at, UTC).strftime(FORM) for at in (start, start + HALF_HOUR_S))
    return {"from": begin, "to": end, "intensity": {"forecast": 999, "actual": intensity(start), "index": "low"}}


class Handler(BaseHTTPRequestHandler):
    """Answers what is asked."""

    def do_GET(self) -> None:
        """A request."""
        body = answer(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def followed(cluster: Cluster) -> Iterator[None]:
    """The aggregator believes the service, which nobody has started yet; in the end neither is there."""
    path = cluster.layout.etc / "carbon-acct" / "carbon-acct.conf"
    before = path.read_text()
    cluster.stop_part("aggregator")
    path.write_text(before + SETTINGS.format(cluster=cluster.name, port=PORT))
    cluster.start_aggregator()
    try:
        yield
    finally:
        cluster.stop_part("aggregator")
        path.write_text(before)
        cluster.start_aggregator()


@contextmanager
def running(cluster: Cluster) -> Iterator[None]:
    """The service answers."""
    cluster.spawn_module(PART, "slurm.grid")
    try:
        yield
    finally:
        cluster.kill(PART)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
